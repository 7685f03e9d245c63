//! Attaching programs so that they stay when this process ends: as pinned links, or as filters of clsact where the
//! kernel has no tcx.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::bpffs::{end_link, remove_stale};
use crate::clsact::{self, Place};
use crate::object::{Copy, Object};
use aya::Ebpf;
use aya::pin::PinError;
use aya::programs::links::{FdLink, LinkError, PinnedLink};
use aya::programs::tc::{
    NlOptions, SchedClassifierLink, TcAttachOptions, TcError, TcHandle, qdisc_add_clsact,
};
use aya::programs::{LinkOrder, ProgramError, SchedClassifier, SkLookup, TcAttachType};

/// The priority and handle of our filters where clsact is used: what finds them again.
const FILTER_PRIORITY: u16 = 1;
const FILTER_HANDLE: u16 = 0x5745;
/// That of the one which may stand beside another.
const FILTER_HANDLE_BESIDE: u16 = 0x5746;

/// How tc programs are attached on this kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TcMode {
    /// As tcx links (kernel 6.6, and whoever carried them back).
    Tcx,
    /// As filters of the clsact qdisc.
    Clsact,
}

/// A tc program of the object, and where it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hook {
    /// Its name in the object.
    pub(crate) program: &'static str,
    pub(crate) direction: TcAttachType,
    /// What its pin begins with.
    pin: &'static str,
    /// Its filter's handle where clsact is used.
    handle: u16,
}

impl Hook {
    pub(crate) const EGRESS: Self =
        Self { program: "egress", direction: TcAttachType::Egress, pin: "egress", handle: FILTER_HANDLE };
    pub(crate) const EGRESS_BARE: Self = Self {
        program: "egress_bare",
        direction: TcAttachType::Egress,
        pin: "egress",
        handle: FILTER_HANDLE,
    };
    pub(crate) const ARRIVE: Self =
        Self { program: "arrive", direction: TcAttachType::Ingress, pin: "arrive", handle: FILTER_HANDLE };
    pub(crate) const LO_INGRESS: Self = Self {
        program: "lo_ingress",
        direction: TcAttachType::Ingress,
        pin: "lo_ingress",
        handle: FILTER_HANDLE,
    };
    pub(crate) const LO_EGRESS: Self = Self {
        program: "lo_egress",
        direction: TcAttachType::Egress,
        pin: "lo_egress",
        handle: FILTER_HANDLE,
    };
    pub(crate) const SECOND_LOCK: Self =
        Self { program: "second_lock", direction: TcAttachType::Ingress, pin: "lock", handle: FILTER_HANDLE };

    /// Stands on `lo` beside [`Self::LO_INGRESS`] where a pod wants to be accelerated; in whichever order.
    pub(crate) const PAIR: Self =
        Self { program: "pair", direction: TcAttachType::Ingress, pin: "pair", handle: FILTER_HANDLE_BESIDE };

    fn handle(self) -> TcHandle {
        TcHandle::new(0, self.handle)
    }

    /// What a filter of this hook's has for a handle.
    pub(crate) fn filter_handle(self) -> u32 {
        u32::from(self.handle)
    }

    fn pinned(self, dir: &Path, interface: u32) -> PathBuf {
        dir.join(format!("{}-{interface}", self.pin))
    }
}

/// The program of the socket lookup.
pub(crate) const CHOOSE: &str = "choose";
/// The program that notes health probes.
pub(crate) const PROBE: &str = "probe";

/// Why a program could not be attached for good.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The object was refused.
    #[error("loading the eBPF object")]
    Object(#[source] Box<aya::EbpfError>),
    /// The object has no such program, or one of another kind.
    #[error("the object has no program {name}")]
    Absent {
        /// Its name.
        name: &'static str,
    },
    /// The kernel's verifier refused it.
    #[error("loading the program {name}")]
    Load {
        /// Its name.
        name: &'static str,
        /// Why.
        source: ProgramError,
    },
    /// It could not be attached.
    #[error("attaching {name} to {target}")]
    Attach {
        /// Its name.
        name: &'static str,
        /// The device or namespace.
        target: String,
        /// Why.
        source: ProgramError,
    },
    /// clsact could not be added.
    #[error("adding clsact to {device}")]
    Clsact {
        /// The device.
        device: String,
        /// Why.
        source: TcError,
    },
    /// The link could not be pinned, so it would not outlive this process.
    #[error("pinning {}", path.display())]
    Pin {
        /// Where.
        path: PathBuf,
        /// Why.
        source: PinError,
    },
    /// A pinned link could not be opened or is of another kind.
    #[error("opening the pinned link {}", path.display())]
    Open {
        /// Where.
        path: PathBuf,
        /// Why.
        source: LinkError,
    },
    /// A pin could not be removed or renamed.
    #[error("replacing the pinned link {}", path.display())]
    Replace {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What becomes of a link that is already pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Existing {
    /// It has this object's program: it stays.
    Keep,
    /// It has another object's program: it gets the new one, without a gap.
    Update,
}

/// A copy of the programs, loaded when the first of them is needed: a pod that is attached already needs none.
#[derive(Debug)]
pub(crate) struct Programs {
    object: Arc<Object>,
    copy: Copy,
    loaded: Option<Ebpf>,
}

impl Programs {
    /// Nothing is loaded yet.
    pub(crate) fn new(object: &Arc<Object>, copy: Copy) -> Self {
        Self { object: Arc::clone(object), copy, loaded: None }
    }

    /// The object, loaded now at the latest.
    pub(crate) fn ebpf(&mut self) -> Result<&mut Ebpf, AttachError> {
        if self.loaded.is_none() {
            let ebpf = self.object.load(self.copy).map_err(|error| AttachError::Object(error.into()))?;
            self.loaded = Some(ebpf);
        }
        self.loaded.as_mut().ok_or(AttachError::Absent { name: "object" })
    }

    fn tc(&mut self, name: &'static str) -> Result<&mut SchedClassifier, AttachError> {
        let found = self.ebpf()?.program_mut(name).and_then(|program| program.try_into().ok());
        let program: &mut SchedClassifier = found.ok_or(AttachError::Absent { name })?;
        if program.fd().is_err() {
            program.load().map_err(|source| AttachError::Load { name, source })?;
        }
        Ok(program)
    }

    fn lookup(&mut self) -> Result<&mut SkLookup, AttachError> {
        let found = self.ebpf()?.program_mut(CHOOSE).and_then(|program| program.try_into().ok());
        let program: &mut SkLookup = found.ok_or(AttachError::Absent { name: CHOOSE })?;
        if program.fd().is_err() {
            program.load().map_err(|source| AttachError::Load { name: CHOOSE, source })?;
        }
        Ok(program)
    }

    /// Loads the second lock, before its maps are taken out.
    pub(crate) fn load_lock(&mut self) -> Result<&mut SchedClassifier, AttachError> {
        self.tc(Hook::SECOND_LOCK.program)
    }
}

/// A device of the current namespace.
pub(crate) struct Target<'a> {
    pub(crate) device: &'a str,
    pub(crate) interface: u32,
    /// Where links are pinned.
    pub(crate) dir: &'a Path,
    pub(crate) mode: TcMode,
    pub(crate) existing: Existing,
}

impl Target<'_> {
    /// Attaches a tc program to the device, unless it is there already.
    pub(crate) fn attach(&self, programs: &mut Programs, hook: Hook) -> Result<(), AttachError> {
        match self.mode {
            TcMode::Tcx => self.attach_tcx(programs, hook),
            TcMode::Clsact => self.attach_clsact(programs.tc(hook.program)?, hook),
        }
    }

    fn attach_tcx(&self, programs: &mut Programs, hook: Hook) -> Result<(), AttachError> {
        let path = hook.pinned(self.dir, self.interface);
        if path.exists() {
            if self.is_attached(&path, hook) {
                return match self.existing {
                    Existing::Keep => Ok(()),
                    Existing::Update => self.update(programs.tc(hook.program)?, hook, &path),
                };
            }
            // The device has gone, and another has its number.
            std::fs::remove_file(&path)
                .map_err(|source| AttachError::Replace { path: path.clone(), source })?;
        }
        let failed =
            |source| AttachError::Attach { name: hook.program, target: self.device.to_owned(), source };
        let program = programs.tc(hook.program)?;
        // First in line: what another program lets through early would pass unseen.
        let options = TcAttachOptions::TcxOrder(LinkOrder::first());
        let id = program.attach_with_options(self.device, hook.direction, options).map_err(failed)?;
        let link = program.take_link(id).map_err(failed)?;
        let link =
            FdLink::try_from(link).map_err(|source| AttachError::Open { path: path.clone(), source })?;
        link.pin(&path).map_err(|source| AttachError::Pin { path, source })?;
        Ok(())
    }

    /// Whether the pinned link is still one of this device's.
    fn is_attached(&self, path: &Path, hook: Hook) -> bool {
        let Ok(info) = PinnedLink::from_pin(path).map(FdLink::from).and_then(|link| link.info()) else {
            return false;
        };
        SchedClassifier::query_tcx(self.device, hook.direction)
            .is_ok_and(|(_, programs)| programs.iter().any(|program| program.id() == info.program_id()))
    }

    fn update(&self, program: &mut SchedClassifier, hook: Hook, path: &Path) -> Result<(), AttachError> {
        let opened =
            PinnedLink::from_pin(path).and_then(|link| SchedClassifierLink::try_from(FdLink::from(link)));
        let link = opened.map_err(|source| AttachError::Open { path: path.to_owned(), source })?;
        let failed =
            |source| AttachError::Attach { name: hook.program, target: self.device.to_owned(), source };
        let id = program.attach_to_link(link).map_err(failed)?;
        // The pin keeps the link; this handle on it may go.
        program.take_link(id).map(drop).map_err(failed)
    }

    fn attach_clsact(&self, program: &mut SchedClassifier, hook: Hook) -> Result<(), AttachError> {
        let failed =
            |source| AttachError::Attach { name: hook.program, target: self.device.to_owned(), source };
        match qdisc_add_clsact(self.device) {
            Ok(()) => self.note_clsact(hook),
            Err(error) if is_present(&error) => {}
            Err(source) => return Err(AttachError::Clsact { device: self.device.to_owned(), source }),
        }
        let options = || NlOptions { priority: FILTER_PRIORITY, handle: hook.handle(), classid: None };
        let attached =
            program.attach_with_options(self.device, hook.direction, TcAttachOptions::Netlink(options()));
        let id = match (attached, self.existing) {
            (Ok(id), _) => id,
            (Err(error), Existing::Keep) if is_there(&error) => return Ok(()),
            (Err(error), Existing::Update) if is_there(&error) => {
                let link = self.filter(hook).map_err(|source| failed(TcError::IoError(source).into()))?;
                program.attach_to_link(link).map_err(failed)?
            }
            (Err(error), _) => return Err(failed(error)),
        };
        // A filter stays until somebody removes it; dropping aya's link would remove it.
        std::mem::forget(program.take_link(id).map_err(failed)?);
        Ok(())
    }

    /// Without its note a qdisc is only left behind in the end, empty.
    fn note_clsact(&self, hook: Hook) {
        let place = if hook == Hook::SECOND_LOCK { Place::Outside } else { Place::Inside };
        if let Err(error) = clsact::note(self.dir, place, self.interface) {
            tracing::warn!(device = self.device, %error, "cannot note that clsact was added");
        }
    }

    /// Takes one program off the device, if it is there.
    pub(crate) fn detach(&self, hook: Hook) -> Result<(), AttachError> {
        let path = hook.pinned(self.dir, self.interface);
        end_link(&path).map_err(|source| AttachError::Replace { path, source })?;
        self.detach_clsact(hook)
    }

    /// Removes our filter from the device, if it is there. (A tcx link is ended with its pin.)
    pub(crate) fn detach_clsact(&self, hook: Hook) -> Result<(), AttachError> {
        if self.mode == TcMode::Tcx {
            return Ok(());
        }
        let failed =
            |source| AttachError::Attach { name: hook.program, target: self.device.to_owned(), source };
        let link = self.filter(hook).map_err(|source| failed(TcError::IoError(source).into()))?;
        match aya::programs::links::Link::detach(link) {
            Err(error) if !is_gone(&error) => Err(failed(error)),
            _ => Ok(()),
        }
    }

    fn filter(&self, hook: Hook) -> io::Result<SchedClassifierLink> {
        SchedClassifierLink::attached(self.device, hook.direction, FILTER_PRIORITY, hook.handle(), None)
    }
}

/// Attaches the socket lookup to a namespace. Updating attaches the new program beside the old one first: both choose
/// the same listener.
pub(crate) fn attach_lookup(
    programs: &mut Programs,
    netns: BorrowedFd<'_>,
    dir: &Path,
    existing: Existing,
) -> Result<(), AttachError> {
    let path = dir.join(CHOOSE);
    if path.exists() && existing == Existing::Keep {
        return Ok(());
    }
    let program = programs.lookup()?;
    let failed = |source| AttachError::Attach { name: CHOOSE, target: "the namespace".to_owned(), source };
    let id = program.attach(netns).map_err(failed)?;
    let link = FdLink::from(program.take_link(id).map_err(failed)?);
    let beside = dir.join("choose_new");
    remove_stale(&beside).map_err(|source| AttachError::Replace { path: beside.clone(), source })?;
    link.pin(&beside).map_err(|source| AttachError::Pin { path: beside.clone(), source })?;
    std::fs::rename(&beside, &path).map_err(|source| AttachError::Replace { path, source })
}

fn os_code(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return error.raw_os_error();
        }
        cause = error.source();
    }
    None
}

fn is_present(error: &TcError) -> bool {
    matches!(error, TcError::AlreadyAttached) || os_code(error) == Some(libc::EEXIST)
}

fn is_there(error: &ProgramError) -> bool {
    os_code(error) == Some(libc::EEXIST)
}

fn is_gone(error: &ProgramError) -> bool {
    matches!(os_code(error), Some(libc::ENOENT | libc::ENODEV | libc::EINVAL))
}
