//! The program that notes the kubelet's health probes.

use std::path::Path;

use aya::Ebpf;
use aya::programs::links::{CgroupAttachMode, FdLink};
use aya::programs::{ProgramError, SockOps};

use crate::attach::{AttachError, PROBE};
use crate::bpffs;

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
