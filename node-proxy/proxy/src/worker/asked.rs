//! Addresses that discovery has been asked for, and that nobody of the mesh has. A pod's every connection to the internet would
//! cost a question otherwise. The one table of a node, for a client's next connection may come to another worker.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;
use weft_core::names::NetworkAddr;

/// How long an answer counts. A pod that gets such an address later is told of by discovery of its own accord; the answer only
/// bridges the moment between.
const COUNTS_FOR: Duration = Duration::from_secs(30);
/// Addresses that are remembered: more than a node talks to in that time, unless somebody scans.
const ADDRESSES_MAX: usize = 8_192;

/// What has been asked.
#[derive(Debug, Default)]
pub struct AskedFor(Mutex<HashMap<NetworkAddr, Instant>>);

/// How discovery is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Discovery {
    There,
    /// There is nobody to ask, so older answers count too.
    Away,
}

impl AskedFor {
    /// Whether an address need not be asked for again.
    pub(super) fn has(&self, addr: &NetworkAddr, discovery: Discovery, now: Instant) -> bool {
        let counts = |at: &Instant| discovery == Discovery::Away || now.duration_since(*at) < COUNTS_FOR;
        self.0.lock().get(addr).is_some_and(counts)
    }

    /// An address has been asked for.
    pub(super) fn add(&self, addr: NetworkAddr, now: Instant) {
        let mut table = self.0.lock();
        if table.len() >= ADDRESSES_MAX {
            table.retain(|_, at| now.duration_since(*at) < COUNTS_FOR);
        }
        if table.len() >= ADDRESSES_MAX {
            table.clear();
        }
        table.insert(addr, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use weft_core::names::Network;

    fn addr(number: u32) -> NetworkAddr {
        NetworkAddr { network: Network::default_network(), ip: Ipv4Addr::from(number).into() }
    }

    #[test]
    fn an_answer_counts_for_a_while_and_longer_where_nobody_can_be_asked() {
        let (asked, now) = (AskedFor::default(), Instant::now());
        asked.add(addr(1), now);
        for (case, number, discovery, later, want) in [
            ("fresh", 1, Discovery::There, Duration::ZERO, true),
            ("old", 1, Discovery::There, COUNTS_FOR, false),
            ("old, and nobody to ask", 1, Discovery::Away, COUNTS_FOR, true),
            ("never asked for", 2, Discovery::Away, Duration::ZERO, false),
        ] {
            assert_eq!(asked.has(&addr(number), discovery, now + later), want, "{case}");
        }
    }

    #[test]
    fn it_never_grows_beyond_its_limit() {
        let (asked, now) = (AskedFor::default(), Instant::now());
        for number in 0..u32::try_from(ADDRESSES_MAX).expect("a small number") {
            asked.add(addr(number), now);
        }
        asked.add(addr(u32::MAX), now + COUNTS_FOR);
        assert_eq!(asked.0.lock().len(), 1, "old answers go first");
        for number in 0..u32::try_from(2 * ADDRESSES_MAX).expect("a small number") {
            asked.add(addr(number), now);
            assert!(asked.0.lock().len() <= ADDRESSES_MAX);
        }
    }
}
