//! The sysctls that capture needs in a pod's namespace. `/proc/sys/net` shows the namespace of the thread that opens
//! a file of it, so no other mount of `/proc` is needed.

use std::io;
use std::path::{Path, PathBuf};
use std::{fs, iter};

use weft_ebpf_common::Family;

const ROOT: &str = "/proc/sys/net";

/// A setting and what capture needs it to be. The place in [`NEEDED`] is its place in the pod's record.
struct Needed {
    path: &'static str,
    value: i32,
}

/// Captured packets reach `lo` from the pod's own address (which a host refuses by default), and nothing leads back
/// to where they go. `rp_filter` is the larger of `all` and the device's, so `all` must be zero; every other device
/// keeps its own.
const NEEDED: [Needed; 3] = [
    Needed { path: "ipv4/conf/all/rp_filter", value: 0 },
    Needed { path: "ipv4/conf/lo/rp_filter", value: 0 },
    Needed { path: "ipv4/conf/lo/accept_local", value: 1 },
];

/// Room for these values in a pod's record.
pub(crate) type Saved = [i32; 4];

/// Says that there is nothing to restore.
const ABSENT: i32 = -1;

/// What could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("the sysctl {}", path.display())]
pub(crate) struct SysctlError {
    path: PathBuf,
    source: io::Error,
}

/// Reads the values of the current namespace.
pub(crate) fn read() -> Result<Saved, SysctlError> {
    let mut saved = [ABSENT; 4];
    for (place, needed) in iter::zip(&mut saved, &NEEDED) {
        *place = value(needed.path)?;
    }
    Ok(saved)
}

/// Sets what capture needs in the current namespace.
pub(crate) fn apply() -> Result<(), SysctlError> {
    NEEDED.iter().try_for_each(|needed| set(needed.path, needed.value))
}

/// Puts back what was read, in the current namespace.
pub(crate) fn restore(saved: Saved) -> Result<(), SysctlError> {
    for (value, needed) in iter::zip(saved, &NEEDED) {
        if value != ABSENT {
            set(needed.path, value)?;
        }
    }
    Ok(())
}

/// Whether `lo` of the current namespace speaks this IP version.
pub(crate) fn speaks(family: Family) -> bool {
    match family {
        Family::V4 => true,
        Family::V6 => value("ipv6/conf/lo/disable_ipv6").is_ok_and(|disabled| disabled == 0),
    }
}

fn value(path: &str) -> Result<i32, SysctlError> {
    let path = Path::new(ROOT).join(path);
    let read = fs::read_to_string(&path)
        .and_then(|text| text.trim().parse().map_err(|_| io::Error::from(io::ErrorKind::InvalidData)));
    read.map_err(|source| SysctlError { path, source })
}

/// Writes only what differs: `/proc/sys` may be read-only where nothing needs to change.
fn set(path: &str, wanted: i32) -> Result<(), SysctlError> {
    if value(path)? == wanted {
        return Ok(());
    }
    let path = Path::new(ROOT).join(path);
    fs::write(&path, wanted.to_string()).map_err(|source| SysctlError { path, source })
}
