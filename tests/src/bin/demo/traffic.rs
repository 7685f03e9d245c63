//! Requests, what they look like on the wire, and what is told about them.

use anyhow::{Context as _, Result, ensure};
use weft_testkit::Get;

use crate::scene::{PORT, SECRET, Scene};
use crate::telling::Telling;

/// Requests of the first chapter.
const REQUESTS: u64 = 40;

/// Requests to the Service reach both versions.
pub(crate) fn is_balanced(scene: &Scene, telling: &Telling) -> Result<()> {
    // By its name, which the node's proxy resolves: nothing else answers DNS in this world.
    let get = Get::url("http://reviews/").times(REQUESTS).close().header("x-secret", SECRET);
    let report = scene.client.run_tool(&get)?;
    ensure!(report.ok == REQUESTS, "{} of {REQUESTS} requests failed: {:?}", report.failed, report.failures);
    let count = |version: &str| report.versions.get(version).copied().unwrap_or(0);
    let (one, two) = (count("v1"), count("v2"));
    ensure!(one > 0 && two > 0 && one + two == REQUESTS, "versions: {:?}", report.versions);
    telling.fact(&format!(
        "{REQUESTS} requests to http://reviews/: {one} answered by v1 on node1, {two} by v2 on node2"
    ));
    Ok(())
}

/// The server sees the client's own address, in both families.
pub(crate) fn shows_true_addresses(scene: &Scene, telling: &Telling) -> Result<()> {
    for (index, family) in ["IPv4", "IPv6"].into_iter().enumerate() {
        for server in [&scene.v1, &scene.v2] {
            let target = std::net::SocketAddr::new(server.ips()[index], 8080);
            let answer = scene.client.get(&format!("http://{target}/"))?;
            let peer = answer.peer().with_context(|| format!("no answer from {target}: {answer:?}"))?;
            ensure!(peer.ip() == scene.client.ips()[index], "{target} sees {peer} for the client");
        }
        telling.fact(&format!("{family}: both servers see the true client, {}", scene.client.ips()[index]));
    }
    Ok(())
}

/// The wires between the nodes carry TLS and nothing else.
pub(crate) fn is_encrypted(scene: &Scene, telling: &Telling) -> Result<()> {
    let (ones, others) = both_nodes(scene);
    let bytes: u64 = scene.captures.iter().map(|capture| capture.tls_bytes(&ones, &others)).sum();
    ensure!(bytes > 0, "no TLS was seen between the nodes, although requests crossed");
    for capture in &scene.captures {
        capture.assert_no_marker()?;
        capture.non_tls_bytes(&ones, &others).assert_none()?;
    }
    telling.fact(&format!(
        "captured on both nodes' wires: {bytes} bytes of TLS, 0 bytes of anything else, and not once the text \
         {SECRET:?} that every request carried"
    ));
    Ok(())
}

/// The same at the end, after everything that was done to the mesh.
pub(crate) fn never_was_plain(scene: &Scene, telling: &Telling) -> Result<()> {
    let (ones, others) = both_nodes(scene);
    let mut packets = 0;
    for capture in &scene.captures {
        capture.assert_no_marker()?;
        capture.non_tls_bytes(&ones, &others).assert_none()?;
        packets += capture.packet_count();
    }
    telling.fact(&format!("0 plain-text packets among the {packets} captured between the nodes so far"));
    Ok(())
}

/// Metrics and access lines.
pub(crate) fn is_observed(scene: &Scene, telling: &Telling) -> Result<()> {
    let (status, text) = scene.world.node(1).http_get(15020, "/metrics")?;
    ensure!(status == 200, "metrics answer {status}");
    let wanted = [
        "istio_tcp_connections_opened_total{",
        "reporter=\"source\"",
        "destination_workload=\"reviews-v2\"",
        "connection_security_policy=\"mutual_tls\"",
    ];
    let line = text.lines().find(|line| wanted.iter().all(|part| line.contains(part)));
    let line = line.context("node1's metrics do not count the connections to reviews-v2")?;
    telling.fact("node1's metrics count them, under the names that dashboards know:");
    telling.detail(&shortened(line));
    let line = scene.access_line(1, &["dst.workload=reviews-v2", "direction=outbound", "end=closed"])?;
    telling.fact("one line for each connection:");
    for part in wrapped(&line, 100) {
        telling.detail(&part);
    }
    Ok(())
}

/// The addresses of all that is in the mesh, by node.
fn both_nodes(scene: &Scene) -> (Vec<std::net::IpAddr>, Vec<std::net::IpAddr>) {
    let of = |node: usize| {
        let pods = [&scene.client, &scene.v1, &scene.v2].into_iter().filter(move |pod| pod.node() == node);
        let mut all: Vec<_> = pods.flat_map(weft_testkit::Pod::ips).collect();
        all.extend(scene.world.node(node).ips());
        all
    };
    (of(1), of(2))
}

/// A metric with the labels that say most.
fn shortened(line: &str) -> String {
    let Some((name, rest)) = line.split_once('{') else { return line.to_owned() };
    let Some((labels, value)) = rest.rsplit_once('}') else { return line.to_owned() };
    let said = [
        "reporter",
        "source_workload",
        "destination_workload",
        "destination_service_name",
        "connection_security_policy",
    ];
    let kept =
        labels.split(',').filter(|label| said.iter().any(|name| label.starts_with(&format!("{name}="))));
    format!("{name}{{{}, …}}{value}", kept.collect::<Vec<_>>().join(", "))
}

/// A line in parts of about this width, cut at spaces.
fn wrapped(line: &str, width: usize) -> Vec<String> {
    let mut parts = vec![String::new()];
    for word in line.split(' ') {
        let last = parts.last_mut().expect("there is always one part");
        if last.len() + word.len() > width {
            parts.push(word.to_owned());
        } else {
            if !last.is_empty() {
                last.push(' ');
            }
            last.push_str(word);
        }
    }
    parts
}

/// The Service as a target of connections.
pub(crate) fn target(scene: &Scene) -> std::net::SocketAddr {
    std::net::SocketAddr::new(scene.service[0], PORT)
}
