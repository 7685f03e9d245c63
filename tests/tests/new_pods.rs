//! Pods that have only just been added: nobody has a certificate for them yet, and connections come and go at once.
#![forbid(unsafe_code)]

use anyhow::{Context as _, Result, ensure};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use weft_core::ports::TUNNEL;
use weft_testkit::{App, Component, Pod, World};
use weft_tests::asking::await_enrolled;
use weft_tests::stage::start_mesh;
use weft_tests::talk::Talk;
use weft_tests::waiting::{access_lines, eventually, with_json_lines};

const PODS: usize = 50;
const ENROLS_WITHIN: Duration = Duration::from_secs(10);

/// Selects every pod, so that all keep their tunnels in their own namespaces and speak HBONE.
const SELECTS_ALL: &str = "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: all, \
     namespace: shop}, spec: {podSelector: {}, ingress: [{}], egress: [{}]}}\n";

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn long_a_new_pod_is_talked_to_at_once() -> Result<()> {
    let world = World::builder().nodes(2).build()?;
    pods_come_and_go(&world, |_server| world.node(2).ip())
}

/// Nothing listens on a pod's own port before the pod is enrolled.
#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn long_a_new_pod_is_talked_to_at_once_by_hbone() -> Result<()> {
    let world = World::builder().nodes(2).build()?;
    world.apply_yaml("network-policy.yaml", SELECTS_ALL)?;
    pods_come_and_go(&world, Pod::ip)
}

fn pods_come_and_go(world: &World, tunnel_ip: impl Fn(&Pod) -> IpAddr) -> Result<()> {
    let client = world.node(1).pod("shop", "client").service_account("client").start()?;
    let server = world.node(2).pod("shop", "server").app(App::echo()).start()?;
    // Of connections to who is not known yet: on a busy machine control may need longer than the default to tell.
    let settings = with_json_lines().env(Component::NodeProxy, "WEFT_DISCOVERY_WAIT_SECONDS", "10");
    let mesh = start_mesh(world, settings)?;
    await_enrolled(&mesh, [&client, &server], ENROLS_WITHIN)?;
    for number in 0..PODS {
        let name = format!("new-{number}");
        // Each has an identity of its own, so that each needs a certificate of its own; every other one is near.
        let node = world.node(1 + number % 2);
        let new = node.pod("shop", &name).service_account(&name).app(App::echo()).start()?;
        let talk = |from: &Pod, to: SocketAddr| {
            let said = Talk::begin(from, to).and_then(Talk::finish);
            said.with_context(|| {
                // Lines are written some moments later.
                let seen = || [1, 2].map(|node| access_lines(mesh.proxy(node), &to.to_string()));
                let lines = eventually("a line", ENROLS_WITHIN, || {
                    let lines = seen();
                    ensure!(lines.iter().any(|lines| !lines.is_empty()), "none");
                    Ok(lines)
                });
                format!("{} to {to}, pod {number}: {lines:#?}", from.name())
            })
        };
        talk(&client, new.addr(7000))?;
        talk(&new, server.addr(7000))?;
        // Once more through the mesh for sure, both ways.
        await_enrolled(&mesh, [&new], ENROLS_WITHIN)?;
        talk(&client, new.addr(7000))?;
        talk(&new, server.addr(7000))?;
        new.delete()?;
    }
    let tunnel = SocketAddr::new(tunnel_ip(&server), TUNNEL).to_string();
    eventually("a line that names the tunnel", ENROLS_WITHIN, || {
        let lines = access_lines(mesh.proxy(1), &server.addr(7000).to_string());
        let last = lines.last().context("no line yet")?;
        ensure!(last["dst.tunnel_addr"] == tunnel, "not by {tunnel}: {last}");
        Ok(())
    })
}
