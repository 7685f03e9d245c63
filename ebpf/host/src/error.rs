//! Why an operation of the host failed: one type for each.

use std::io;
use std::path::PathBuf;

use aya::maps::MapError;

use crate::attach::AttachError;
use crate::bpffs::DirectoryError;
use crate::netns::CookieError;
use crate::object::NotBuilt;
use crate::pod::PodError;

/// Why capture could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The programs are not in this build.
    #[error("finding the eBPF programs")]
    NotBuilt(#[source] NotBuilt),
    /// The directory.
    #[error("opening the directory on bpffs")]
    Directory(#[source] DirectoryError),
    /// A map was missing or of another kind.
    #[error("opening the maps")]
    Maps(#[source] MapError),
    /// A program was refused.
    #[error("loading the node's programs")]
    Program(#[source] AttachError),
    /// The program that notes health probes.
    #[error("noting health probes of {}", cgroup.display())]
    Probe {
        /// The kubelet's cgroup.
        cgroup: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The same, of an earlier process: they would still pass.
    #[error("ending that health probes are noted")]
    Probes(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Why a pod has no number.
#[derive(Debug, thiserror::Error)]
pub enum ReserveError {
    /// All numbers are taken.
    #[error(
        "this node has {pods_max} pods already, and no room for more: WEFT_PODS_MAX says how many there may be, as it was \
         when the maps were pinned (`weft-agent uninstall` removes them)"
    )]
    Full {
        /// How many there can be.
        pods_max: u32,
    },
    /// The maps could not be written.
    #[error("writing the pod's record")]
    Maps(#[source] MapError),
}

/// Why a pod was not enrolled. Nothing of it stays, unless it was enrolled before.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// It has no number.
    #[error("numbering the pod")]
    Reserve(#[source] ReserveError),
    /// Its namespace could not be told from others.
    #[error("reading the namespace's cookie")]
    Cookie(#[source] CookieError),
    /// The name is enrolled with another namespace: release it first.
    #[error("the pod is enrolled with another network namespace")]
    OtherNamespace,
    /// The namespace is not known here: enrol the pod, which may be one that was found pinned.
    #[error("the pod's network namespace is not known")]
    NamespaceUnknown,
    /// The namespace's file could not be kept.
    #[error("keeping the pod's network namespace")]
    Keep(#[source] io::Error),
    /// The directory for its pins.
    #[error("making the pod's directory")]
    Directory(#[source] DirectoryError),
    /// The maps could not be written.
    #[error("writing the pod's record")]
    Maps(#[source] MapError),
    /// Something in or around its namespace.
    #[error("attaching to the pod")]
    Pod(#[source] PodError),
}

/// Why a listener was not registered.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// The pod has no number.
    #[error("numbering the pod")]
    Reserve(#[source] ReserveError),
    /// It is neither IPv4 nor IPv6.
    #[error("the listener is not an internet socket")]
    NotInternet,
    /// The socket could not be asked.
    #[error("asking the listener for its address")]
    Ask(#[source] io::Error),
    /// The kernel refused it: a TCP socket must listen, a UDP socket must be bound.
    #[error("registering the listener")]
    Maps(#[source] MapError),
}

/// Why a flow was not exempted.
#[derive(Debug, thiserror::Error)]
pub enum ExemptError {
    /// The pod has no number.
    #[error("numbering the pod")]
    Reserve(#[source] ReserveError),
    /// The map could not be written: it may be full.
    #[error("writing the exemptions")]
    Maps(#[source] MapError),
}

/// What could not be undone. The rest was, and the pod is not enrolled any more.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// In or around its namespace.
    #[error("detaching from the pod")]
    Pod(#[source] PodError),
    /// The maps could not be written.
    #[error("forgetting the pod")]
    Maps(#[source] MapError),
    /// It was found pinned and never enrolled by this process, so its namespace's sysctls, rule and route remain. If
    /// the namespace is gone, so are they, and this is no error.
    #[error("the pod's namespace is not known, so its routing was not restored")]
    NotRestored,
}
