//! Faults that need a hand of their own: a listener whose accept queue is full.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::netns;

/// How long a handshake may take before the queue counts as full. Between two namespaces of one machine it takes
/// microseconds; a full queue drops the SYN or its last ACK until a second is over.
const HANDSHAKE: Duration = Duration::from_millis(300);
/// How many handshakes in a row must fail.
const FAILURES: usize = 3;

/// Connections that fill an accept queue. They close when this is dropped.
#[derive(Debug)]
pub struct Fill {
    held: Vec<TcpStream>,
}

impl Fill {
    /// How many connections got in.
    pub fn opened(&self) -> usize {
        self.held.len()
    }
}

/// Opens connections until no more get in. The listener's process should be stopped, or it will accept them.
pub(crate) fn fill(netns: &Path, target: SocketAddr, limit: usize) -> Result<Fill> {
    let (held, failures) = netns::within(netns, || {
        let (mut held, mut failures) = (Vec::new(), 0);
        while held.len() < limit && failures < FAILURES {
            match TcpStream::connect_timeout(&target, HANDSHAKE) {
                Ok(stream) => {
                    failures = 0;
                    held.push(stream);
                }
                Err(_full_or_refused) => failures += 1,
            }
        }
        (held, failures)
    })?;
    ensure!(failures == FAILURES, "{target} took {limit} connections and its queue is not full");
    Ok(Fill { held })
}

/// What the namespace's kernel counts of TCP under this name (`TcpExt` in /proc/net/netstat).
pub(crate) fn tcp_counter(netns: &Path, name: &str) -> Result<u64> {
    let text = netns::within(netns, || std::fs::read_to_string("/proc/thread-self/net/netstat"))??;
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else { return Ok(0) };
    let mut pairs = names.split_whitespace().zip(values.split_whitespace());
    let found = pairs.find(|(known, _)| *known == name);
    Ok(found.and_then(|(_, value)| value.parse().ok()).unwrap_or(0))
}
