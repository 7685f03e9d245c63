//! Worlds without a mesh: pods reach each other, captures see what they say, faults bite, and nothing is left behind.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use weft_testkit::{
    App, Capture, Connects, Get, Hold, PodBuilder, Probe, TapOptions, World, leftovers, sweep,
};

/// Tells a run of this test program that it is the one to be killed.
const RUNS_THE_CHILD: &str = "WEFT_TESTKIT_CHILD";

#[test]
#[ignore = "needs root; run by cargo xtask test"]
fn pods_reach_each_other_on_both_families_and_captures_see_it() -> Result<()> {
    let world = World::builder().nodes(2).build()?;
    let client = world.node(1).pod("default", "client").start()?;
    let near = world.node(1).pod("default", "near").app(App::http("v1")).start()?;
    let far = world.node(2).pod("default", "far").labels([("app", "far")]).app(App::http("v2")).start()?;
    let outside = world.node(2).outside("stranger").start()?;
    let captures = world
        .capture_nodes(&TapOptions { markers: vec![b"x-secret: plain".to_vec()], ..TapOptions::default() })?;

    for (from, to, version) in [(&client, &near, "v1"), (&client, &far, "v2"), (&outside, &far, "v2")] {
        for (address, source) in [(to.addr(8080), from.ip()), (to.addr6(8080), from.ip6())] {
            let answer = from.get(&format!("http://{address}/"))?;
            ensure!(answer.is_ok(), "{} to {address}: {answer:?}", from.name());
            assert_eq!(answer.version(), version);
            assert_eq!(
                answer.peer().map(|peer| peer.ip()),
                Some(source),
                "the server sees the client itself"
            );
        }
    }
    let report = client
        .run_tool(&Get::url(&format!("http://{}/", far.addr(8080))).times(20).header("x-secret", "plain"))?;
    assert_eq!((report.ok, report.failed), (20, 0), "{:?}", report.failures);
    assert_eq!(report.answers[15].hello().context("an answer")?.on_connection, 16, "the connection is kept");

    for capture in &captures {
        assert!(capture.contains(b"GET / HTTP/1.1")?);
        assert_eq!(capture.marker(0).0, 20);
        capture.assert_complete()?;
        assert!(capture.assert_no_marker().is_err());
        assert!(!capture.tcp_payloads_between(client.ip(), far.ip()).is_empty());
        assert!(capture.tcp_payloads_between(client.ip(), near.ip()).is_empty(), "they are on one node");
        let plain = capture.non_tls_bytes(&client.ips(), &far.ips());
        assert!(plain.bytes > 1000 && plain.assert_none().is_err(), "{plain:?}");
        assert!(capture.flows().iter().all(|(_, flow)| flow.from_start && !flow.incomplete()));
    }
    world.tear_down()
}

#[test]
#[ignore = "needs root; run by cargo xtask test"]
fn applications_and_clients_do_what_they_say() -> Result<()> {
    let world = World::builder().nodes(2).build()?;
    let client = world.node(1).pod("default", "client").start()?;
    let server = world.node(2).pod("default", "server");
    let server =
        server.app(App::echo()).app(App::first("welcome")).app(App::probe()).app(App::udp_echo()).start()?;
    // Offloads make packets of up to 64 KiB, and the capture must follow every byte of them.
    let capture = world.node(2).capture()?;

    let echoed = client.enter(|| -> std::io::Result<String> {
        let mut stream = TcpStream::connect(server.addr(7000))?;
        stream.write_all(b"and back")?;
        stream.shutdown(std::net::Shutdown::Write)?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    })??;
    assert_eq!(echoed, "and back");
    let udp = client.enter(|| -> std::io::Result<usize> {
        let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
        socket.set_read_timeout(Some(Duration::from_secs(2)))?;
        socket.send_to(b"datagram", server.addr(7003))?;
        socket.recv(&mut [0; 64])
    })??;
    assert_eq!(udp, 8);
    assert_eq!(capture.udp_payloads(7003), vec![b"datagram".to_vec(); 2]);

    for target in [server.addr(7002), server.addr6(7002)] {
        let report = client.probe(&Probe::to(&target).bytes(3 << 20).write_max(200_000))?;
        assert_eq!((report.ok, report.received), (8, 24 << 20));
    }
    let flows = capture.flows();
    let probed: u64 =
        flows.iter().filter(|(key, _)| key.dst.port() == 7002).map(|(_, flow)| flow.bytes).sum();
    assert_eq!(
        probed,
        2 * 8 * ((3 << 20) + 32),
        "every byte of the probes and their headers was put in order"
    );
    capture.assert_complete()?;

    let dns =
        world.node(1).pod("kube-system", "dns").outside().app(App::dns(&[("reviews.example", server.ip())]));
    let dns = dns.start()?;
    let looked_up = client.enter(|| -> std::io::Result<Vec<u8>> {
        let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
        socket.set_read_timeout(Some(Duration::from_secs(2)))?;
        let query =
            b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07reviews\x07example\x00\x00\x01\x00\x01";
        socket.send_to(query, dns.addr(53))?;
        let mut answer = vec![0; 512];
        let length = socket.recv(&mut answer)?;
        answer.truncate(length);
        Ok(answer)
    })??;
    let std::net::IpAddr::V4(expected) = server.ip() else { panic!("the first address is IPv4") };
    assert!(
        looked_up.starts_with(b"\x12\x34\x85\x80") && looked_up.ends_with(&expected.octets()),
        "{looked_up:?}"
    );

    let report = client.connects(&Connects::to(&server.addr(7001)).rate(500).wait())?;
    assert_eq!((report.tried, report.ok), (500, 500), "{report:?}");
    let report = client.connects(&Connects::to(&server.addr(7000)).rate(200).send("x").reset())?;
    assert_eq!(report.ok, 200, "{report:?}");
    let report = client.connects(&Connects::to(&server.addr(9)))?;
    assert_eq!(report.refused, 100, "{report:?}");

    let holder = client.start_tool(&Hold::to(&server.addr(7000), 300))?;
    holder.wait_for("holding 300", Duration::from_secs(10))?;
    let report = holder.end()?;
    assert_eq!((report.open, report.failed, report.ended), (300, 0, 0));
    world.tear_down()
}

#[test]
#[ignore = "needs root; run by cargo xtask test"]
fn captures_and_clients_keep_up_with_load() -> Result<()> {
    let world = World::builder().nodes(2).build()?;
    let client = world.node(1).pod("default", "client").start()?;
    let server = world.node(2).pod("default", "server").app(App::http("v1")).app(App::probe()).start()?;
    let options =
        TapOptions { keep_bytes: 1 << 20, markers: vec![b"Host: x".to_vec()], ..TapOptions::default() };
    let captures = world.capture_nodes(&options)?;
    let load = Connects::to(&server.addr(8080)).rate(1000).during(Duration::from_secs(2));
    let report = client.connects(&load.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").reset())?;
    assert_eq!((report.tried, report.ok), (2000, 2000), "{report:?}");
    client.probe(&Probe::to(&server.addr(7002)).connections(2).bytes(30 << 20).write_max(1 << 20))?;
    for capture in &captures {
        capture.assert_complete()?;
        assert_eq!(capture.marker(0).0, 2000);
        assert!(capture.contains(b"no such text").is_err(), "not every packet was kept");
    }
    eprintln!("{report:?}");
    world.tear_down()
}

#[test]
#[ignore = "needs root; run by cargo xtask test"]
fn faults_bite_and_heal() -> Result<()> {
    let world = World::builder().nodes(2).build()?;
    let client = world.node(1).pod("default", "client").start()?;
    let server = world.node(2).pod("default", "server").start()?;
    let app = server.start_app(&App::echo())?;
    let quick = || Connects::to(&server.addr(7000)).rate(20).send("x").timeout(Duration::from_millis(500));

    world.node(2).cut()?;
    assert_eq!(client.connects(&quick())?.timeout, 20);
    world.node(2).mend()?;
    client.cut()?;
    assert_eq!(client.connects(&quick())?.timeout, 20);
    client.mend()?;
    // Ports of a bridge forward again at once, but a first packet may meet a forgotten neighbour.
    assert_eq!(client.connects(&quick().timeout(Duration::from_secs(5)))?.ok, 20);

    server.sysctl("net.core.somaxconn", "16")?;
    app.kill()?;
    let app = server.start_app(&App::echo())?;
    app.pause()?;
    let fill = client.fill_accept_queue(server.addr(7000), 1000)?;
    assert!((16..32).contains(&fill.opened()), "{}", fill.opened());
    assert!(server.listen_overflows()? > 0);
    app.resume()?;
    drop(fill);
    assert_eq!(client.connects(&quick().timeout(Duration::from_secs(5)))?.ok, 20);
    app.kill()?;
    assert_eq!(client.connects(&quick())?.refused, 20);
    world.tear_down()
}

#[test]
#[ignore = "needs root; run by cargo xtask test"]
fn manifests_show_what_stands() -> Result<()> {
    let world = World::builder().nodes(2).zone(2, "region1", "zone2").build()?;
    let server = world.node(2).pod("default", "web").labels([("app", "web")]).service_account("web");
    let server = server.app(App::http("v1")).start()?;
    world.service("default", "web").port("http", 80, "http").select([("app", "web")]).apply()?;
    world.service("default", "reviews").port("http", 80, 8080).select([("app", "reviews")]).apply()?;
    let read = |name: &str| {
        let path = world.manifests().folder().join(name);
        std::fs::read_to_string(&path).with_context(|| path.display().to_string())
    };
    let pod = read("pod.default.web.yaml")?;
    for line in [
        format!("weft.dev/netns: {:?}", server.netns()).replace('"', ""),
        "nodeName: node2".to_owned(),
        "serviceAccountName: web".to_owned(),
        format!("- ip: {:?}", server.ip6().to_string()),
        "phase: Running".to_owned(),
    ] {
        assert!(pod.contains(&line), "{line} is not in\n{pod}");
    }
    assert!(read("namespace.default.yaml")?.contains("weft.dev/mesh: enabled"));
    assert!(read("node.node2.yaml")?.contains("weft.dev/tunnel-versions: \"1\""));
    assert!(read("node.node2.yaml")?.contains("topology.kubernetes.io/zone: zone2"));
    read("serviceaccount.default.web.yaml")?;
    read("service.default.web.yaml")?;
    assert!(read("endpointslice.default.web-ipv4-0.yaml")?.contains("ready: true"));
    server.set_ready(false)?;
    assert!(read("endpointslice.default.web-ipv4-0.yaml")?.contains("ready: false"));

    // What plays the kubelet is in its own cgroup, and a pod's processes are in the pod's.
    let answer = world.node(2).probe_as_kubelet(&format!("http://{}/healthz", server.addr(8080)))?;
    assert_eq!(
        answer.peer().map(|peer| peer.ip()),
        Some(world.node(2).ips()[2]),
        "from the bridge's address"
    );
    let group = server.run(["cat", "/proc/self/cgroup"])?.stdout;
    assert!(group.contains(&format!("{}/node2/default.web", world.prefix())), "{group}");
    let resolv = server.run(["cat", "/etc/resolv.conf"])?.stdout;
    assert!(resolv.contains("search default.svc.cluster.local"), "{resolv}");

    let (netns, cgroup) = (server.netns(), server.cgroup());
    server.delete()?;
    assert!(read("pod.default.web.yaml").is_err() && !netns.exists() && !cgroup.exists());
    assert!(read("endpointslice.default.web-ipv4-0.yaml").is_err());
    world.tear_down()
}

#[test]
#[ignore = "needs root; run by cargo xtask test"]
fn two_hundred_pods_come_up_in_seconds_and_everything_goes() -> Result<()> {
    let world = World::builder().nodes(2).build()?;
    let prefix = world.prefix().to_owned();
    let start = Instant::now();
    let pods: Vec<_> = (0..200).map(|n| world.node(1).pod("many", &format!("pod-{n}"))).collect();
    let pods = PodBuilder::start_all(&pods)?;
    let took = start.elapsed();
    eprintln!("200 pods took {took:?}");
    ensure!(took < Duration::from_secs(10), "200 pods took {took:?}");
    let server = world.node(2).pod("many", "server").app(App::http("v1")).start()?;
    for pod in [&pods[0], &pods[199]] {
        assert!(pod.get(&format!("http://{}/", server.addr6(8080)))?.is_ok());
    }
    let holder = server.spawn(["sh", "-c", "sleep 1000 & sleep 1000"])?;
    let start = Instant::now();
    world.tear_down()?;
    eprintln!("tearing down took {:?}", start.elapsed());
    assert!(!holder.is_running());
    assert_nothing_left(&prefix)
}

#[test]
#[ignore = "needs root; run by cargo xtask test"]
fn a_killed_run_is_swept() -> Result<()> {
    let (mut child, prefix) = start_child()?;
    child.kill()?;
    child.wait()?;
    // What is looked for afterwards is found now.
    let left = leftovers(&prefix)?;
    for what in ["folder", "namespace", "cgroup", "process"] {
        ensure!(left.iter().any(|one| one.starts_with(what)), "the killed run leaves no {what}: {left:?}");
    }
    ensure!(sweep()?.contains(&prefix), "it was found");
    assert_nothing_left(&prefix)
}

#[test]
#[ignore = "needs root; run by cargo xtask test"]
fn a_kept_world_stands_until_it_is_swept() -> Result<()> {
    let world = World::builder().nodes(1).build()?;
    let server = world.node(1).pod("default", "server").app(App::http("v1")).start()?;
    let prefix = world.prefix().to_owned();
    world.keep();
    let answered = server.enter(|| TcpStream::connect(("127.0.0.1", 8080)).is_ok())?;
    ensure!(answered, "its applications go on");
    ensure!(server.get("http://127.0.0.1:8080/").is_err(), "this program is done with it");
    ensure!(sweep()?.contains(&prefix), "it was found");
    assert_nothing_left(&prefix)
}

#[test]
#[ignore = "needs root; run by cargo xtask test"]
fn an_interrupted_run_cleans_up_after_itself() -> Result<()> {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let (mut child, prefix) = start_child()?;
        kill(Pid::from_raw(i32::try_from(child.id())?), signal)?;
        assert_eq!(child.wait()?.code(), Some(130), "{signal}");
        assert_nothing_left(&prefix)?;
    }
    Ok(())
}

/// Not a test: what the two tests above run as a program that will be killed.
#[test]
#[ignore = "needs root; run by cargo xtask test"]
fn child() -> Result<()> {
    if std::env::var_os(RUNS_THE_CHILD).is_none() {
        return Ok(());
    }
    let world = World::builder().nodes(2).on_interrupt(|| eprintln!("interrupted")).build()?;
    let _server = world.node(1).pod("default", "server").app(App::http("v1")).start()?;
    println!("\nstands as {}", world.prefix());
    std::thread::sleep(Duration::from_secs(600));
    Ok(())
}

fn start_child() -> Result<(std::process::Child, String)> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(["child", "--exact", "--ignored", "--nocapture"])
        .env(RUNS_THE_CHILD, "1")
        .stdout(Stdio::piped())
        .spawn()?;
    let output = std::io::BufReader::new(child.stdout.take().context("stdout is piped")?);
    let mut lines = std::io::BufRead::lines(output);
    let prefix = lines.find_map(|line| line.ok()?.strip_prefix("stands as ").map(str::to_owned));
    Ok((child, prefix.context("the child built no world")?))
}

fn assert_nothing_left(prefix: &str) -> Result<()> {
    let left = leftovers(prefix)?;
    ensure!(left.is_empty(), "left: {}", left.join(", "));
    Ok(())
}

#[test]
#[ignore = "needs root; run by cargo xtask test"]
fn tls_is_told_from_plain_text_on_a_wire() -> Result<()> {
    let world = World::builder().nodes(2).build()?;
    let client = world.node(1).pod("default", "client").start()?;
    let server = world.node(2).pod("default", "server").start()?;
    let capture = Capture::start(&server.netns(), Some("eth0"), TapOptions::default())?;
    let address = server.addr(15008);
    for (bytes, bad) in [(&[22, 3, 1, 0, 2, 1, 2, 23, 3, 3, 0, 1, 9][..], 0), (b"GET / HTTP/1.1", 14)] {
        let listener = server.enter(|| TcpListener::bind(("0.0.0.0", 15008)))??;
        let sent = client.enter(|| -> std::io::Result<()> {
            let mut stream = TcpStream::connect(address)?;
            // In pieces, so that records are cut.
            bytes.chunks(3).try_for_each(|piece| stream.write_all(piece))
        })?;
        sent?;
        let (mut accepted, _) = listener.accept()?;
        let mut got = Vec::new();
        accepted.read_to_end(&mut got)?;
        assert_eq!(got, bytes);
        let found = capture.non_tls_bytes(&client.ips(), &server.ips());
        assert_eq!(found.bytes, bad, "{found:?}");
    }
    assert_eq!(capture.tls_bytes(&client.ips(), &server.ips()), 13);
    world.tear_down()
}
