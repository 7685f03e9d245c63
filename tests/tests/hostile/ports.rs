//! The mesh's own ports in a pod's namespace lead nowhere, whichever way somebody comes to them.

use crate::Stage;
use anyhow::{Context as _, Result, ensure};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;
use weft_testkit::Pod;
use weft_tests::waiting::eventually;

const PORTS: [u16; 4] = [15001, 15006, 15008, 15053];
const DNS_LISTENER: u16 = 15053;
const LOOPBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
/// Until somebody hangs up.
const PATIENCE: Duration = Duration::from_secs(5);
/// On one machine an answer takes less than a millisecond.
const SILENCE: Duration = Duration::from_millis(300);
const WORDS: &[u8] = b"whoever is there, say it again\r\n\r\n";

/// Connections are hung up on, and datagrams are not answered.
pub(crate) fn lead_nowhere(stage: &Stage) -> Result<()> {
    let server = &stage.server;
    for port in PORTS {
        for ip in server.ips() {
            let to = SocketAddr::new(ip, port);
            hang_up(&stage.stranger, to).with_context(|| format!("from outside, to {to}"))?;
            hang_up(&stage.client, to).with_context(|| format!("from another node, to {to}"))?;
            hang_up(&stage.other, to).with_context(|| format!("from the same node, to {to}"))?;
            hang_up(server, to).with_context(|| format!("from the pod itself, to {to}"))?;
        }
        for ip in LOOPBACK {
            let to = SocketAddr::new(ip, port);
            hang_up(server, to).with_context(|| format!("from the pod itself, to {to}"))?;
        }
    }
    // In plain text from outside, and from a neighbour through the capture; tunnels have words of their own.
    for port in [15001, 15006, 15053] {
        eventually("a line that says why", PATIENCE, || {
            let log = stage.mesh.proxy(2).log();
            for direction in ["inbound", "outbound"] {
                let said = log.lines().any(|line| {
                    line.contains(&format!("direction={direction}"))
                        && line.contains(&format!("port {port} belongs to the mesh itself"))
                });
                ensure!(said, "none for {port}, {direction}");
            }
            Ok(())
        })?;
    }
    dns_is_for_the_pod_alone(stage)
}

/// The listener of captured queries takes what was meant for port 53, and nothing that asks for its own.
fn dns_is_for_the_pod_alone(stage: &Stage) -> Result<()> {
    stage.world.service("shop", "asked-for").port("echo", 7000, 7000).apply()?;
    let resolver = SocketAddr::from((stage.world.plan().dns(), 53));
    eventually("the name is known", PATIENCE, || {
        ensure!(is_answered(&stage.server, resolver)?, "it is not");
        Ok(())
    })?;
    for from in [&stage.stranger, &stage.client, &stage.other, &stage.server] {
        for ip in stage.server.ips() {
            let to = SocketAddr::new(ip, DNS_LISTENER);
            ensure!(!is_answered(from, to)?, "{} is answered by {to}", from.name());
        }
    }
    for ip in LOOPBACK {
        let to = SocketAddr::new(ip, DNS_LISTENER);
        ensure!(!is_answered(&stage.server, to)?, "the pod is answered by {to}");
    }
    Ok(())
}

/// Whether a query for a name of the mesh has an answer with something in it.
fn is_answered(from: &Pod, to: SocketAddr) -> Result<bool> {
    let mut query = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in ["asked-for", "shop", "svc", "cluster", "local", ""] {
        query.push(u8::try_from(label.len())?);
        query.extend_from_slice(label.as_bytes());
    }
    query.extend_from_slice(&[0, 1, 0, 1]);
    from.enter(|| -> Result<bool> {
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any).context("a socket")?;
        socket.set_read_timeout(Some(SILENCE)).context("a timeout")?;
        // Not connected: an answer from another port would count too. A refusal comes as silence then.
        socket.send_to(&query, to).with_context(|| format!("asking {to}"))?;
        let mut reply = [0; 512];
        Ok(socket
            .recv(&mut reply)
            .is_ok_and(|length| length > 12 && reply[..2] == query[..2] && reply[7] > 0))
    })?
}

/// Connects and says something: it ends, and nothing of it comes back.
fn hang_up(from: &Pod, to: SocketAddr) -> Result<()> {
    from.enter(|| -> Result<()> {
        let mut stream = match TcpStream::connect_timeout(&to, PATIENCE) {
            Ok(stream) => stream,
            Err(error) if error.kind() == ErrorKind::TimedOut => return Err(error).context("connecting"),
            Err(_) => return Ok(()),
        };
        stream.set_read_timeout(Some(PATIENCE))?;
        // It may have ended by now.
        let _said = stream.write_all(WORDS);
        let mut heard = Vec::new();
        let ended = stream.read_to_end(&mut heard);
        let waits = ended.is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
        ensure!(!waits, "it is held open");
        ensure!(!heard.windows(WORDS.len()).any(|part| part == WORDS), "an application answers");
        Ok(())
    })?
}
