//! Session affinity: a client comes back to the endpoint that it had, for as long as the service says
//! (Kubernetes `sessionAffinity: ClientIP`). The one table of a node, for a client's next connection may come to
//! another worker.

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

impl Affinity {
    /// The endpoint that the client had within `timeout`.
    pub fn get(
        &self,
        service: &ServiceName,
        client: IpAddr,
        timeout: Duration,
        now: Instant,
    ) -> Option<WorkloadUid> {
        let table = self.0.lock();
        let (endpoint, seen) = table.get(&(service.clone(), client))?;
        (now.duration_since(*seen) < timeout).then(|| endpoint.clone())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_keeps_its_endpoint_until_the_timeout() {
        let (table, now) = (Affinity::default(), Instant::now());
        let service = ServiceName::new("shop", "web.shop.svc.cluster.local");
        let client = "10.0.0.1".parse().unwrap();
        let timeout = Duration::from_secs(10);
        assert_eq!(table.get(&service, client, timeout, now), None);
        table.set(&service, client, &WorkloadUid::new("a"), now);
        assert_eq!(table.get(&service, client, timeout, now + timeout / 2), Some(WorkloadUid::new("a")));
        assert_eq!(table.get(&service, client, timeout, now + timeout), None);
        assert_eq!(table.get(&service, "10.0.0.2".parse().unwrap(), timeout, now), None);
    }
}
