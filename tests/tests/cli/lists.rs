//! `weft workloads`, `services`, `policies`, `certificates` and `connections`.

use crate::weft::{cells, row};
use crate::{OPEN, Stage, WITHIN};
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use std::net::SocketAddr;
use weft_tests::talk::Talk;
use weft_tests::waiting::eventually;

pub(crate) fn are_what_there_is(stage: &Stage) -> Result<()> {
    workloads(stage).context("workloads")?;
    services(stage).context("services")?;
    policies(stage).context("policies")?;
    certificates(stage).context("certificates")?;
    connections(stage).context("connections")?;
    one_node_of_them(stage)
}

/// These fields of a row have these values.
fn has(row: &Value, want: &Value) -> Result<()> {
    for (name, want) in want.as_object().into_iter().flatten() {
        ensure!(row[name] == *want, "{name} is not {want}: {row:#}");
    }
    Ok(())
}

fn workloads(stage: &Stage) -> Result<()> {
    let rows = stage.weft.value(&["workloads"])?;
    let table = stage.weft.table(&["workloads"])?;
    cells(&table, &["NAMESPACE", "NAME", "ADDRESSES", "NODE", "PROTOCOL", "HEALTH", "IDENTITY"])?;
    let served = json!(["shop/reviews.shop.svc.cluster.local"]);
    for (pod, protocol, services) in [
        (&stage.client, "tunnel", json!([])),
        (&stage.near, "tunnel", served.clone()),
        (&stage.far, "tunnel", served),
        (&stage.stranger, "plain", json!([])),
    ] {
        let account = if pod.namespace() == "shop" { pod.name() } else { "default" };
        let identity = format!("spiffe://cluster.local/ns/{}/sa/{account}", pod.namespace());
        let node = format!("node{}", pod.node());
        let want = json!({
            "addresses": pod.ips(), "node": node, "identity": identity, "protocol": protocol,
            "health": "healthy", "services": services,
        });
        has(row(&rows, &[("namespace", pod.namespace()), ("name", pod.name())])?, &want)?;
        let addresses = format!("{},{}", pod.ip(), pod.ip6());
        let want = [pod.namespace(), pod.name(), &addresses, &node, protocol, "healthy", identity.as_str()];
        ensure!(cells(&table, &want[..2])? == want, "{want:?} is not in {table:#?}");
    }
    has(row(&rows, &[("name", "sick")])?, &json!({"health": "unhealthy"}))
}

fn services(stage: &Stage) -> Result<()> {
    let rows = stage.weft.value(&["services"])?;
    let ips = stage.world.service("shop", "reviews").ips();
    let host = "reviews.shop.svc.cluster.local";
    let want = json!({
        "namespace": "shop", "addresses": ips, "ports": [80], "endpoints": 3, "healthy": 2,
    });
    has(row(&rows, &[("hostname", host)])?, &want)?;
    let table = stage.weft.table(&["services"])?;
    cells(&table, &["NAMESPACE", "HOSTNAME", "ADDRESSES", "PORTS", "HEALTHY"])?;
    cells(&table, &["shop", host, &format!("{},{}", ips[0], ips[1]), "80", "2/3"]).map(drop)
}

fn policies(stage: &Stage) -> Result<()> {
    let rows = stage.weft.value(&["policies"])?;
    let table = stage.weft.table(&["policies"])?;
    cells(&table, &["NAMESPACE", "NAME", "ACTION", "SCOPE", "RULES", "MODE"])?;
    for (name, scope, rules, dry_run, mode) in
        [("closed", "namespace", 1, false, "enforced"), ("trial", "selector", 2, true, "dry run")]
    {
        let want = json!({
            "namespace": "shop", "scope": scope, "action": "DENY", "dry_run": dry_run, "rules": rules,
            "unusable": null,
        });
        has(row(&rows, &[("name", name)])?, &want)?;
        cells(&table, &["shop", name, "DENY", scope, &rules.to_string(), mode])?;
    }
    Ok(())
}

fn certificates(stage: &Stage) -> Result<()> {
    let rows = stage.weft.value(&["certificates"])?;
    let table = stage.weft.table(&["certificates"])?;
    cells(&table, &["NODE", "IDENTITY", "VALID", "AGE", "EXPIRES IN", "SERIAL"])?;
    for pod in [&stage.client, &stage.near, &stage.far] {
        let (node, identity) =
            (format!("node{}", pod.node()), format!("spiffe://cluster.local/ns/shop/sa/{}", pod.name()));
        let row = row(&rows, &[("node", &node), ("identity", &identity)])?;
        let (age, left) = (row["age_seconds"].as_u64(), row["expires_in_seconds"].as_u64());
        let whole = age.zip(left).map(|(age, left)| age + left).with_context(|| row.to_string())?;
        // A day, unless an operator has said otherwise, and a little for clocks that differ.
        ensure!((86_000..88_000).contains(&whole), "{row}");
        has(row, &json!({"valid": true}))?;
        let serial = row["serial"].as_str().context("a serial number")?;
        let cells = cells(&table, &[&node, &identity, "yes"])?;
        ensure!(cells.last() == Some(&serial), "{cells:?} ends with {serial}");
    }
    Ok(())
}

/// One to the other node by the Service's address or by its own, and one on a node.
fn connections(stage: &Stage) -> Result<()> {
    ensure!(stage.weft.table(&["connections"])? == ["there are none"], "nobody has opened any");
    let mut across = Talk::begin(&stage.client, stage.far.addr6(OPEN))?;
    across.go_on()?;
    let near = Talk::begin(&stage.client, stage.near.addr(OPEN))?;
    let (from, to) = (across.flow()?.client, stage.far.addr6(OPEN));
    // Bytes are counted a moment after they have gone by.
    let rows = eventually("the bytes", WITHIN, || {
        let rows = stage.weft.value(&["connections"])?;
        for (talk, node, direction, (from, to), bytes) in [
            (&across, "node1", "outbound", (from, to), 28),
            (&across, "node2", "inbound", (from, to), 28),
            (&near, "node1", "same_node", (near.flow()?.client, stage.near.addr(OPEN)), 14),
        ] {
            let destination = if std::ptr::eq(talk, &near) { "shop/near" } else { "shop/far" };
            // Nobody has asked for a Service; the server's side knows that the port has no other.
            let service = (direction != "outbound").then_some("shop/reviews.shop.svc.cluster.local");
            let want = json!({
                "client": from, "target": to, "source": "shop/client", "destination": destination,
                "source_identity": "spiffe://cluster.local/ns/shop/sa/client", "service": service,
                "bytes_sent": bytes, "bytes_received": bytes,
            });
            has(row(&rows, &[("node", node), ("direction", direction)])?, &want)?;
        }
        Ok(rows)
    })?;
    ensure!(rows.as_array().is_some_and(|rows| rows.len() == 3), "{rows:#}");
    let table = stage.weft.table(&["connections"])?;
    cells(&table, &["NODE", "DIRECTION", "SOURCE", "DESTINATION", "SERVICE", "SENT", "RECEIVED", "AGE"])?;
    let ends = [format!("shop/client {from}"), format!("shop/far {to}")];
    cells(&table, &["node1", "outbound", &ends[0], &ends[1], "-", "28 B", "28 B"])?;
    near.finish()?;
    across.finish()?;
    eventually("they are closed", WITHIN, || {
        let table = stage.weft.table(&["connections"])?;
        ensure!(table == ["there are none"], "{table:#?}");
        Ok(())
    })?;
    by_a_service(stage)
}

fn by_a_service(stage: &Stage) -> Result<()> {
    let vip = SocketAddr::new(stage.world.service("shop", "reviews").ips()[0], 80);
    let talk = Talk::begin(&stage.client, vip)?;
    let rows = stage.weft.value(&["connections", "--node", "node1"])?;
    let vip = vip.to_string();
    let row = row(&rows, &[("target", &vip)])?;
    has(row, &json!({"service": "shop/reviews.shop.svc.cluster.local"}))?;
    talk.finish()
}

/// A node may be named, or its proxy's socket; and nobody is told of a node that is not there.
fn one_node_of_them(stage: &Stage) -> Result<()> {
    let socket = weft_tests::asking::proxy_socket(&stage.mesh, 2).display().to_string();
    let of_second = stage.weft.value(&["certificates", "--node", "node2"])?;
    let nodes = |rows: &Value| -> Vec<Value> {
        rows.as_array().into_iter().flatten().map(|row| row["node"].clone()).collect()
    };
    ensure!(nodes(&of_second) == ["node2", "node2"], "{of_second:#}");
    let by_socket = crate::weft::run(
        &weft_testkit::find_binary("weft")?,
        ["certificates", "-o", "json", "--socket", &socket],
    )?;
    let by_socket: Value = serde_json::from_str(&by_socket.out).with_context(|| format!("{by_socket:?}"))?;
    ensure!(nodes(&by_socket) == ["node2", "node2"], "{by_socket:#}");
    let nowhere = stage.weft.say(&["connections", "--node", "node3"])?;
    ensure!(nowhere.code == Some(1) && nowhere.out.is_empty(), "{nowhere:?}");
    ensure!(
        nowhere.err.contains("no node proxy here is of node node3; there is node1, node2"),
        "{nowhere:?}"
    );
    Ok(())
}
