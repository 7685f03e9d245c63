//! The thin thread through everything: a pod's request is captured, tunnelled, authorised and delivered.
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::net::SocketAddr;
use std::time::Duration;
use weft_testkit::{App, Component, Mesh, MeshSettings, Pod, TapOptions, World};
use weft_tests::asking::await_enrolled;
use weft_tests::stage::start_mesh;
use weft_tests::waiting::{access_lines, eventually, with_json_lines};

const TUNNEL: u16 = 15008;
const IN_THE_MESH: [(&str, &str); 1] = [("weft.dev/mesh", "enabled")];

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn a_request_crosses_the_mesh_and_nobody_reads_it() -> Result<()> {
    let world = World::builder().nodes(2).build()?;
    world.namespace("shop", IN_THE_MESH)?;
    let client = world.node(1).pod("shop", "client").start()?;
    let near = world.node(1).pod("shop", "near").app(App::http("v1")).start()?;
    let far = world.node(2).pod("shop", "far").app(App::http("v2")).start()?;
    let captures = world.capture_nodes(&TapOptions {
        markers: vec![b"hello-in-the-clear".to_vec()],
        ..TapOptions::default()
    })?;
    let mesh = start_mesh(&world, MeshSettings::default())?;
    await_enrolled(&mesh, [&client, &near, &far], Duration::from_secs(15))?;
    for (server, version) in [(&far, "v2"), (&near, "v1")] {
        for address in [server.addr(8080), server.addr6(8080)] {
            let answer = client.get(&format!("http://{address}/hello-in-the-clear"))?;
            assert!(
                answer.is_ok(),
                "{address}: {answer:?}\n{}\n{}",
                mesh.proxy(1).log(),
                mesh.proxy(2).log()
            );
            assert_eq!(answer.version(), version, "{address}");
            let peer = answer.peer();
            let want = if address.is_ipv4() { client.ip() } else { client.ip6() };
            assert_eq!(peer.map(|peer| peer.ip()), Some(want), "the server sees its true client");
        }
    }
    let (near_log, far_log) = (mesh.proxy(1).log(), mesh.proxy(2).log());
    println!("{near_log}\n{far_log}");
    for capture in &captures {
        capture.assert_complete()?;
        capture.assert_no_marker()?;
    }
    Ok(())
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn a_network_that_has_a_name_is_crossed_like_any_other() -> Result<()> {
    let world = World::builder().nodes(2).build()?;
    world.namespace("shop", IN_THE_MESH)?;
    let client = world.node(1).pod("shop", "client").start()?;
    let near = world.node(1).pod("shop", "near").app(App::http("near")).start()?;
    let far = world.node(2).pod("shop", "far").app(App::http("far")).start()?;
    let mesh = start_mesh(&world, with_json_lines().env(Component::Control, "WEFT_NETWORK", "here"))?;
    await_enrolled(&mesh, [&client, &near, &far], Duration::from_secs(15))?;
    for server in [&near, &far] {
        for to in [server.addr(8080), server.addr6(8080)] {
            eventually(&format!("{to} is reached"), Duration::from_secs(10), || {
                let answer = client.get(&format!("http://{to}/"))?;
                anyhow::ensure!(answer.is_ok() && answer.version() == server.name(), "{answer:?}");
                Ok(())
            })?;
        }
        let line = eventually("its line", Duration::from_secs(10), || line_of(&mesh, &client, server))?;
        assert_eq!(line["security"], "mutual_tls", "{line}");
    }
    Ok(())
}

/// A network plugin's policy does not see what travels between nodes' addresses, or within a proxy.
#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn a_pod_that_a_network_policy_selects_keeps_its_tunnels_to_itself() -> Result<()> {
    let world = World::builder().nodes(2).build()?;
    world.namespace("shop", IN_THE_MESH)?;
    let pod = |node: usize, name: &str| world.node(node).pod("shop", name).app(App::http(name));
    let free = pod(1, "free").start()?;
    let bound = pod(1, "bound").label("bound", "yes").start()?;
    let near = pod(1, "near").start()?;
    let near_bound = pod(1, "near-bound").label("bound", "yes").start()?;
    let far = pod(2, "far").start()?;
    let far_bound = pod(2, "far-bound").label("bound", "yes").start()?;
    world.apply_yaml(
        "network-policy.yaml",
        "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: bound, namespace: shop},\n \
         spec: {podSelector: {matchLabels: {bound: 'yes'}}, ingress: [{}], egress: [{}]}}\n",
    )?;
    let capture = world.capture(&near_bound.netns(), Some("eth0"), TapOptions::default())?;
    let mesh = start_mesh(&world, with_json_lines())?;
    await_enrolled(&mesh, [&free, &bound, &near, &near_bound, &far, &far_bound], Duration::from_secs(15))?;
    let node = || Some(SocketAddr::new(world.node(2).ip(), TUNNEL));
    let own = |pod: &Pod| Some(pod.addr(TUNNEL));
    for (case, client, server, tunnel) in [
        ("neither, on two nodes", &free, &far, node()),
        ("the server, on two nodes", &free, &far_bound, own(&far_bound)),
        ("the client, on two nodes", &bound, &far, own(&far)),
        ("both, on two nodes", &bound, &far_bound, own(&far_bound)),
        ("neither, on one node", &free, &near, None),
        ("the server, on one node", &free, &near_bound, own(&near_bound)),
        ("the client, on one node", &bound, &near, own(&near)),
        ("both, on one node", &bound, &near_bound, own(&near_bound)),
    ] {
        let answer = client.get(&format!("http://{}/", server.addr(8080)))?;
        let logs = || format!("{}\n{}", mesh.proxy(1).log(), mesh.proxy(2).log());
        assert!(answer.is_ok(), "{case}: {answer:?}\n{}", logs());
        let line = eventually(case, Duration::from_secs(10), || line_of(&mesh, client, server));
        let line = line.with_context(logs)?;
        // The port too: HBONE would not tell it.
        let seen = answer.peer().map(|peer| peer.to_string());
        assert_eq!(line["src.addr"].as_str(), seen.as_deref(), "{case}: the server sees its true client");
        let tunnel = tunnel.map(|addr| addr.to_string());
        assert_eq!(line["dst.tunnel_addr"].as_str(), tunnel.as_deref(), "{case}: {line}");
    }
    for client in [&free, &bound] {
        assert!(capture.tls_bytes(&[client.ip()], &[near_bound.ip()]) > 0, "{} is seen", client.name());
    }
    capture.assert_complete()
}

fn line_of(mesh: &Mesh, client: &Pod, server: &Pod) -> Result<Value> {
    let from = format!("{}:", client.ip());
    let to = server.addr(8080).to_string();
    let own = |line: &Value| {
        line["src.addr"].as_str().is_some_and(|addr| addr.starts_with(&from))
            && line["dst.addr"] == *to
            && line["direction"] != "inbound"
    };
    access_lines(mesh.proxy(1), &to).into_iter().find(own).context("no line yet")
}
