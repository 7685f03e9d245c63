//! The program that notes the kubelet's health probes.

use std::path::Path;

use aya::Ebpf;
use aya::maps::{HashMap, MapError};
use aya::programs::links::{CgroupAttachMode, FdLink};
use aya::programs::{ProgramError, SockOps};
use weft_ebpf_common::Flow;

use crate::attach::{AttachError, PROBE};
use crate::bpffs;
use crate::maps::{Plain, tolerate_missing};
use crate::object::names;

/// Attaches it to the kubelet's cgroup, in place of an earlier process's.
pub(super) fn note(
    node: &mut Ebpf,
    cgroup: &Path,
    pin: &Path,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let found: Option<Result<&mut SockOps, ProgramError>> =
        node.program_mut(PROBE).map(|program| program.try_into());
    let program = found.ok_or(AttachError::Absent { name: PROBE })??;
    program.load()?;
    let cgroup = std::fs::File::open(cgroup)?;
    // The other modes set flags that bpf links refuse.
    let id = program.attach(cgroup, CgroupAttachMode::Single)?;
    let link = FdLink::try_from(program.take_link(id)?)?;
    let beside = pin.with_file_name("probe_new");
    bpffs::remove_stale(&beside)?;
    link.pin(&beside)?;
    std::fs::rename(&beside, pin)?;
    Ok(())
}

/// Nobody's connections are probes any more: takes off what an earlier process, with another setting, has attached, and
/// forgets what that has noted. The ends of those connections would not be.
pub(super) fn forget(node: &mut Ebpf, pin: &Path) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    bpffs::end_link(pin)?;
    let map = node.map_mut(names::PROBES);
    let map = map.ok_or_else(|| MapError::InvalidName { name: names::PROBES.to_owned() })?;
    let mut noted = HashMap::<_, Plain<Flow>, u64>::try_from(map)?;
    let flows = noted.keys().collect::<Result<Vec<_>, _>>()?;
    Ok(flows.iter().try_for_each(|flow| tolerate_missing(noted.remove(flow)))?)
}
