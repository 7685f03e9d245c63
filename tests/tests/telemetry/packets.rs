//! What the agents count: the packets of their pods, by verdict.

use crate::told::Told;
use crate::{Stage, WITHIN};
use anyhow::{Context as _, Result, ensure};
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;
use weft_testkit::{Node, Pod, World};
use weft_tests::asking::await_enrolled;
use weft_tests::metrics::packets;
use weft_tests::talk::Talk;
use weft_tests::waiting::eventually;

/// Numbers by verdict.
pub(crate) type Counts = BTreeMap<String, u64>;

/// For connections that are not to come about.
const SILENCE: Duration = Duration::from_millis(300);

/// What was counted since.
pub(crate) fn since(node: &Node, before: &Counts) -> Result<Counts> {
    let now = packets(node)?;
    let grown = now.into_iter().map(|(verdict, count)| {
        let before = before.get(&verdict).copied().unwrap_or(0);
        let grown = count.checked_sub(before).with_context(|| format!("{verdict} fell"))?;
        Ok((verdict, grown))
    });
    grown.collect()
}

/// A node whose pods had these connections: each was given to the listener of its kind, and nothing was dropped.
pub(crate) fn assert_traffic(counts: &Counts, told: &[&Told<'_>]) -> Result<()> {
    // A pod of the mesh opens what goes out; what comes in by a tunnel opens nothing in the pod's own namespace.
    let outbound = told.iter().filter(|one| one.direction != "inbound").count() as u64;
    let inbound = told.iter().filter(|one| one.direction == "inbound" && !one.is_mutual()).count() as u64;
    for (verdict, want) in [("chosen_outbound", outbound), ("chosen_inbound", inbound)] {
        ensure!(counts.get(verdict) == Some(&want), "not {want} times {verdict}: {counts:?}");
    }
    // Each connection takes some packets, to the listener and from the mesh's own sockets.
    for verdict in ["captured_tcp", "passed_mesh"] {
        let count = counts.get(verdict).copied().unwrap_or(0);
        ensure!(count > outbound + inbound, "{verdict} is too little: {counts:?}");
    }
    for none in ["captured_dns", "noted_probe", "passed_probe"] {
        ensure!(counts.get(none) == Some(&0), "{none} without one: {counts:?}");
    }
    let dropped = counts.iter().find(|(verdict, count)| verdict.starts_with("dropped_") && **count > 0);
    ensure!(dropped.is_none(), "{dropped:?}");
    Ok(())
}

/// Each of the other verdicts is provoked by what it stands for.
pub(crate) fn assert_the_rare_ones(stage: &Stage, mut old: Talk) -> Result<()> {
    let node = stage.world.node(1);
    let (client, server) = (&stage.clients[0], &stage.servers[0]);
    let counted = |what: &str, want: &[(&str, u64)], provoke: &mut dyn FnMut() -> Result<()>| {
        let before = packets(&node)?;
        provoke().context(what.to_owned())?;
        // Some follow only when the other end has answered.
        eventually(what, WITHIN, || {
            let counts = since(&node, &before)?;
            let missing = want.iter().find(|(verdict, least)| counts.get(*verdict) < Some(least));
            ensure!(missing.is_none(), "{missing:?} in {counts:?}");
            Ok(())
        })
    };
    counted("a connection older than the mesh", &[("passed_exempt", 1)], &mut || old.go_on())?;
    counted("the kubelet's probe", &[("noted_probe", 1), ("passed_probe", 2)], &mut || {
        node.probe_as_kubelet(&format!("http://{}/", server.addr(7000))).map(drop)
    })?;
    let dns = [("captured_dns", 1), ("chosen_dns", 1), ("answered_dns", 1)];
    counted("a query of the pod's", &dns, &mut || {
        query(client, &stage.world, &format!("{}.shop.svc.cluster.local", server.name()))
    })?;
    counted("a fragment", &[("dropped_unreadable", 1)], &mut || {
        client.enter(|| fragment(client.ip(), server.ip()))?
    })?;
    // An answer to a SYN that is a cookie belongs to no socket.
    server.sysctl("net.ipv4.tcp_syncookies", "2")?;
    counted("a cookie", &[("passed_empty", 1)], &mut || {
        Talk::begin(&stage.stranger, server.addr(7000))?.finish()
    })?;
    stage.mesh.proxy(1).kill()?;
    // The agent keeps the listeners open without a proxy, but nobody does without the agent.
    let before = packets(&node)?;
    stage.mesh.agent(1).kill()?;
    let refused = client.enter(|| TcpStream::connect_timeout(&stage.servers[1].addr(7000), SILENCE))?;
    ensure!(refused.is_err(), "somebody has answered without a listener");
    stage.mesh.agent(1).start()?;
    eventually("the agent comes back", WITHIN, || {
        let counts = since(&node, &before)?;
        ensure!(counts.get("dropped_no_listener") > Some(&0), "not counted: {counts:?}");
        Ok(())
    })?;
    stage.mesh.proxy(1).start()?;
    stage.mesh.proxy(1).wait_ready()?;
    await_enrolled(&stage.mesh, [client, server], WITHIN)?;
    Talk::begin(client, server.addr(7000))?.finish()
}

/// Asks the cluster's server for a name by a datagram, and waits for the answer.
fn query(from: &Pod, world: &World, name: &str) -> Result<()> {
    let mut question = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        question.push(u8::try_from(label.len()).context("a label")?);
        question.extend_from_slice(label.as_bytes());
    }
    question.extend_from_slice(&[0, 0, 1, 0, 1]);
    let server = SocketAddr::from((world.plan().dns(), 53));
    from.enter(|| {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.set_read_timeout(Some(WITHIN))?;
        socket.send_to(&question, server)?;
        let mut answer = [0; 512];
        let (length, from) = socket.recv_from(&mut answer).context("no answer")?;
        ensure!(from == server && answer[..2] == question[..2], "{from}: {:?}", &answer[..length]);
        Ok(())
    })?
}

/// Sends the first part of a datagram that says it is TCP and that more follows: ports of the rest nobody knows.
fn fragment(from: IpAddr, to: IpAddr) -> Result<()> {
    let (IpAddr::V4(from), IpAddr::V4(to)) = (from, to) else { anyhow::bail!("it is IPv4") };
    const MORE_FRAGMENTS: u8 = 0x20;
    let mut packet = vec![0x45, 0, 0, 0, 0, 1, MORE_FRAGMENTS, 0, 64, 6, 0, 0];
    packet.extend_from_slice(&from.octets());
    packet.extend_from_slice(&to.octets());
    packet.extend_from_slice(&[0; 24]);
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(RAW))).context("a raw socket")?;
    let to = SocketAddr::from((to, 0));
    let sent = socket.send_to(&packet, &to.into()).context("sending a fragment")?;
    ensure!(sent == packet.len(), "sent {sent} bytes");
    Ok(())
}

/// `IPPROTO_RAW`: the header is the sender's own; the kernel fills in lengths and checksums.
const RAW: i32 = 255;
