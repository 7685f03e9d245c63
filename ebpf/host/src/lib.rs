//! Loads the kernel's programs, attaches them to pods and keeps them there: the only crate that knows aya. It knows
//! nothing of Kubernetes, of proxies or of policy.
//!
//! Everything is pinned below one directory of bpffs, so that capture goes on while the agent is away; [`Host::open`]
//! takes over what it finds. All calls are synchronous, and those that enter a pod's namespace do so on the calling
//! thread and leave it before they return.

mod host;
pub mod check;
pub mod memory;
mod error;
mod pod;
mod veths;
mod acceleration;
mod attach;
mod maps;
mod object;
mod log;
mod btf;
mod bpffs;
mod key;
mod hurry;
mod clsact;
mod offload;
mod routing;
mod sysctl;
mod devices;
mod diag;
mod netlink;
pub mod netns;
mod ends;

pub use attach::{AttachError, TcMode};
pub use bpffs::DirectoryError;
pub use check::{Found, Requirement, check};
pub use diag::{DestroyError, TrialError, can_destroy, destroy};
pub use ends::Ends;
pub use error::{EnrolError, ExemptError, OpenError, RegisterError, ReleaseError, ReserveError};
pub use host::{AdoptedPod, ESTABLISHED_PER_POD_MAX, Host, HostConfig, PodAttachment};
pub use key::{KeyError, PodKey};
pub use log::Words;
pub use maps::{Counters, OwnError, Owner};
pub use object::{NotBuilt, OtherProtocols};
pub use pod::PodError;
pub use weft_ebpf_common::{Acceleration, Counter, Exemption, ListenerKind};
