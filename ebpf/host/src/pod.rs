//! What is done in and around one pod's namespace. Each function does one thing fully or says what failed; the order
//! and the undoing are the host's.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use weft_ebpf_common::{Acceleration, Family};

use crate::attach::{self, AttachError, CHOOSE, Existing, Hook, Programs, Target, TcMode};
use crate::clsact::{Made, Place};
use crate::devices::{self, Device, Framing};
use crate::netns::{self, EnterError};
use crate::{bpffs, offload, routing, sysctl};

/// Why something in a pod's namespace failed.
#[derive(Debug, thiserror::Error)]
pub enum PodError {
    /// It could not be entered.
    #[error("entering the pod's namespace")]
    Enter(#[source] EnterError),
    /// A sysctl could not be read or written.
    #[error("setting up the pod's namespace")]
    Sysctl(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The rule or the route failed.
    #[error("routing captured {family:?} packets to lo")]
    Routing {
        /// The IP version.
        family: Family,
        /// Why.
        source: io::Error,
    },
    /// The devices could not be listed.
    #[error("listing the devices {place}")]
    Devices {
        /// Which namespace.
        place: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A program could not be attached or detached.
    #[error("attaching the pod's programs")]
    Attach(#[source] AttachError),
    /// clsact could not be removed.
    #[error("removing clsact from {device}")]
    Clsact {
        /// The device.
        device: String,
        /// Why.
        source: io::Error,
    },
    /// A pin could not be removed.
    #[error("removing {}", path.display())]
    Unpin {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

const INSIDE: &str = "in the pod";
const OUTSIDE: &str = "on the host";

/// Makes a namespace deliver marked packets to `lo`.
pub(crate) fn set_up() -> Result<(), PodError> {
    sysctl::apply().map_err(|error| PodError::Sysctl(error.into()))?;
    for family in [Family::V4, Family::V6] {
        // Without this IP version on `lo` what is captured is dropped there: closed.
        if sysctl::speaks(family) {
            routing::add(family).map_err(|source| PodError::Routing { family, source })?;
        }
    }
    Ok(())
}

/// Undoes [`set_up`].
pub(crate) fn tear_down(saved: Option<sysctl::Saved>) -> Result<(), PodError> {
    for family in [Family::V4, Family::V6] {
        routing::remove(family).map_err(|source| PodError::Routing { family, source })?;
    }
    let restored = saved.map_or(Ok(()), sysctl::restore);
    restored.map_err(|error| PodError::Sysctl(error.into()))
}

/// How to attach.
#[derive(Clone, Copy)]
pub(crate) struct How<'a> {
    pub(crate) dir: &'a Path,
    pub(crate) mode: TcMode,
    pub(crate) existing: Existing,
}

impl<'a> How<'a> {
    fn target(self, device: &'a Device) -> Target<'a> {
        Target {
            device: &device.name,
            interface: device.index,
            dir: self.dir,
            mode: self.mode,
            existing: self.existing,
        }
    }
}

/// Attaches the programs inside, in the current namespace, which is `netns`: those that leave words for the lookup,
/// then the lookup, which goes by them, and then what captures, so that listeners are there for it. Returns the devices.
pub(crate) fn attach_inside(
    programs: &mut Programs,
    netns: BorrowedFd<'_>,
    how: How<'_>,
) -> Result<Vec<Device>, PodError> {
    let devices = devices::list().map_err(|source| PodError::Devices { place: INSIDE, source })?;
    let (loopback, others): (Vec<_>, Vec<_>) =
        devices.iter().partition(|device| device.framing == Framing::Loopback);
    let devices_in_order = || loopback.iter().chain(&others);
    for device in devices_in_order() {
        how.target(device).attach(programs, ingress(device.framing)).map_err(PodError::Attach)?;
    }
    attach::attach_lookup(programs, netns, how.dir, how.existing).map_err(PodError::Attach)?;
    for device in devices_in_order() {
        how.target(device).attach(programs, egress(device.framing)).map_err(PodError::Attach)?;
    }
    Ok(devices)
}

/// Attaches, to one of these devices of the current namespace, what pairs connections to be accelerated; or takes it
/// off, so that a pod which does not want it does not pay for it.
pub(crate) fn accelerate(
    programs: &mut Programs,
    devices: &[Device],
    level: Acceleration,
    how: How<'_>,
) -> Result<(), PodError> {
    let mut loopback = devices.iter().filter(|device| device.framing == Framing::Loopback);
    let done = loopback.try_for_each(|device| match level {
        Acceleration::Off => how.target(device).detach(Hook::PAIR),
        Acceleration::Proxy | Acceleration::Full => how.target(device).attach(programs, Hook::PAIR),
    });
    done.map_err(PodError::Attach)
}

fn ingress(framing: Framing) -> Hook {
    match framing {
        Framing::Loopback => Hook::LO_INGRESS,
        Framing::Ethernet | Framing::Bare => Hook::ARRIVE,
    }
}

fn egress(framing: Framing) -> Hook {
    match framing {
        Framing::Loopback => Hook::LO_EGRESS,
        Framing::Ethernet => Hook::EGRESS,
        Framing::Bare => Hook::EGRESS_BARE,
    }
}

/// The ends in the current namespace of a pod's devices, and the names of those devices that have none here: what a
/// pod with NET_RAW sends there past tc is not stopped.
pub(crate) fn find_ends(
    netns: BorrowedFd<'_>,
    inside: &[Device],
) -> Result<(Vec<Device>, Vec<String>), PodError> {
    let failed = |source| PodError::Devices { place: OUTSIDE, source };
    let ends = match devices::namespace_number(netns).map_err(failed)? {
        Some(number) => devices::host_ends(inside, &devices::possible_ends(inside).map_err(failed)?, number),
        None => Vec::new(),
    };
    let loose = |device: &&Device| {
        device.framing != Framing::Loopback && !ends.iter().any(|end| device.leads_to(end))
    };
    let loose = inside.iter().filter(loose).map(|device| device.name.clone()).collect();
    Ok((ends, loose))
}

/// Attaches the second lock to one of these ends.
pub(crate) fn attach_outside(lock: &mut Programs, end: &Device, how: How<'_>) -> Result<(), PodError> {
    if let Err(error) = offload::disable(end, how.dir) {
        // Closed, not open: the second lock would stop what it cannot attribute.
        tracing::warn!(device = end.name, %error, "cannot switch GRO off");
    }
    how.target(end).attach(lock, Hook::SECOND_LOCK).map_err(PodError::Attach)
}

/// Removes the pins of a pod, and with them its programs: first what captures, then the lookup, then what leaves words
/// for it. Restores the host's ends.
pub(crate) fn unpin(dir: &Path) -> Result<(), PodError> {
    if let Err(error) = offload::restore(dir) {
        tracing::warn!(dir = %dir.display(), %error, "cannot switch GRO on again");
    }
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(|source| PodError::Unpin { path: dir.to_owned(), source })?,
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort_by_key(|path| order(path));
    for path in paths {
        bpffs::end_link(&path).map_err(|source| PodError::Unpin { path, source })?;
    }
    std::fs::remove_dir(dir).map_err(|source| PodError::Unpin { path: dir.to_owned(), source })
}

fn order(path: &Path) -> usize {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let kinds = ["pair", "lock", "egress", "lo_egress", CHOOSE, "arrive", "lo_ingress"];
    kinds.iter().position(|kind| name.starts_with(kind)).unwrap_or(kinds.len())
}

/// Removes the filters of clsact from the devices of the current namespace, and those qdiscs that were made for them. Does
/// nothing where links are used.
pub(crate) fn detach_filters_inside(how: How<'_>, made: &Made) -> Result<(), PodError> {
    if how.mode == TcMode::Tcx {
        return Ok(());
    }
    for device in devices::list().map_err(|source| PodError::Devices { place: INSIDE, source })? {
        let beside = (device.framing == Framing::Loopback).then_some(Hook::PAIR);
        for hook in beside.into_iter().chain([egress(device.framing), ingress(device.framing)]) {
            how.target(&device).detach_clsact(hook).map_err(PodError::Attach)?;
        }
        remove_clsact(made, Place::Inside, &device)?;
    }
    Ok(())
}

/// The same for these devices of the host.
pub(crate) fn detach_filters_outside(how: How<'_>, made: &Made, ends: &[u32]) -> Result<(), PodError> {
    if how.mode == TcMode::Tcx {
        return Ok(());
    }
    let devices = devices::list().map_err(|source| PodError::Devices { place: OUTSIDE, source })?;
    for device in devices.iter().filter(|device| ends.contains(&device.index)) {
        how.target(device).detach_clsact(Hook::SECOND_LOCK).map_err(PodError::Attach)?;
        remove_clsact(made, Place::Outside, device)?;
    }
    Ok(())
}

fn remove_clsact(made: &Made, place: Place, device: &Device) -> Result<(), PodError> {
    let removed = made.remove(place, device.index);
    removed.map_err(|source| PodError::Clsact { device: device.name.clone(), source })
}

/// Enters a pod's namespace.
pub(crate) fn enter(netns: BorrowedFd<'_>) -> Result<netns::Entered, PodError> {
    netns::enter(netns).map_err(PodError::Enter)
}
