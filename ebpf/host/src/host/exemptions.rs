//! Connections of a pod that capture leaves alone.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};

use aya::maps::MapError;
use aya::sys::SyscallError;
use nix::errno::Errno;
use weft_ebpf_common::{Address, Exemption, Flow, SlotFlow};

use super::Host;
use crate::ends::Ends;
use crate::error::ExemptError;
use crate::key::PodKey;
use crate::maps::layout;

/// Older connections of one pod that may go on: a quarter of the node's map, so that a busy pod that joins does not cut
/// off those of the next.
pub const ESTABLISHED_PER_POD_MAX: usize = 16_384;

impl Host {
    /// Lets connections go on that are older than the enrolment, and says for how many there was no room: for this pod
    /// ([`ESTABLISHED_PER_POD_MAX`]), or on the node. Those that were open when [`Host::enrol`] returned should come
    /// before [`Host::settle`].
    pub fn exempt_established(&self, key: &PodKey, connections: &[Ends]) -> Result<usize, ExemptError> {
        let slot = self.reserve(key).map_err(ExemptError::Reserve)?.slot;
        let mut maps = self.maps.lock();
        let known = maps.exempted(slot, Exemption::Established).map_err(ExemptError::Maps)?;
        let known: HashSet<_> = known.into_iter().collect();
        let new = connections.iter().map(flow).filter(|flow| !known.contains(flow));
        let new: Vec<_> = new.map(|flow| SlotFlow { slot, flow }).collect();
        let room = ESTABLISHED_PER_POD_MAX.saturating_sub(known.len());
        for (done, flow) in new.iter().take(room).enumerate() {
            match maps.exempt(*flow, Exemption::Established) {
                Ok(()) => {}
                Err(error) if is_full(&error) => return Ok(new.len() - done),
                Err(error) => return Err(ExemptError::Maps(error)),
            }
        }
        Ok(new.len().saturating_sub(room))
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

/// The kernel's word for a hash without room (`kernel/bpf/hashtab.c`).
fn is_full(error: &MapError) -> bool {
    matches!(error, MapError::SyscallError(SyscallError { io_error, .. }) if io_error.raw_os_error() == Some(Errno::E2BIG as i32))
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
