//! Session affinity: a client comes back to the endpoint that it had, for as long as the service says
//! (Kubernetes `sessionAffinity: ClientIP`). The one table of a node, for a client's next connection may come to
//! another worker. It ends with the process, so a client that is not in it is sent where any process would send it.

use super::chance::Sequence;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};
use weft_core::names::{ServiceName, WorkloadUid};

/// Pairs that the table holds; the oldest go first. A node has a few hundred pods, and few services ask for
/// affinity.
const PAIRS_MAX: usize = 65_536;

/// Who has which endpoint.
#[derive(Debug, Default)]
pub struct Affinity(Mutex<HashMap<(ServiceName, IpAddr), (WorkloadUid, Instant)>>);

/// Where a client of a service goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sticky {
    /// Anywhere: it has been away for too long.
    Free,
    /// To the endpoint that it had.
    Had(WorkloadUid),
    /// Wherever this chance says, in every process alike while the endpoints are the same: the one before may have sent it
    /// there.
    First(Sequence),
}

impl Affinity {
    /// Where a client goes that has an endpoint for `timeout`.
    pub fn get(&self, service: &ServiceName, client: IpAddr, timeout: Duration, now: Instant) -> Sticky {
        let table = self.0.lock();
        match table.get(&(service.clone(), client)) {
            Some((endpoint, seen)) if now.duration_since(*seen) < timeout => Sticky::Had(endpoint.clone()),
            Some(_) => Sticky::Free,
            None => Sticky::First(Sequence::new(hash(service, client))),
        }
    }

    /// The client has this endpoint now.
    pub fn set(&self, service: &ServiceName, client: IpAddr, endpoint: &WorkloadUid, now: Instant) {
        let mut table = self.0.lock();
        if table.len() >= PAIRS_MAX {
            let mut ages: Vec<Instant> = table.values().map(|(_, seen)| *seen).collect();
            let middle = ages.len() / 2;
            let (_, median, _) = ages.select_nth_unstable(middle);
            let median = *median;
            table.retain(|_, (_, seen)| *seen > median);
        }
        table.insert((service.clone(), client), (endpoint.clone(), now));
    }
}

/// FNV-1a of 64 bits: the same in every version of the proxy, which is all that is asked of it.
fn hash(service: &ServiceName, client: IpAddr) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let client = match client.to_canonical() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let name: [&[u8]; 4] = [&client, service.namespace.as_bytes(), b"/", service.hostname.as_bytes()];
    name.into_iter().flatten().fold(0xcbf2_9ce4_8422_2325, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_keeps_its_endpoint_until_the_timeout() {
        let (table, now) = (Affinity::default(), Instant::now());
        let service = ServiceName::new("shop", "web.shop.svc.cluster.local");
        let client = "10.0.0.1".parse().unwrap();
        let timeout = Duration::from_secs(10);
        let first = table.get(&service, client, timeout, now);
        assert!(matches!(first, Sticky::First(_)), "{first:?}");
        table.set(&service, client, &WorkloadUid::new("a"), now);
        let had = Sticky::Had(WorkloadUid::new("a"));
        assert_eq!(table.get(&service, client, timeout, now + timeout / 2), had);
        assert_eq!(table.get(&service, client, timeout, now + timeout), Sticky::Free);
        let other = table.get(&service, "10.0.0.2".parse().unwrap(), timeout, now);
        assert!(matches!(other, Sticky::First(_)) && other != first, "{other:?}");
    }

    #[test]
    fn processes_agree_on_clients_that_are_new_to_them_and_send_them_everywhere() {
        let service = ServiceName::new("shop", "web.shop.svc.cluster.local");
        let drawn = |client: u32| {
            let client = IpAddr::from(client.to_be_bytes());
            match Affinity::default().get(&service, client, Duration::from_secs(10), Instant::now()) {
                Sticky::First(mut chance) => [chance.below(2), chance.below(3), chance.below(4)],
                other => panic!("{other:?}"),
            }
        };
        let mut counts = [[0_usize; 4]; 3];
        for client in 0x0a00_0001..0x0a00_0001 + 1_200 {
            assert_eq!(drawn(client), drawn(client));
            for (counts, number) in counts.iter_mut().zip(drawn(client)) {
                counts[usize::try_from(number).unwrap()] += 1;
            }
        }
        for (counts, bound) in counts.iter().zip(2..) {
            let share = 1_200 / bound;
            let fair = share * 3 / 4..share * 5 / 4;
            assert!(counts[..bound].iter().all(|count| fair.contains(count)), "{counts:?}");
        }
    }
}
