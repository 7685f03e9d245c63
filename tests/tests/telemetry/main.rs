//! What the mesh tells of its traffic: the metrics of proxies and agents, and every field of every access line, after
//! connections of each kind.
#![forbid(unsafe_code)]

mod lines;
mod packets;
mod told;
mod traffic;

use anyhow::{Context as _, Result, ensure};
use lines::Format;
use std::collections::BTreeMap;
use std::time::Duration;
use told::{Numbers, SHOP, Told, VERSION, app_of};
use weft_testkit::{App, Component, Mesh, MeshSettings, Pod, World};
use weft_tests::asking::await_enrolled;
use weft_tests::metrics::{AGENT_PORT, PROXY_PORT, Sample, packets, scrape};
use weft_tests::stage::start_mesh;
use weft_tests::talk::Talk;
use weft_tests::waiting::{eventually, settles};

const WITHIN: Duration = Duration::from_secs(10);

/// In the mesh: a client and a server on each node, with a Service for each server. Outside: one that does both.
pub(crate) struct Stage {
    clients: [Pod; 2],
    servers: [Pod; 2],
    stranger: Pod,
    // Dropped in this order.
    mesh: Mesh,
    world: World,
}

impl Stage {
    /// With a connection from the stranger to the first server that is older than the mesh.
    fn set() -> Result<(Self, Talk)> {
        let world = World::builder().nodes(2).build()?;
        let pod = |node: usize, name: String| {
            let app = app_of(&name);
            let pod = world.node(node).pod(SHOP, &name).service_account(&name);
            pod.labels([("app", &*app), ("version", VERSION)])
        };
        let client = |node: usize| pod(node, format!("client-{node}")).start();
        let server = |node: usize| {
            let echo = |port: u16| App::echo().port(port).port_name(&format!("echo-{port}"));
            pod(node, format!("server-{node}")).app(echo(traffic::OPEN)).app(echo(traffic::TRIAL)).start()
        };
        let clients = [client(1)?, client(2)?];
        let servers = [server(1)?, server(2)?];
        let stranger = world.node(1).outside("stranger").app(App::echo()).start()?;
        for server in &servers {
            let app = app_of(server.name());
            let service = world.service(SHOP, server.name()).select([("app", &*app)]);
            service.port("echo", traffic::SERVICE, traffic::OPEN).apply()?;
            // Of two at one port nobody can tell which one was meant.
            for twin in ["this", "that"] {
                let name = format!("{}-{twin}", server.name());
                let service = world.service(SHOP, &name).select([("app", &*app)]);
                service.port("trial", traffic::SERVICE, traffic::TRIAL).apply()?;
            }
        }
        world.apply_yaml("policies.yaml", traffic::POLICIES)?;
        let old = Talk::begin(&stranger, servers[0].addr(traffic::OPEN))?;
        let mesh = start_mesh(&world, settings())?;
        await_enrolled(&mesh, clients.iter().chain(&servers), WITHIN)?;
        Ok((Self { clients, servers, stranger, mesh, world }, old))
    }
}

/// One proxy writes text and the other one JSON.
fn settings() -> MeshSettings {
    let log = |settings: MeshSettings, node, format| {
        settings.env_on(Component::NodeProxy, node, "WEFT_ACCESS_LOG", format)
    };
    log(log(MeshSettings::default(), 1, "text"), 2, "json")
}

fn format_of(node: usize) -> Format {
    if node == 1 { Format::Text } else { Format::Json }
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn every_connection_is_told_in_lines_and_numbers() -> Result<()> {
    let (stage, old) = Stage::set()?;
    let before = [packets(&stage.world.node(1))?, packets(&stage.world.node(2))?];
    let mut told = Vec::new();
    for node in [1, 2] {
        told.extend(traffic::make(&stage, node)?);
    }
    for one in &told {
        one.assert_line(&stage.mesh, format_of(one.node))?;
    }
    for node in [1, 2] {
        let own: Vec<&Told<'_>> = told.iter().filter(|one| one.node == node).collect();
        assert_metrics(&stage, node, &own)?;
        let packets = packets::since(&stage.world.node(node), &before[node - 1])?;
        packets::assert_traffic(&packets, &own).with_context(|| format!("on node {node}"))?;
    }
    assert_open_ones_count(&stage)?;
    assert_agents(&stage)?;
    packets::assert_the_rare_ones(&stage, old)
}

/// The proxy tells of these connections and of no others, under every name and label.
fn assert_metrics(stage: &Stage, node: usize, told: &[&Told<'_>]) -> Result<()> {
    let mut want = Numbers::new();
    told.iter().for_each(|one| one.count(&mut want));
    eventually(&format!("the metrics of node {node}"), WITHIN, || {
        let samples = scrape(&stage.world.node(node), PROXY_PORT)?.into_iter();
        let own = samples.filter(|sample| {
            sample.name.starts_with("istio_tcp_") || sample.name == "weft_proxy_connections_ended_total"
        });
        // Of a pair that was seen all five are there; those that count nothing prove nothing.
        let counted = own.filter(|sample| sample.value != 0.0);
        let found: Numbers =
            counted.map(|sample| ((sample.name, sample.labels), sample.value as u64)).collect();
        for (series, number) in &want {
            ensure!(
                found.get(series) == Some(number),
                "wanted {number}, found {:?} of {series:?}\namong {:#?}",
                found.get(series),
                found.keys().filter(|(name, _)| *name == series.0).collect::<Vec<_>>()
            );
        }
        let other = found.iter().find(|(series, _)| !want.contains_key(*series));
        ensure!(other.is_none(), "nobody asked for {other:?}");
        Ok(())
    })
}

/// What a connection carries is counted while it is open, and only once.
fn assert_open_ones_count(stage: &Stage) -> Result<()> {
    let (client, server) = (&stage.clients[0], &stage.servers[1]);
    let sums = |names: [&str; 2]| -> Result<Vec<f64>> {
        let mut sums = Vec::new();
        for node in [1, 2] {
            let samples = scrape(&stage.world.node(node), PROXY_PORT)?;
            let of_pair = |sample: &&Sample| {
                sample.labels.get("source_workload").is_some_and(|name| name == client.name())
                    && sample.labels.get("destination_workload").is_some_and(|name| name == server.name())
            };
            for name in names {
                let name = format!("istio_tcp_{name}_total");
                let own = samples.iter().filter(of_pair).filter(|sample| sample.name == name);
                sums.push(own.map(|sample| sample.value).sum());
            }
        }
        Ok(sums)
    };
    let bytes = || sums(["received_bytes", "sent_bytes"]);
    let ended = || sums(["connections_closed", "connections_failed"]);
    let (before, ended_before) = (bytes()?, ended()?);
    let plus = |words: u64| before.iter().map(|sum| sum + (words * traffic::WORD) as f64).collect::<Vec<_>>();
    let mut talk = Talk::begin(client, server.addr(traffic::OPEN))?;
    for words in [1, 3] {
        settles("bytes of an open connection", WITHIN, &plus(words), bytes)?;
        talk.go_on()?;
        talk.go_on()?;
    }
    assert_eq!(ended()?, ended_before, "it is open");
    talk.finish()?;
    eventually("its end is told", WITHIN, || {
        ensure!(ended()?.iter().sum::<f64>() == ended_before.iter().sum::<f64>() + 2.0, "it is not");
        Ok(())
    })?;
    assert_eq!(bytes()?, plus(5), "all of it, once");
    Ok(())
}

/// The agents tell of their pods and of their proxies.
fn assert_agents(stage: &Stage) -> Result<()> {
    for node in stage.world.nodes() {
        let samples = scrape(&node, AGENT_PORT)?;
        let of = |name: &str, labels: &[(&str, &str)]| {
            let labels: BTreeMap<String, String> =
                labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            let found = samples.iter().find(|sample| sample.name == name && sample.labels == labels);
            found.map(|sample| sample.value).with_context(|| format!("no {name} {labels:?}: {samples:#?}"))
        };
        assert_eq!(of("weft_agent_pods", &[("state", "enrolled")])?, 2.0, "{}", node.name());
        assert_eq!(of("weft_agent_proxies", &[])?, 1.0, "{}", node.name());
        assert_eq!(of("weft_agent_enrol_failures_total", &[])?, 0.0, "{}", node.name());
        assert_eq!(of("weft_agent_release_failures_total", &[])?, 0.0, "{}", node.name());
        for kind in ["tcp_v4", "tcp_v6"] {
            assert!(of("weft_agent_sockets_handed_total", &[("kind", kind)])? > 0.0, "{}", node.name());
        }
    }
    Ok(())
}
