//! Peers and pods that mean harm: what they say is refused, what they forge is worth nothing, and whoever behaves is
//! served as before.
#![deny(unsafe_code)]

mod frames;
mod peer;
mod pods;
mod ports;

use anyhow::{Context as _, Result, ensure};
use peer::{Approach, Told, connect, frame, h2_frame, open, request};
use serde_json::json;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;
use weft_testkit::{App, Component, Mesh, MeshSettings, Pod, World};
use weft_tests::asking::await_enrolled;
use weft_tests::forger::{EXPIRED, Forger, NOT_YET, Papers, VALID};
use weft_tests::stage::{object, start_mesh};
use weft_tests::talk::Talk;
use weft_tests::waiting::eventually;

const TUNNEL: u16 = 15008;
const CLIENT: &str = "spiffe://cluster.local/ns/shop/sa/client";
const SERVER: &str = "spiffe://cluster.local/ns/shop/sa/server";
const NEAR: &str = "spiffe://cluster.local/ns/shop/sa/near";
const STRANGER: &str = "spiffe://cluster.local/ns/outside/sa/default";
/// Of the proxy; short, so that half a handshake is given up while the test looks on.
const HANDSHAKE: Duration = Duration::from_secs(1);

/// A client on node 1 and its server on node 2, with others around that an attacker may want to be.
struct Stage {
    client: Pod,
    /// On the client's node, with the server's own application and another identity.
    near: Pod,
    /// On the server's node, under another identity.
    other: Pod,
    server: Pod,
    /// On the client's node, outside the mesh.
    stranger: Pod,
    mesh: Mesh,
    pids: Vec<i32>,
    world: World,
}

impl Stage {
    fn set() -> Result<Self> {
        let world = World::builder().nodes(2).build()?;
        let pod = |node: usize, name: &str| world.node(node).pod("shop", name).service_account(name);
        let client = pod(1, "client").start()?;
        let near = pod(1, "near").app(App::echo()).start()?;
        let other = pod(2, "other").app(App::echo()).start()?;
        let server = pod(2, "server").app(App::echo()).start()?;
        let stranger = world.node(1).outside("stranger").start()?;
        let settings = MeshSettings::default();
        let seconds = HANDSHAKE.as_secs();
        let settings = settings.env(Component::NodeProxy, "WEFT_HANDSHAKE_TIMEOUT_SECONDS", &seconds);
        let mesh = start_mesh(&world, settings)?;
        await_enrolled(&mesh, [&client, &near, &other, &server], Duration::from_secs(10))?;
        let pids = pids(&mesh)?;
        Ok(Self { client, near, other, server, stranger, mesh, pids, world })
    }

    /// Whoever behaves is served, and every process is the one that it was.
    fn assert_unharmed(&self, after: &str) -> Result<()> {
        for addr in [self.server.addr(7000), self.near.addr6(7000)] {
            Talk::begin(&self.client, addr).with_context(|| format!("after {after}"))?.finish()?;
        }
        ensure!(pids(&self.mesh)? == self.pids, "a process died of {after}");
        Ok(())
    }
}

fn pids(mesh: &Mesh) -> Result<Vec<i32>> {
    let pid = |process: &weft_testkit::MeshProcess| -> Result<i32> {
        let process = process.process()?;
        ensure!(process.is_running(), "{} has ended\n{}", process.name(), process.log_tail());
        Ok(process.pid())
    };
    mesh.all().map(pid).collect()
}

/// An OPEN that is in order: from the client to the server's application.
fn honest(stage: &Stage) -> Vec<u8> {
    open(SocketAddr::new(stage.client.ip(), 40_000), stage.server.addr(7000))
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn a_node_takes_nobodys_word_without_papers() -> Result<()> {
    let stage = Stage::set()?;
    let mesh = Forger::of_the_mesh(&stage.world)?;
    let (foreign, evil) = (Forger::foreign("cluster.local")?, Forger::foreign("evil.example")?);
    let in_evil = "spiffe://evil.example/ns/shop/sa/client";
    let papers: [(&str, Option<Papers>, Told); 8] = [
        ("good papers", Some(mesh.papers(CLIENT, VALID)?), Told::Opened),
        ("no certificate", None, Told::Nothing),
        ("another trust domain", Some(evil.papers(in_evil, VALID)?), Told::Nothing),
        ("our root for another trust domain", Some(mesh.papers(in_evil, VALID)?), Told::Nothing),
        ("our domain from a foreign root", Some(foreign.papers(CLIENT, VALID)?), Told::Nothing),
        ("an expired certificate", Some(mesh.papers(CLIENT, EXPIRED)?), Told::Nothing),
        ("a certificate of tomorrow", Some(mesh.papers(CLIENT, NOT_YET)?), Told::Nothing),
        ("a name that is no identity", Some(mesh.papers("https://shop/client", VALID)?), Told::Nothing),
    ];
    let to_node = SocketAddr::new(stage.world.node(2).ip(), TUNNEL);
    for (case, papers, want) in &papers {
        let approach = Approach { to: to_node, papers: papers.as_ref(), server: SERVER, alpn: b"weft/1" };
        let told = stage.world.node(1).enter(|| approach.say(&honest(&stage)))??;
        assert_eq!(told, *want, "{case}, at the node");
        // At the pod's own port the stranger's address belongs to somebody else than the client.
        let want = if *want == Told::Opened { &Told::Refused(401) } else { want };
        let approach =
            Approach { to: stage.server.addr(TUNNEL), papers: papers.as_ref(), server: SERVER, alpn: b"h2" };
        let target = stage.server.addr(7000).to_string();
        let told = stage.stranger.enter(|| approach.say_h2(&connect(&target, &[])))??;
        assert_eq!(told, *want, "{case}, at the pod");
        stage.assert_unharmed(case)?;
    }
    let good = papers[0].1.as_ref();
    for (case, server, alpn) in [
        ("a dialect that does not exist", SERVER, &b"weft/9"[..]),
        ("a server that is not here", NEAR, b"weft/1"),
    ] {
        let approach = Approach { to: to_node, papers: good, server, alpn };
        assert_eq!(stage.world.node(1).enter(|| approach.say(&honest(&stage)))??, Told::Nothing, "{case}");
        stage.assert_unharmed(case)?;
    }
    Ok(())
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn good_papers_speak_for_their_own_pods_and_reach_nothing_but_applications() -> Result<()> {
    let stage = Stage::set()?;
    let mesh = Forger::of_the_mesh(&stage.world)?;
    let (client, other) =
        (mesh.papers(CLIENT, VALID)?, mesh.papers("spiffe://cluster.local/ns/shop/sa/other", VALID)?);
    let from = |ip: IpAddr| SocketAddr::new(ip, 40_001);
    let (me, app) = (from(stage.client.ip()), stage.server.addr(7000));
    let nowhere = IpAddr::from(Ipv4Addr::new(192, 0, 2, 7));
    let long = [&open(me, app)[8..], &[9, 0xff, 0xff], &vec![0; 9000]].concat();
    let node = |number| stage.world.node(number);
    let cases: [(&str, usize, &Papers, Vec<u8>, Told); 20] = [
        ("the client itself", 1, &client, open(me, app), Told::Opened),
        ("another node's pod", 1, &other, open(from(stage.other.ip()), app), Told::Refused(3)),
        ("another identity's address", 1, &client, open(from(stage.near.ip()), app), Told::Refused(3)),
        ("an address of nobody's", 1, &client, open(from(nowhere), app), Told::Refused(3)),
        ("the node's own address", 1, &client, open(from(node(1).ip()), app), Told::Refused(3)),
        ("papers that were carried to another node", 2, &client, open(me, app), Told::Refused(3)),
        ("the mesh's 15001", 1, &client, open(me, stage.server.addr(15001)), Told::Refused(5)),
        ("the mesh's 15006", 1, &client, open(me, stage.server.addr(15006)), Told::Refused(5)),
        ("the mesh's 15008", 1, &client, open(me, stage.server.addr(15008)), Told::Refused(5)),
        ("the mesh's 15053", 1, &client, open(me, stage.server.addr6(15053)), Told::Refused(5)),
        (
            "a pod of another identity than asked for",
            1,
            &client,
            open(me, stage.other.addr(7000)),
            Told::Refused(2),
        ),
        ("a pod of another node", 1, &client, open(me, stage.near.addr(7000)), Told::Refused(2)),
        ("the node itself", 1, &client, open(me, SocketAddr::new(node(2).ip(), 15020)), Told::Refused(2)),
        ("the loopback address", 1, &client, open(me, "127.0.0.1:7000".parse()?), Told::Refused(2)),
        ("an application that is not there", 1, &client, open(me, stage.server.addr(9)), Told::Refused(4)),
        ("an unknown kind of frame", 1, &client, frame(77, 1, b"x"), Told::Nothing),
        ("an answer instead of a question", 1, &client, frame(2, 1, b""), Told::Nothing),
        ("half an OPEN", 1, &client, frame(1, 1, &[4; 20]), Told::Refused(5)),
        ("an OPEN that is too long", 1, &client, frame(1, 1, &long), Told::Nothing),
        ("garbage within TLS", 1, &client, vec![0xff; 4096], Told::Nothing),
    ];
    for (case, from_node, papers, bytes, want) in cases {
        let to = SocketAddr::new(node(2).ip(), TUNNEL);
        let approach = Approach { to, papers: Some(papers), server: SERVER, alpn: b"weft/1" };
        let told = node(from_node).enter(|| approach.say(&bytes))?.with_context(|| case.to_owned())?;
        assert_eq!(told, want, "{case}");
        stage.assert_unharmed(case)?;
    }
    let own = mesh.papers(STRANGER, VALID)?;
    let stranger = from(stage.stranger.ip());
    let cases: [(&str, &Papers, Vec<u8>, Told); 10] = [
        ("the stranger itself", &own, open(stranger, app), Told::Opened),
        ("by its other address", &own, open(from(stage.stranger.ip6()), app), Told::Opened),
        ("for the client, with its papers", &client, open(me, app), Told::Refused(3)),
        ("for the client, with its own papers", &own, open(me, app), Told::Refused(3)),
        ("with the client's papers", &client, open(stranger, app), Told::Refused(3)),
        ("for an address of nobody's", &own, open(from(nowhere), app), Told::Refused(3)),
        ("to another pod of the node", &own, open(stranger, stage.other.addr(7000)), Told::Refused(2)),
        ("to the loopback address", &own, open(stranger, "127.0.0.1:7000".parse()?), Told::Refused(2)),
        ("to the mesh's 15008", &own, open(stranger, stage.server.addr(15008)), Told::Refused(5)),
        ("garbage within TLS", &own, vec![0xff; 4096], Told::Nothing),
    ];
    // All at once: a refusal takes as long as discovery may be late.
    let to = stage.server.addr(TUNNEL);
    let said = std::thread::scope(|scope| {
        let say = |(_, papers, bytes, _): &(&str, &Papers, Vec<u8>, Told)| -> Result<Told> {
            let approach = Approach { to, papers: Some(papers), server: SERVER, alpn: b"weft/1" };
            stage.stranger.enter(|| approach.say(bytes))?
        };
        let all: Vec<_> = cases.iter().map(|case| scope.spawn(move || say(case))).collect();
        all.into_iter().map(|one| one.join().expect("it does not panic")).collect::<Vec<_>>()
    });
    for ((case, .., want), told) in cases.iter().zip(said) {
        assert_eq!(told.with_context(|| (*case).to_owned())?, *want, "{case}, at the pod");
    }
    stage.assert_unharmed("requests in Weft's own dialect at a pod's own port")
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn requests_at_a_pods_own_port_are_taken_word_for_word() -> Result<()> {
    let stage = Stage::set()?;
    let mesh = Forger::of_the_mesh(&stage.world)?;
    // The stranger's own identity: the papers are in order, only the requests are not.
    let papers = mesh.papers(STRANGER, VALID)?;
    let app = stage.server.addr(7000).to_string();
    let at = |addr: SocketAddr| connect(&addr.to_string(), &[]);
    let big = "x".repeat(15_000);
    let many: Vec<(String, String)> = (0..60).map(|n| (format!("x-{n}"), "y".repeat(200))).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let headers_that_never_end =
        [h2_frame(1, 0, 1, &[0x40; 8]), h2_frame(9, 0, 1, &[0; 16_000]).repeat(40)].concat();
    let cases: [(&str, Vec<u8>, &[Told]); 18] = [
        ("a request in order", connect(&app, &[]), &[Told::Opened]),
        ("an authority that is nothing", connect("!!", &[]), &[Told::Refused(400), Told::Nothing]),
        ("no authority", connect("", &[]), &[Told::Refused(400), Told::Nothing]),
        ("a port beyond all ports", connect("10.0.0.1:70000", &[]), &[Told::Refused(400), Told::Nothing]),
        ("no port", connect(&stage.server.ip().to_string(), &[]), &[Told::Refused(400), Told::Nothing]),
        ("a name", connect("server.shop.svc:7000", &[]), &[Told::Refused(400)]),
        ("the mesh's 15001", at(stage.server.addr(15001)), &[Told::Refused(400)]),
        ("the mesh's 15006", at(stage.server.addr(15006)), &[Told::Refused(400)]),
        ("the mesh's 15008", at(stage.server.addr(15008)), &[Told::Refused(400)]),
        ("the mesh's 15053", at(stage.server.addr(15053)), &[Told::Refused(400)]),
        ("another pod", at(stage.other.addr(7000)), &[Told::Refused(400)]),
        ("the loopback address", connect("127.0.0.1:7000", &[]), &[Told::Refused(400)]),
        ("a method that is none of ours", request("GET", &app, &[]), &[Told::Refused(400), Told::Nothing]),
        // All are ignored, or too much; nobody falls over.
        (
            "a header of 15 kB",
            connect(&app, &[("x-big", &big)]),
            &[Told::Opened, Told::Refused(400), Told::Nothing, Told::Refused(431)],
        ),
        (
            "a baggage of 12 kB",
            connect(&app, &[("baggage", &big[..12_000])]),
            &[Told::Opened, Told::Refused(400), Told::Nothing, Told::Refused(431)],
        ),
        (
            "many headers",
            connect(&app, &many),
            &[Told::Opened, Told::Refused(400), Told::Nothing, Told::Refused(431)],
        ),
        ("headers that never end", headers_that_never_end, &[Told::Nothing, Told::Refused(431)]),
        ("garbage within TLS", vec![0xff; 4096], &[Told::Nothing]),
    ];
    for (case, bytes, want) in cases {
        let to = stage.server.addr(TUNNEL);
        let approach = Approach { to, papers: Some(&papers), server: SERVER, alpn: b"h2" };
        let told = stage.stranger.enter(|| approach.say_h2(&bytes))?.with_context(|| case.to_owned())?;
        assert!(want.contains(&told), "{case}: {told:?} and not one of {want:?}");
        stage.assert_unharmed(case)?;
    }
    Ok(())
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn who_names_another_client_is_not_believed() -> Result<()> {
    let stage = Stage::set()?;
    let mesh = Forger::of_the_mesh(&stage.world)?;
    let [app, me, near] = [(&stage.server, 7000), (&stage.client, 40_002), (&stage.near, 40_002)]
        .map(|(pod, port)| pod.addr(port));
    // What counts is the client's address, and no waypoint stands here that might tell another one.
    let client_only = json!({"rules": [{"from": [{"source": {"ipBlocks": stage.client.ips()}}]}]});
    let client_only =
        object("security.istio.io/v1", "AuthorizationPolicy", ["shop", "client-only"], &client_only);
    stage.world.apply(&client_only)?;
    let named = format!("for=\"{me}\"");
    let at_pod = |headers: &[(&str, &str)]| -> Result<Told> {
        let (to, papers) = (stage.server.addr(TUNNEL), mesh.papers(STRANGER, VALID)?);
        let approach = Approach { to, papers: Some(&papers), server: SERVER, alpn: b"h2" };
        stage.stranger.enter(|| approach.say_h2(&connect(&app.to_string(), headers)))?
    };
    eventually("the policy is in force", HANDSHAKE * 10, || {
        let told = at_pod(&[])?;
        ensure!(told == Told::Refused(401), "{told:?}");
        Ok(())
    })?;
    assert_eq!(at_pod(&[("forwarded", &named)])?, Told::Refused(401), "in HBONE");
    let at_node = |identity: &str, bytes: &[u8]| -> Result<Told> {
        let to = SocketAddr::new(stage.world.node(2).ip(), TUNNEL);
        let papers = mesh.papers(identity, VALID)?;
        let approach = Approach { to, papers: Some(&papers), server: SERVER, alpn: b"weft/1" };
        stage.world.node(1).enter(|| approach.say(bytes))?
    };
    assert_eq!(at_node(CLIENT, &open(me, app))?, Told::Opened, "the client itself");
    assert_eq!(at_node(NEAR, &open(near, app))?, Told::Refused(1), "another one");
    let length = u16::try_from(named.len())?.to_be_bytes();
    let naming = frame(1, 1, &[&open(near, app)[8..], &[3], &length, named.as_bytes()].concat());
    assert_eq!(at_node(NEAR, &naming)?, Told::Refused(1), "another one, in the client's name");
    stage.assert_unharmed("somebody who named another client")
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn whoever_says_nonsense_or_nothing_is_hung_up_on() -> Result<()> {
    let stage = Stage::set()?;
    // A record that announces a ClientHello of 512 bytes, and the first ten.
    let half = [&[22, 3, 1, 2, 0][..], &[1, 0, 1, 0xfc, 3, 3, 7, 7, 7, 7]].concat();
    let cases: [(&str, &[u8]); 4] = [
        ("nothing", b""),
        ("half a handshake", &half),
        ("HTTP", b"GET / HTTP/1.1\r\n\r\n"),
        ("zeros", &[0; 70_000]),
    ];
    for to in [
        SocketAddr::new(stage.world.node(2).ip(), TUNNEL),
        stage.server.addr(TUNNEL),
        stage.server.addr6(TUNNEL),
    ] {
        for (case, bytes) in cases {
            let held = (0..50).map(|_| stage.stranger.enter(|| nonsense(to, bytes))?);
            let held: Vec<TcpStream> = held.collect::<Result<_>>()?;
            stage.assert_unharmed(&format!("{case}, 50 times, held open"))?;
            for mut stream in held {
                stream.set_read_timeout(Some(HANDSHAKE * 5))?;
                let mut answer = Vec::new();
                let ended = stream.read_to_end(&mut answer);
                let waits = ended.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
                ensure!(!waits, "{to}: {case} is held open for ever");
            }
        }
    }
    ports::lead_nowhere(&stage)?;
    stage.assert_unharmed("nonsense at the mesh's own ports")
}

fn nonsense(to: SocketAddr, bytes: &[u8]) -> Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(5)).context("connecting")?;
    // It may be hung up on before all of it is said.
    let _cut = stream.write_all(bytes);
    Ok(stream)
}
