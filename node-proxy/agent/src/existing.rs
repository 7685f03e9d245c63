//! Connections that are older than a pod's enrolment: which there are, as the kernel lists them (proc(5),
//! `/proc/net/tcp`), and how long they may go on. They bypass the proxy, so they are judged here.

use crate::capture::Pair;
use crate::reconcile::ExistingRule;
use crate::tables::{CLOSE, LISTEN, Row, TIME_WAIT};
use serde::Serialize;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use weft_core::enrolment::Existing;

/// The tables of the calling thread's namespace.
const TABLES: [&str; 2] = ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"];
/// From where its applications' own connections come, unless they choose.
const EPHEMERAL: &str = "/proc/sys/net/ipv4/ip_local_port_range";
/// The kernel's default for it.
const EPHEMERAL_DEFAULT: RangeInclusive<u16> = 32_768..=60_999;
/// Connections of one pod that are noted; what is beyond is captured and reset.
const CONNECTIONS_MAX: usize = 16_384;

/// A connection of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Connection {
    /// The pod's end.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// Who opened it.
    pub opened_by: Opener,
    /// The socket; zero while or after no application has it.
    #[serde(skip)]
    pub inode: u64,
}

/// Who opened a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Opener {
    /// The pod.
    Pod,
    /// The other end.
    Peer,
}

impl Connection {
    /// Both ends.
    pub fn pair(&self) -> Pair {
        (self.local, self.remote)
    }

    /// Whether it has to end.
    fn is_over(&self, rule: &ExistingRule) -> bool {
        let refused = self.opened_by == Opener::Peer && rule.plain_text.refuses(self.local.port());
        rule.existing == Existing::Reset || refused
    }
}

/// The open connections of the namespace that this thread is in, but for those within it.
pub fn connections() -> Vec<Connection> {
    among(&rows(), &[], &ephemeral())
}

/// The same while new ones are captured already, and those left out. The kernel lists connections one by one: the
/// mesh's half of one that is new may be in the next list only.
pub fn older_connections() -> Vec<Connection> {
    let rows = rows();
    among(&rows, &self::rows(), &ephemeral())
}

fn ephemeral() -> RangeInclusive<u16> {
    let said = fs::read_to_string(EPHEMERAL).ok().and_then(|text| range(&text));
    said.unwrap_or(EPHEMERAL_DEFAULT)
}

fn rows() -> Vec<Row> {
    let texts = TABLES.iter().filter_map(|path| fs::read_to_string(path).ok());
    texts.flat_map(|text| text.lines().filter_map(Row::read).collect::<Vec<_>>()).collect()
}

/// What becomes of a pod's older connections.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Judged {
    /// They go on.
    pub stay: Vec<Connection>,
    /// Both ends are to be told that they are over.
    pub end: Vec<Pair>,
    /// They have closed by themselves.
    pub closed: Vec<Pair>,
}

/// Judges the connections that the programs let pass, by what is open now and what was the last time.
pub fn judge(exempt: &[Pair], last: &[Connection], now: Vec<Connection>, rule: &ExistingRule) -> Judged {
    let inodes: HashMap<Pair, u64> = last.iter().map(|one| (one.pair(), one.inode)).collect();
    let mut open: HashMap<Pair, Connection> = now.into_iter().map(|one| (one.pair(), one)).collect();
    let mut judged = Judged::default();
    for pair in exempt {
        match open.remove(pair) {
            Some(one) if one.is_still(inodes.get(pair).copied()) => {
                if one.is_over(rule) {
                    judged.end.push(*pair);
                } else {
                    judged.stay.push(one);
                }
            }
            Some(_) | None => judged.closed.push(*pair),
        }
    }
    judged.stay.sort_by_key(Connection::pair);
    judged
}

impl Connection {
    /// Whether it is the one that had this socket: its numbers may have been taken again.
    fn is_still(&self, inode: Option<u64>) -> bool {
        inode.is_none_or(|inode| inode == 0 || self.inode == 0 || inode == self.inode)
    }
}

/// Those of `rows`, which were listed before `later`.
fn among(rows: &[Row], later: &[Row], ephemeral: &RangeInclusive<u16>) -> Vec<Connection> {
    let pairs: BTreeSet<Pair> = rows.iter().chain(later).map(|row| (row.local, row.remote)).collect();
    let (listening, rows): (Vec<&Row>, Vec<&Row>) = rows.iter().partition(|row| row.state == LISTEN);
    let ports: HashSet<u16> = listening.iter().map(|row| row.local.port()).collect();
    let open = rows.into_iter().filter(|row| {
        let over = matches!(row.state, TIME_WAIT | CLOSE);
        // Its other end is here as well: it does not leave the pod, or the mesh has its other half.
        let within = row.remote.ip().is_loopback() || pairs.contains(&(row.remote, row.local));
        !over && !within
    });
    let connection = |row: &Row| {
        // A port that is neither: its listener may be gone, and STRICT must not depend on that.
        let served = ports.contains(&row.local.port()) || !ephemeral.contains(&row.local.port());
        Connection {
            local: row.local,
            remote: row.remote,
            opened_by: if served { Opener::Peer } else { Opener::Pod },
            inode: row.inode,
        }
    };
    open.map(connection).take(CONNECTIONS_MAX).collect()
}

/// `<first> <last>`.
fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once(char::is_whitespace)?;
    Some(first.trim().parse().ok()?..=last.trim().parse().ok()?)
}

#[cfg(test)]
mod tests;
