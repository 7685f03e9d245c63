//! What must not be on the host's ends of pods' veths, because the kernel forgets there whose a packet is: the second lock
//! would stop what the mesh itself sends. Read from the current namespace alone: who asks need not be the agent.

use std::io;

use aya::programs::SchedClassifier;

use crate::attach::Hook;
use crate::devices::{self, Device};
use crate::netlink::{Message, Netlink};
use crate::offload;

const RTM_NEWTFILTER: u16 = 44;
const RTM_GETTFILTER: u16 = 46;
const TCMSG_LEN: usize = 20;
/// The ingress of clsact, as the parent of its filters.
const CLSACT_INGRESS: u32 = 0xffff_fff2;

/// The ends with a native XDP program, also those of pods that are not in the mesh: they may come.
pub(crate) fn with_native_xdp() -> io::Result<Vec<String>> {
    Ok(names(ends()?.filter(|end| end.has_native_xdp)))
}

/// The ends of enrolled pods on which GRO is on. Enrolment switches it off, so somebody has switched it on since.
pub(crate) fn with_gro() -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for end in ends()? {
        if offload::is_on(&end)? && has_lock(&end)? {
            found.push(end);
        }
    }
    Ok(names(found.into_iter()))
}

fn ends() -> io::Result<impl Iterator<Item = Device>> {
    Ok(devices::list()?.into_iter().filter(Device::leads_elsewhere))
}

fn names(ends: impl Iterator<Item = Device>) -> Vec<String> {
    ends.map(|end| end.name).collect()
}

/// Whether the second lock stands there, in either of its ways.
fn has_lock(end: &Device) -> io::Result<bool> {
    let lock = Hook::SECOND_LOCK;
    // Where the kernel has no tcx there are none; that is no error here.
    let attached = SchedClassifier::query_tcx(&end.name, lock.direction);
    let attached = attached.map(|(_, programs)| programs).unwrap_or_default();
    if attached.iter().any(|program| program.name_as_str() == Some(lock.program)) {
        return Ok(true);
    }
    let mut fixed = [0; TCMSG_LEN];
    fixed[4..8].copy_from_slice(&end.index.to_ne_bytes());
    fixed[12..16].copy_from_slice(&CLSACT_INGRESS.to_ne_bytes());
    let mut found = false;
    Netlink::open()?.dump(Message::new(RTM_GETTFILTER, 0, &fixed), |kind, body| {
        let handle = body.get(8..12).and_then(|bytes| bytes.try_into().ok()).map(u32::from_ne_bytes);
        found |= kind == RTM_NEWTFILTER && handle == Some(lock.filter_handle());
    })?;
    Ok(found)
}
