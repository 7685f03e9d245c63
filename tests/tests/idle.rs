//! Connections that carry nothing: they stay open, unless an operator has said for how long they may.
#![forbid(unsafe_code)]

use anyhow::{Context as _, Result, ensure};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};
use weft_testkit::{App, Component, Pod, World};
use weft_tests::asking::await_enrolled;
use weft_tests::stage::start_mesh;
use weft_tests::talk::{Ending, Talk};
use weft_tests::waiting::{await_line, with_json_lines};

const WITHIN: Duration = Duration::from_secs(10);
const IDLE: Duration = Duration::from_secs(2);

/// Both ends of a connection on which only one of them speaks.
struct OneWay {
    speaks: TcpStream,
    hears: TcpStream,
}

impl OneWay {
    fn go_on(&mut self) -> Result<()> {
        self.speaks.write_all(b"x").context("speaking")?;
        self.hears.read_exact(&mut [0]).context("hearing")
    }
}

/// One on which the client speaks, and one on which the server does.
fn one_way(client: &Pod, server: &Pod) -> Result<[OneWay; 2]> {
    let listener = server.enter(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)))?.context("listening")?;
    let to = server.addr(listener.local_addr()?.port());
    let pair = || -> Result<[TcpStream; 2]> {
        let client = client.enter(|| TcpStream::connect_timeout(&to, WITHIN))?.context("connecting")?;
        let (server, _) = listener.accept().context("accepting")?;
        let both = [client, server];
        both.iter().try_for_each(|end| end.set_read_timeout(Some(WITHIN)))?;
        Ok(both)
    };
    let ([speaks, hears], [back, from]) = (pair()?, pair()?);
    Ok([OneWay { speaks, hears }, OneWay { speaks: from, hears: back }])
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn a_connection_that_carries_nothing_ends_and_one_that_does_goes_on() -> Result<()> {
    let world = World::builder().nodes(2).build()?;
    let client = world.node(1).pod("shop", "client").start()?;
    let near = world.node(1).pod("shop", "near").app(App::echo()).start()?;
    let far = world.node(2).pod("shop", "far").app(App::echo()).start()?;
    let settings = with_json_lines().env(Component::NodeProxy, "WEFT_IDLE_TIMEOUT_SECONDS", &IDLE.as_secs());
    let mesh = start_mesh(&world, settings)?;
    await_enrolled(&mesh, [&client, &near, &far], WITHIN)?;
    for (to, directions) in [(near.addr(7000), ["same_node"]), (far.addr(7000), ["outbound"])] {
        let begun = Instant::now();
        let idle = Talk::begin(&client, to)?;
        let flow = idle.flow()?;
        let mut busy = Talk::begin(&client, to)?;
        let [mut up, mut down] = one_way(&client, if to == near.addr(7000) { &near } else { &far })?;
        while begun.elapsed() < IDLE * 2 {
            busy.go_on().context("one that carries something")?;
            up.go_on().with_context(|| format!("one on which only the client speaks, to {to}"))?;
            down.go_on().with_context(|| format!("one on which only the server speaks, to {to}"))?;
            std::thread::sleep(IDLE / 20);
        }
        assert_eq!(idle.wait_for_end(WITHIN)?, Ending::Reset, "to {to}");
        busy.finish()?;
        let line = await_line(mesh.proxy(1), flow, &directions)?;
        // Both nodes look for it: the other one may have been first.
        let end = line["end"].as_str().unwrap_or_default();
        ensure!(["idle_timeout", "peer_reset"].contains(&end), "{line}");
        let millis = line["duration_ms"].as_f64().unwrap_or_default();
        // Not before, and not only when the test was about to give up.
        ensure!((1_900.0..WITHIN.as_secs_f64() * 1e3).contains(&millis), "{line}");
    }
    let said = [1, 2].map(|node| mesh.proxy(node).log().contains("idle_timeout"));
    ensure!(said.contains(&true), "nobody says why");
    Ok(())
}
