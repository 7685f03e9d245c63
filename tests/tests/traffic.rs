//! The thin thread through everything: a pod's request is captured, tunnelled, authorised and delivered.
use anyhow::{Context as _, Result, ensure};
use std::time::Duration;
use weft_testkit::{App, MeshSettings, TapOptions, World};
use weft_tests::asking::await_enrolled;
use weft_tests::stage::start_mesh;
use weft_tests::waiting::eventually;

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

/// A network plugin's policy does not see what travels between nodes' addresses.
#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn a_pod_that_a_network_policy_selects_keeps_its_tunnels_to_itself() -> Result<()> {
    let world = World::builder().nodes(2).build()?;
    world.namespace("shop", IN_THE_MESH)?;
    let free = world.node(1).pod("shop", "free").start()?;
    let bound = world.node(1).pod("shop", "bound").label("bound", "yes").start()?;
    let far = world.node(2).pod("shop", "far").app(App::http("far")).start()?;
    let server =
        world.node(2).pod("shop", "server").label("bound", "yes").app(App::http("server")).start()?;
    world.apply_yaml(
        "network-policy.yaml",
        "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: bound, namespace: shop},\n \
         spec: {podSelector: {matchLabels: {bound: 'yes'}}, ingress: [{}], egress: [{}]}}\n",
    )?;
    let mesh = start_mesh(&world, MeshSettings::default())?;
    await_enrolled(&mesh, [&free, &bound, &far, &server], Duration::from_secs(15))?;
    let node = world.node(2).ip();
    for (case, client, to, tunnel) in [
        ("neither", &free, &far, node),
        ("the server", &free, &server, server.ip()),
        ("the client", &bound, &far, far.ip()),
        ("both", &bound, &server, server.ip()),
    ] {
        let answer = client.get(&format!("http://{}/", to.addr(8080)))?;
        assert!(answer.is_ok(), "{case}: {answer:?}\n{}\n{}", mesh.proxy(1).log(), mesh.proxy(2).log());
        eventually("a line that names the tunnel", Duration::from_secs(10), || {
            let log = mesh.proxy(1).log();
            let line = log.lines().rfind(|line| line.contains("direction=outbound"));
            let line = line.context("no line yet")?;
            let want = format!("dst.tunnel_addr={tunnel}:15008 ");
            ensure!(line.contains(&want), "{case}: not {want}: {line}");
            Ok(())
        })?;
    }
    Ok(())
}
