//! Namespaces, bridges and veth pairs, by way of iproute2's batch mode: one process for many lines.

use std::io::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::netns;
use crate::plan::Plan;

/// The device that leads out of a pod, and out of a node.
pub(crate) const UPLINK: &str = "eth0";
/// A node's bridge for its pods, and the fabric's for the nodes.
pub(crate) const BRIDGE: &str = "br0";
/// A locally administered address. Bridges of different namespaces never meet, so they can share it.
const BRIDGE_MAC: &str = "02:77:65:66:74:01";
/// How many `ip` processes configure pods at once. More gain nothing on a small machine.
const WORKERS: usize = 4;

/// One end of a pod's wire, before it is made.
#[derive(Clone, Debug)]
pub(crate) struct Wire {
    pub(crate) netns: String,
    /// The device on the node.
    pub(crate) host_device: String,
    pub(crate) four: Ipv4Addr,
    pub(crate) six: Ipv6Addr,
}

/// The device on the node that belongs to the pod in this slot.
pub(crate) fn host_device(slot: usize) -> String {
    format!("pod{slot}")
}

/// Makes the fabric and the nodes, and routes between them.
pub(crate) fn build(fabric: &str, nodes: &[String], plan: Plan) -> Result<()> {
    let all = std::iter::once(fabric).chain(nodes.iter().map(String::as_str));
    add_namespaces(all)?;
    let mut lines = bridge_lines();
    lines.push(format!("addr add {}/24 dev {BRIDGE}", plan.fabric4()));
    lines.push(format!("addr add {}/64 dev {BRIDGE} nodad", plan.fabric6()));
    for (index, node) in nodes.iter().enumerate() {
        let number = index + 1;
        lines.push(format!(
            "link add node{number} master {BRIDGE} up type veth peer name {UPLINK} netns {node}"
        ));
        let [four, six] = plan.node_pods(number);
        lines.push(format!("route add {four} via {}", plan.node4(number)));
        lines.push(format!("route add {six} via {}", plan.node6(number)));
    }
    prepare(fabric)?;
    ip(Some(fabric), &lines)?;
    for index in 0..nodes.len() {
        build_node(&nodes[index], index + 1, nodes.len(), plan)?;
    }
    Ok(())
}

fn build_node(netns: &str, number: usize, nodes: usize, plan: Plan) -> Result<()> {
    prepare(netns)?;
    let mut lines = bridge_lines();
    lines.push(format!("addr add {}/24 dev {BRIDGE}", plan.gateway4(number)));
    lines.push(format!("addr add {}/64 dev {BRIDGE} nodad", plan.gateway6(number)));
    lines.push(format!("addr add {}/24 dev {UPLINK}", plan.node4(number)));
    lines.push(format!("addr add {}/64 dev {UPLINK} nodad", plan.node6(number)));
    lines.push(format!("link set {UPLINK} up"));
    for other in (1..=nodes).filter(|other| *other != number) {
        let [four, six] = plan.node_pods(other);
        lines.push(format!("route add {four} via {}", plan.node4(other)));
        lines.push(format!("route add {six} via {}", plan.node6(other)));
    }
    lines.push(format!("route add default via {}", plan.fabric4()));
    lines.push(format!("route add default via {}", plan.fabric6()));
    ip(Some(netns), &lines)
}

fn bridge_lines() -> Vec<String> {
    // Snooping would drop neighbour discovery until a querier shows up, and spanning tree would delay every port.
    vec![
        "link set lo up".to_owned(),
        // Left alone it takes the lowest address among its ports: with each pod that comes or goes it may change, and
        // whoever knows the old one talks to nobody for half a minute.
        format!(
            "link add {BRIDGE} address {BRIDGE_MAC} type bridge stp_state 0 forward_delay 0 mcast_snooping 0"
        ),
        format!("link set {BRIDGE} up"),
    ]
}

/// Makes pods on one node: namespaces, wires, addresses and routes.
pub(crate) fn add_pods(node: &str, number: usize, plan: Plan, wires: &[Wire]) -> Result<()> {
    add_namespaces(wires.iter().map(|wire| wire.netns.as_str()))?;
    let lines: Vec<String> = wires
        .iter()
        .map(|wire| {
            format!(
                "link add {} master {BRIDGE} up type veth peer name {UPLINK} netns {}",
                wire.host_device, wire.netns
            )
        })
        .collect();
    ip(Some(node), &lines)?;
    std::thread::scope(|scope| {
        let workers: Vec<_> = wires
            .chunks(wires.len().div_ceil(WORKERS).max(1))
            .map(|chunk| scope.spawn(move || chunk.iter().try_for_each(|wire| configure(wire, number, plan))))
            .collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

fn configure(wire: &Wire, node: usize, plan: Plan) -> Result<()> {
    ip(
        Some(&wire.netns),
        &[
            "link set lo up".to_owned(),
            format!("addr add {}/24 dev {UPLINK}", wire.four),
            format!("addr add {}/64 dev {UPLINK} nodad", wire.six),
            format!("link set {UPLINK} up"),
            format!("route add default via {}", plan.gateway4(node)),
            format!("route add default via {}", plan.gateway6(node)),
        ],
    )
}

/// Sets a link of a namespace up or down.
pub(crate) fn set_link(netns: &str, device: &str, state: LinkState) -> Result<()> {
    let word = match state {
        LinkState::Up => "up",
        LinkState::Down => "down",
    };
    ip(Some(netns), &[format!("link set {device} {word}")])
}

/// Whether a link carries packets.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LinkState {
    Up,
    Down,
}

/// Writes a sysctl (dotted or with slashes) inside a namespace.
pub(crate) fn sysctl(netns: &str, key: &str, value: &str) -> Result<()> {
    let path = Path::new("/proc/sys").join(key.replace('.', "/"));
    // The kernel looks at the writing thread's namespace, not at the process's.
    let written = netns::within(&netns::path(netns), || std::fs::write(&path, value))?;
    written.with_context(|| format!("setting {key} to {value} in {netns}"))
}

/// Forwarding, and no waiting for router advertisements that never come.
fn prepare(netns: &str) -> Result<()> {
    for (key, value) in [
        ("net.ipv4.ip_forward", "1"),
        ("net.ipv6.conf.all.forwarding", "1"),
        ("net.ipv6.conf.default.forwarding", "1"),
        ("net.ipv6.conf.default.accept_dad", "0"),
    ] {
        sysctl(netns, key, value)?;
    }
    Ok(())
}

fn add_namespaces<'a>(names: impl Iterator<Item = &'a str>) -> Result<()> {
    let lines: Vec<String> = names.map(|name| format!("netns add {name}")).collect();
    ip(None, &lines)
}

/// Removes namespaces; their devices go with them.
pub(crate) fn delete_namespaces(names: &[String]) -> Result<()> {
    let lines: Vec<String> = names.iter().map(|name| format!("netns del {name}")).collect();
    ip(None, &lines)
}

/// The named namespaces that begin with a prefix.
pub(crate) fn namespaces(prefix: &str) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(netns::FOLDER) else {
        return Vec::new();
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter(|name| name.starts_with(prefix)).collect()
}

/// Runs lines of `ip` in one process, optionally inside a namespace.
pub(crate) fn ip(netns: Option<&str>, lines: &[String]) -> Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    let mut command = Command::new("ip");
    if let Some(netns) = netns {
        command.args(["-n", netns]);
    }
    command.args(["-batch", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().context("starting ip (Debian: apt-get install iproute2)")?;
    let mut input = child.stdin.take().expect("stdin is piped");
    // A batch that fails ends early and closes the pipe; its own message is the better one.
    let fed = input.write_all((lines.join("\n") + "\n").as_bytes());
    drop(input);
    let output = child.wait_with_output().context("waiting for ip")?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        bail!("ip in {}: {}", netns.unwrap_or("the host"), message.trim());
    }
    fed.context("writing to ip")
}
