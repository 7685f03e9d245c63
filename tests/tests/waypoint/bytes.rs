//! Connections of bytes through a waypoint: what goes in comes out, in either dialect.

use anyhow::{Context as _, Result, ensure};
use std::net::SocketAddr;
use weft_testkit::{App, Pod, Probe};
use weft_tests::asking::await_enrolled;
use weft_tests::stage::TUNNEL_VERSIONS;
use weft_tests::waiting::{access_lines, eventually};

use crate::scene::{PATIENCE, Scene};

const PORT: u16 = 7002;

pub(crate) fn come_through_whole(scene: &Scene) -> Result<()> {
    let server = scene.world.node(2).pod("shop", "bytes").label("app", "bytes").app(App::probe()).start()?;
    await_enrolled(&scene.mesh, [&server], PATIENCE)?;
    let service = scene.world.service("shop", "bytes").select([("app", "bytes")]).port("tcp", PORT, PORT);
    service.label("weft.dev/waypoint", "gate").apply()?;
    for (dialect, versions) in [("Weft's own dialect", Some("1")), ("HBONE", None)] {
        scene.gate.set_annotation(TUNNEL_VERSIONS, versions)?;
        for client in [&scene.client, &scene.teller] {
            for ip in scene.world.service("shop", "bytes").ips() {
                let case = || format!("{}, by {dialect}, to {ip}", client.name());
                every_byte(scene, client, SocketAddr::new(ip, PORT), versions.is_some())
                    .with_context(case)?;
            }
        }
    }
    Ok(())
}

fn every_byte(scene: &Scene, client: &Pod, to: SocketAddr, tells_port: bool) -> Result<()> {
    eventually("connections come through the waypoint as they should", PATIENCE, || {
        client.probe(&Probe::to(&to).bytes(1000))?;
        let lines = access_lines(&scene.waypoint, "bytes.shop.svc.cluster.local");
        let mut ours = lines.iter().filter(|line| line["protocol"] == "TCP").filter_map(|line| {
            let addr = line["src.addr"].as_str()?.parse::<SocketAddr>().ok()?;
            client.ips().contains(&addr.ip()).then_some(addr)
        });
        let last = ours.next_back().context("no line yet")?;
        ensure!((last.port() != 0) == tells_port, "{last}");
        Ok(())
    })?;
    for (seed, probe) in [
        (1, Probe::to(&to)),
        (2, Probe::to(&to).connections(24).bytes(100_000).write_max(700)),
        (3, Probe::to(&to).connections(2).bytes(12 << 20).write_max(1 << 20)),
    ] {
        let probe = probe.seed(seed);
        let report = client.probe(&probe).with_context(|| format!("probe {seed}"))?;
        ensure!(report.ok == probe.connections && report.received == report.sent, "probe {seed}: {report:?}");
    }
    Ok(())
}
