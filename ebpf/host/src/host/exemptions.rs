//! Connections of a pod that capture leaves alone.

use std::net::{IpAddr, SocketAddr};

use weft_ebpf_common::{Address, Exemption, Flow, SlotFlow};

use super::Host;
use crate::ends::Ends;
use crate::error::ExemptError;
use crate::key::PodKey;
use crate::maps::layout;

impl Host {
    /// Lets connections go on that are older than the enrolment. Those that were open when [`Host::enrol`] returned
    /// should come before [`Host::settle`].
    pub fn exempt_established(&self, key: &PodKey, connections: &[Ends]) -> Result<(), ExemptError> {
        self.exempt(key, connections, Exemption::Established)
    }

    /// Lets connections pass for this reason.
    pub fn exempt(&self, key: &PodKey, connections: &[Ends], reason: Exemption) -> Result<(), ExemptError> {
        let slot = self.reserve(key).map_err(ExemptError::Reserve)?.slot;
        let mut flows = connections.iter().map(|ends| SlotFlow { slot, flow: flow(ends) });
        let mut maps = self.maps.lock();
        flows.try_for_each(|flow| maps.exempt(flow, reason)).map_err(ExemptError::Maps)
    }

    /// Ends exemptions, for example because the connections have closed.
    pub fn end_exemptions(&self, key: &PodKey, connections: &[Ends]) -> Result<(), ExemptError> {
        let Some(slot) = self.find(key).map(|entry| entry.slot) else { return Ok(()) };
        let mut flows = connections.iter().map(|ends| SlotFlow { slot, flow: flow(ends) });
        let mut maps = self.maps.lock();
        flows.try_for_each(|flow| maps.forget_exempt(flow)).map_err(ExemptError::Maps)
    }

    /// The connections of a pod that pass because they are older than its enrolment, an earlier process's included.
    pub fn established(&self, key: &PodKey) -> Result<Vec<Ends>, ExemptError> {
        let Some(slot) = self.find(key).map(|entry| entry.slot) else { return Ok(Vec::new()) };
        let flows = self.maps.lock().exempted(slot, Exemption::Established).map_err(ExemptError::Maps)?;
        Ok(flows.iter().map(ends).collect())
    }
}

fn ends(flow: &Flow) -> Ends {
    let ip = |address: Address| IpAddr::from(address.0).to_canonical();
    Ends {
        local: SocketAddr::new(ip(flow.local), flow.local_port),
        remote: SocketAddr::new(ip(flow.remote), flow.remote_port),
    }
}

fn flow(ends: &Ends) -> Flow {
    Flow {
        local: layout(ends.local.ip()),
        remote: layout(ends.remote.ip()),
        local_port: ends.local.port(),
        remote_port: ends.remote.port(),
    }
}
