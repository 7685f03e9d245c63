//! Where nobody answers a SYN: the client is told in time, whatever lies between, and so is the operator.
#![forbid(unsafe_code)]

use anyhow::{Context as _, Result, ensure};
use socket2::{Domain, Socket, Type};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};
use weft_testkit::{App, Component, Fill, Mesh, Node, Pod, World};
use weft_tests::asking::await_enrolled;
use weft_tests::metrics::{PROXY_PORT, scrape};
use weft_tests::stage::start_mesh;
use weft_tests::talk::{Ending, Talk};
use weft_tests::waiting::{await_line, eventually, with_json_lines};

const WITHIN: Duration = Duration::from_secs(10);
const LIMIT: Duration = Duration::from_secs(1);
/// How much longer it may take on a busy machine.
const LATE: Duration = Duration::from_secs(10);
/// An application that lets everybody wait.
const SLOW: u16 = 7200;
/// Outside the mesh, and a black hole (RFC 5737, RFC 3849).
const NOWHERE: [&str; 2] = ["203.0.113.7", "2001:db8::7"];

/// A connection that nobody answers.
struct Silence {
    case: &'static str,
    talk: Talk,
    to: SocketAddr,
    begun: Instant,
    /// Who tells of it, in which direction, and with which end: in the metric too.
    told: Vec<(usize, &'static str, End)>,
    limit: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// This proxy has waited.
    ConnectTimeout,
    /// The other one has, and has said so.
    AppUnreachable,
}

impl Silence {
    fn meet(
        case: &'static str,
        from: &Pod,
        to: SocketAddr,
        told: &[(usize, &'static str, End)],
    ) -> Result<Self> {
        let begun = Instant::now();
        Ok(Self { case, talk: Talk::open(from, to)?, to, begun, told: told.to_vec(), limit: LIMIT })
    }

    /// It is reset in time, and told.
    fn ends_in_time(self, mesh: &Mesh) -> Result<()> {
        let Self { case, talk, to, begun, told, limit } = self;
        let flow = talk.flow()?;
        let ended = talk.wait_for_end(limit + LATE).with_context(|| format!("{case}, {to}"))?;
        let took = begun.elapsed();
        ensure!(ended == Ending::Reset && took >= limit, "{case}, {to}: {ended:?} after {took:?}");
        for (node, direction, end) in told {
            let line = await_line(mesh.proxy(node), flow, &[direction])?;
            let millis = line["duration_ms"].as_f64().unwrap_or_default();
            let waited = Duration::from_secs_f64(millis / 1e3);
            // Its clock begins when the proxy takes the connection, which is later than the client's.
            ensure!(waited + LIMIT / 10 > limit && waited < took + LATE, "{case}: {line}");
            match end {
                End::ConnectTimeout => {
                    let error = line["error"].as_str().unwrap_or_default();
                    ensure!(line["end"] == "refused" && error.contains("timed out"), "{case}: {line}");
                }
                End::AppUnreachable => {
                    ensure!(line["end"] == "refused_app_unreachable", "{case}: {line}");
                }
            }
        }
        Ok(())
    }
}

/// Proxies count what they have waited for in vain.
fn assert_counted(node: &Node, want: usize) -> Result<()> {
    eventually(&format!("{} counts {want}", node.name()), WITHIN, || {
        let samples = scrape(node, PROXY_PORT)?;
        let counted = samples.iter().find(|sample| {
            sample.name == "weft_proxy_connections_ended_total"
                && sample.labels.get("end").is_some_and(|end| end == "connect_timeout")
        });
        let counted = counted.map_or(0, |sample| sample.value as usize);
        ensure!(counted == want, "{counted}");
        Ok(())
    })
}

/// A listener whose queue is full: the kernel answers no SYN for it.
fn a_full_queue(pod: &Pod) -> Result<(Socket, Fill)> {
    let listener = pod.enter(|| -> std::io::Result<Socket> {
        let socket = Socket::new(Domain::IPV6, Type::STREAM, None)?;
        socket.set_only_v6(false)?;
        socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, SLOW)).into())?;
        socket.listen(0)?;
        Ok(socket)
    })??;
    let fill = pod.fill_accept_queue(pod.addr(SLOW), 16)?;
    Ok((listener, fill))
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn who_is_not_answered_is_told_in_time() -> Result<()> {
    let world = World::builder().nodes(2).build()?;
    let clients = [1, 2].map(|node| world.node(node).pod("shop", &format!("client-{node}")).start());
    let [client, far_client] = clients;
    let (client, far_client) = (client?, far_client?);
    let server = world.node(1).pod("shop", "server").start()?;
    let far_server = world.node(2).pod("shop", "far").app(App::echo()).start()?;
    let stranger = world.node(1).outside("stranger").start()?;
    let (_listener, _fill) = a_full_queue(&server)?;
    let node = world.node(1);
    for (ip, family, block) in [(0, "-4", "203.0.113.0/24"), (1, "-6", "2001:db8::/32")] {
        let routed = node.run(["ip", family, "route", "add", "blackhole", block])?;
        ensure!(routed.status.success(), "{}: {}", NOWHERE[ip], routed.stderr);
    }
    let settings =
        with_json_lines().env(Component::NodeProxy, "WEFT_CONNECT_TIMEOUT_SECONDS", &LIMIT.as_secs());
    let mesh = start_mesh(&world, settings)?;
    await_enrolled(&mesh, [&client, &far_client, &server, &far_server], WITHIN)?;

    // All at once: each of them takes its second.
    let mut silences = Vec::new();
    for nowhere in NOWHERE {
        let to = SocketAddr::new(nowhere.parse()?, 80);
        silences.push(Silence::meet(
            "out of the mesh",
            &client,
            to,
            &[(1, "outbound", End::ConnectTimeout)],
        )?);
    }
    for to in [server.addr(SLOW), server.addr6(SLOW)] {
        let across = [(1, "inbound", End::ConnectTimeout), (2, "outbound", End::AppUnreachable)];
        let plain = &across[..1];
        let near = [(1, "same_node", End::ConnectTimeout)];
        silences.push(Silence::meet("an application on the node", &client, to, &near)?);
        silences.push(Silence::meet("an application on the other node", &far_client, to, &across)?);
        silences.push(Silence::meet("an application, from outside", &stranger, to, plain)?);
    }
    let counted = silences.len();
    silences.into_iter().try_for_each(|silence| silence.ends_in_time(&mesh))?;
    assert_counted(&node, counted)?;
    assert_counted(&world.node(2), 0)?;

    a_node_that_drops(&world, &client, &far_server, &mesh)?;
    assert_counted(&node, counted + 2)
}

/// The other node's tunnel: each of the node's addresses is tried, and its frames go to a neighbour who is not there.
fn a_node_that_drops(world: &World, client: &Pod, far: &Pod, mesh: &Mesh) -> Result<()> {
    let (node, other) = (world.node(1), world.node(2));
    let addresses: [IpAddr; 2] = [other.ip(), other.ip6()];
    let shown = node.run(["ip", "-o", "route", "get", &addresses[0].to_string()])?.stdout;
    let device = shown.split_whitespace().skip_while(|word| *word != "dev").nth(1).context("a device")?;
    for ip in addresses {
        let ip = ip.to_string();
        let lost =
            ["ip", "neigh", "replace", &ip, "lladdr", "02:00:00:00:00:0e", "dev", device, "nud", "permanent"];
        let lost = node.run(lost)?;
        ensure!(lost.status.success(), "{}", lost.stderr);
    }
    let told = [(1, "outbound", End::ConnectTimeout)];
    let mut silences = Vec::new();
    for to in [far.addr(7000), far.addr6(7000)] {
        let limit = LIMIT * u32::try_from(addresses.len())?;
        silences.push(Silence { limit, ..Silence::meet("a node that drops", client, to, &told)? });
    }
    silences.into_iter().try_for_each(|silence| silence.ends_in_time(mesh))?;
    for ip in addresses {
        let found = node.run(["ip", "neigh", "del", &ip.to_string(), "dev", device])?;
        ensure!(found.status.success(), "{}", found.stderr);
    }
    eventually("the node is reached again", WITHIN, || Talk::begin(client, far.addr(7000))?.finish())
}
