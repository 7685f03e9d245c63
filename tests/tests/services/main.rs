//! Kubernetes' Services, with Kubernetes' meaning, as pods of the mesh find them.
#![forbid(unsafe_code)]

mod town;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;
use town::{PATIENCE, Town, WEB, at_80, open, versions_at};
use weft_testkit::{App, Connects, Get, Pod};
use weft_tests::waiting::{access_lines, eventually};

const BOTH: &[&str] = &["v1", "v2"];

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn an_address_of_a_service_stands_for_its_pods() -> Result<()> {
    let (town, _) = Town::build(|_| Ok(Vec::new()))?;
    let web = open(town.web("web"))?;
    for client in [&town.one, &town.two] {
        for to in web {
            town.leads_to(client, to, BOTH)?;
            let report = client.run_tool(&Get::url(&format!("http://{to}/")).times(100).close())?;
            let even = report.versions.values().all(|count| (25..=75).contains(count));
            ensure!(report.ok == 100 && even, "a hundred connections to {to}: {:?}", report.versions);
        }
    }
    // A connection stays where it is, whatever it carries.
    let report = town.one.run_tool(&Get::url(&format!("http://{}/", web[0])).times(20))?;
    ensure!(report.ok == 20 && report.versions.len() == 1, "on one connection: {:?}", report.versions);

    let headless = open(town.web("headless").headless())?;
    for to in [town.v1.addr(8080), town.v1.addr6(8080)] {
        town.leads_to(&town.two, to, &["v1"])?;
    }
    let outward = open(town.web("outward").spec("externalIPs", json!(["198.51.100.7", "2001:db8::7"])))?;
    let balanced = open(town.web("balanced").spec("type", json!("LoadBalancer")).spec(
        "status",
        json!({"loadBalancer": {"ingress": [{"ip": "203.0.113.9"}, {"hostname": "lb.example.org"}]}}),
    ))?;
    let further = ["198.51.100.7", "2001:db8::7", "203.0.113.9"];
    let further = further.map(|ip| ip.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 80)));
    let further = further.into_iter().collect::<Result<Vec<_>, _>>()?;
    for to in further.into_iter().chain(outward).chain(balanced) {
        town.leads_to(&town.one, to, BOTH)?;
    }
    // What changes in a Service holds for the next connection.
    let v1_only = town.web("web").select([("app", "web"), ("version", "1")]);
    town.v1.set_label("version", Some("1"))?;
    v1_only.apply()?;
    town.leads_to(&town.one, web[0], &["v1"])?;
    // What is deleted, and what never had an address, is nobody's.
    town.web("outward").delete()?;
    town.refuses(&town.one, outward[0], "nobody has it")?;
    town.refuses(&town.one, headless[0], "nobody has it").map(drop)
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn services_that_share_an_address_are_told_apart_by_port() -> Result<()> {
    let (town, _) = Town::build(|_| Ok(Vec::new()))?;
    town.v1.set_label("version", Some("1"))?;
    town.v2.set_label("version", Some("2"))?;
    // As MetalLB's allow-shared-ip and k3s do it.
    let shared = "203.0.113.20";
    let balancer = json!({"loadBalancer": {"ingress": [{"ip": shared}]}});
    let on_node = town.world.plan().node4(2);
    for (name, version, port) in [("first", "1", 80), ("second", "2", 81)] {
        let service =
            town.world.service("shop", name).select([("version", version)]).port("http", port, 8080);
        let service = service.spec("type", json!("LoadBalancer")).spec("status", balancer.clone());
        service.spec("externalIPs", json!([on_node])).apply()?;
    }
    for ip in [shared.parse::<IpAddr>()?, on_node.into()] {
        town.leads_to(&town.one, SocketAddr::new(ip, 80), &["v1"])?;
        town.leads_to(&town.two, SocketAddr::new(ip, 81), &["v2"])?;
    }
    // The rest of the node's ports are the node's own.
    let ready = SocketAddr::new(on_node.into(), 15021);
    eventually(&format!("{ready} is reached"), PATIENCE, || {
        let answer = town.one.get(&format!("http://{ready}/readyz"))?;
        ensure!(answer.status == 200, "{answer:?}");
        Ok(())
    })?;
    assert_plain(&town, ready)
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn a_port_is_found_where_each_pod_has_it() -> Result<()> {
    let (town, mut more) = Town::build(|world| {
        let other = world.node(2).pod("shop", "other").label("app", "named");
        let other = other.app(App::http("other").port(9090).port_name("web"));
        let usual = world.node(1).pod("shop", "usual").label("app", "named");
        let usual = usual.app(App::http("usual").port(8080).port_name("web"));
        let nameless = world.node(1).pod("shop", "nameless").label("app", "named").app(App::http("nameless"));
        let greeter = world.node(2).pod("shop", "greeter").app(App::first("welcome"));
        Ok(vec![other.start()?, usual.start()?, nameless.start()?, greeter.label("app", "greeter").start()?])
    })?;
    let named = open(town.world.service("shop", "named").select([("app", "named")]).port("http", 80, "web"))?;
    for to in named {
        town.leads_to(&town.one, to, &["other", "usual"])?;
    }
    let mesh_port = open(town.world.service("shop", "sly").select(WEB).port("http", 80, 15008))?;
    let idle = open(town.world.service("shop", "idle").select([("app", "nobody")]).port("http", 80, 8080))?;
    let [four, six] = named;
    let (unused_service, unused_pod) = (town.world.plan().service(2000)[0], town.world.plan().pod4(2, 200));
    for (to, why) in [
        (idle[0], "no endpoint"),
        (idle[1], "no endpoint"),
        (mesh_port[0], "belongs to the mesh itself"),
        (SocketAddr::new(four.ip(), 81), "no port 81"),
        (SocketAddr::new(six.ip(), 81), "no port 81"),
        (SocketAddr::new(unused_service, 80), "nobody has it"),
        (SocketAddr::new(unused_pod.into(), 80), "nobody has it"),
        (town.v2.addr(15001), "belongs to the mesh itself"),
        (town.v2.addr(15006), "belongs to the mesh itself"),
        (town.v1.addr6(15008), "belongs to the mesh itself"),
    ] {
        town.refuses(&town.one, to, why)?;
    }
    // A pod that listens nowhere near is one that refuses.
    town.refuses(&town.one, town.v1.addr(4444), "refused")?;

    let hello =
        open(town.world.service("shop", "hello").select([("app", "greeter")]).port("hello", 80, "first"))?;
    for to in hello {
        eventually("the server speaks first", PATIENCE, || {
            let report = town.one.connects(&Connects::to(&to).rate(20).wait())?;
            ensure!(report.ok == report.tried, "{report:?}");
            Ok(())
        })?;
    }
    let greeter = more.pop().context("the greeter")?;
    greeter.delete()?;
    town.refuses(&town.one, hello[0], "no endpoint").map(drop)
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn a_client_stays_with_its_pod_as_long_as_the_service_says() -> Result<()> {
    let (town, _) = Town::build(|_| Ok(Vec::new()))?;
    let sticky = open(town.web("sticky").session_affinity(3600))?;
    let [any, _] = open(town.web("any"))?;
    for to in sticky {
        let first = eventually("the service is there", PATIENCE, || versions_at(&town.one, to))?;
        ensure!(first.len() == 1, "{to}: {first:?}");
        for _ in 0..3 {
            ensure!(versions_at(&town.one, to)? == first, "{to} has moved away from {first:?}");
        }
        // Its pod goes, so it has to move; and stays there when the first one is back.
        let (old, new) = if first.contains("v1") { (&town.v1, &town.v2) } else { (&town.v2, &town.v1) };
        old.set_ready(false)?;
        town.leads_to(&town.one, to, &[new.name()])?;
        old.set_ready(true)?;
        town.leads_to(&town.one, any, BOTH)?;
        let still = versions_at(&town.one, to)?;
        ensure!(still.iter().eq([new.name()]), "{to} leads to {still:?} again");
    }
    let brief = open(town.web("brief").session_affinity(1))?;
    let to = brief[0];
    eventually("the service is there", PATIENCE, || versions_at(&town.one, to))?;
    let visits = Get::url(&format!("http://{to}/")).times(12).close().pause(Duration::from_millis(1100));
    let report = town.one.run_tool(&visits)?;
    ensure!(report.ok == 12 && report.versions.len() == 2, "always late, and always {:?}", report.versions);
    Ok(())
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn what_is_near_comes_first_where_the_service_says_so() -> Result<()> {
    let (town, _) = Town::build(|_| Ok(Vec::new()))?;
    let local = open(town.web("local").spec("internalTrafficPolicy", json!("Local")))?;
    for (name, distribution) in
        [("close", "PreferClose"), ("zone", "PreferSameZone"), ("node", "PreferSameNode")]
    {
        town.web(name).spec("trafficDistribution", json!(distribution)).apply()?;
    }
    let everywhere = |client: &Pod, version: &str| {
        ["local", "close", "zone", "node"].iter().try_for_each(|name| {
            let to = at_80(&town.web(name));
            to.into_iter().try_for_each(|to| town.leads_to(client, to, &[version]))
        })
    };
    everywhere(&town.one, "v1")?;
    everywhere(&town.two, "v2")?;
    // With nothing near, the rest comes next; but not for what is local.
    town.v1.set_ready(false)?;
    for name in ["close", "zone", "node"] {
        town.leads_to(&town.one, at_80(&town.web(name))[0], &["v2"])?;
    }
    town.refuses(&town.one, local[0], "no endpoint")?;
    town.leads_to(&town.two, local[0], &["v2"])?;
    town.v1.set_ready(true)?;
    everywhere(&town.one, "v1")
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn only_pods_that_are_ready_serve_unless_all_are_asked_for() -> Result<()> {
    let (town, _) = Town::build(|_| Ok(Vec::new()))?;
    let [web, _] = open(town.web("web"))?;
    let [all, _] = open(town.web("all").publish_not_ready())?;
    let expect = |on_web: &[&str], on_all: &[&str]| {
        town.leads_to(&town.one, web, on_web)?;
        town.leads_to(&town.one, all, on_all)
    };
    expect(BOTH, BOTH).context("all are ready")?;
    town.v1.set_ready(false)?;
    expect(&["v2"], BOTH).context("v1 is not ready")?;
    // The pod itself can be reached all the same.
    town.leads_to(&town.one, town.v1.addr(8080), &["v1"])?;
    town.v2.set_ready(false)?;
    town.refuses(&town.one, web, "no endpoint").context("none is ready")?;
    town.leads_to(&town.one, all, BOTH).context("none is ready")?;
    town.v1.set_ready(true)?;
    town.v2.set_ready(true)?;
    expect(BOTH, BOTH).context("all are ready again")?;
    town.v1.set_terminating()?;
    town.leads_to(&town.one, web, &["v2"]).context("v1 is leaving")?;
    town.v2.set_terminating()?;
    town.leads_to(&town.one, web, BOTH).context("all are leaving")?;
    town.v1.set_ready(false)?;
    town.leads_to(&town.one, web, &["v2"]).context("all are leaving, and v1 serves no more")
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn what_is_no_pod_of_the_mesh_is_reached_in_plain_text() -> Result<()> {
    let (town, more) = Town::build(|world| {
        let alone = world.node(1).pod("shop", "alone").label("app", "alone").app(App::http("alone"));
        let udp = world.node(2).pod("shop", "udp").app(App::udp_echo());
        Ok(vec![alone.start()?, udp.start()?])
    })?;
    let [alone, udp] = &more[..] else { anyhow::bail!("two pods") };
    let stranger = town.world.node(2).outside("stranger").app(App::http("stranger")).start()?;
    for to in [stranger.addr(8080), stranger.addr6(8080)] {
        town.leads_to(&town.one, to, &["stranger"])?;
        assert_plain(&town, to)?;
    }
    // The control plane's port for metrics stands for anything outside the mesh.
    let outside = SocketAddr::new(town.world.control_ip(), 15014);
    let external = open(town.world.service("shop", "external").port("http", 80, 15014))?;
    town.world.apply(&json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": "external-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "external"},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 15014, "protocol": "TCP"}],
        "endpoints": [{"addresses": [outside.ip()], "conditions": {"ready": true}}],
    }))?;
    for to in [outside, external[0]] {
        eventually(&format!("{to} is reached"), PATIENCE, || {
            let answer = town.one.get(&format!("http://{to}/readyz"))?;
            ensure!(answer.status == 200, "{answer:?}");
            Ok(())
        })?;
        assert_plain(&town, to)?;
    }
    // A pod that calls its own Service meets itself.
    let own = open(town.world.service("shop", "alone").select([("app", "alone")]).port("http", 80, 8080))?;
    for to in own {
        town.leads_to(alone, to, &["alone"])?;
    }
    for to in [udp.addr(7003), udp.addr6(7003)] {
        ensure!(echo_by_udp(&town.one, to)? == b"ping", "{to} echoes something else");
    }
    Ok(())
}

/// The client's proxy says of every connection there that nobody proved anything.
fn assert_plain(town: &Town, to: SocketAddr) -> Result<()> {
    eventually(&format!("lines on {to}"), PATIENCE, || {
        let lines = access_lines(town.mesh.proxy(1), &to.to_string());
        let plain = |line: &serde_json::Value| line["security"] == "none" && line["direction"] == "outbound";
        ensure!(!lines.is_empty() && lines.iter().all(plain), "{lines:?}");
        Ok(())
    })
}

fn echo_by_udp(client: &Pod, to: SocketAddr) -> Result<Vec<u8>> {
    client.enter(|| {
        let any: IpAddr = if to.is_ipv4() { [0; 4].into() } else { [0u16; 8].into() };
        let socket = UdpSocket::bind((any, 0)).context("binding")?;
        socket.set_read_timeout(Some(PATIENCE)).context("setting a timeout")?;
        socket.send_to(b"ping", to).context("sending")?;
        let mut buffer = [0; 64];
        let (length, from) = socket.recv_from(&mut buffer).context("receiving")?;
        ensure!(from == to, "{from} answers in the place of {to}");
        Ok(buffer[..length].to_vec())
    })?
}
