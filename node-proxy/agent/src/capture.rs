//! What the agent asks of the kernel side: a seam, so that everything above it is tested without root.
//!
//! `weft-ebpf-host` does it on a real machine (`capture::kernel`).

use crate::reconcile::Key;
use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{BorrowedFd, OwnedFd};
use weft_core::enrolment::Acceleration;

pub mod kernel;

/// A pod whose traffic is to be captured.
#[derive(Debug, Clone, Copy)]
pub struct Attachment<'a> {
    /// Its key.
    pub key: &'a Key,
    /// Its network namespace.
    pub netns: BorrowedFd<'a>,
    /// Its addresses.
    pub addresses: &'a [IpAddr],
    /// How far its connections are to be accelerated.
    pub acceleration: Acceleration,
}

/// What a listener is chosen for by the programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chosen {
    /// What the pod's applications open.
    Outbound,
    /// What others open to the pod outside a tunnel.
    Inbound,
    /// The pod's DNS queries.
    Dns,
}

/// The two ends of a connection: the pod's, and the other.
pub type Pair = (SocketAddr, SocketAddr);

/// The kernel side refused something.
#[derive(Debug, thiserror::Error)]
#[error("{doing}")]
pub struct CaptureError {
    doing: &'static str,
    source: Box<dyn Error + Send + Sync>,
}

impl CaptureError {
    /// `doing` says what was tried.
    pub fn new(doing: &'static str, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { doing, source: source.into() }
    }
}

/// The kernel side. All of it but [`Capture::counters`] and [`Capture::socket_cookie`] may block, and is not
/// called on an async thread.
pub trait Capture: Send + Sync + 'static {
    /// The kernel's word for a network namespace.
    ///
    /// # Errors
    /// It is no network namespace.
    fn netns_cookie(&self, netns: BorrowedFd<'_>) -> Result<u64, CaptureError>;

    /// The kernel's word for the namespace of a socket.
    ///
    /// # Errors
    /// It is no socket.
    fn socket_cookie(&self, socket: BorrowedFd<'_>) -> Result<u64, CaptureError>;

    /// Runs `work` with this thread in the namespace, and brings the thread back.
    ///
    /// # Errors
    /// The namespace cannot be entered; `work` has not run then.
    fn inside(&self, netns: BorrowedFd<'_>, work: &mut dyn FnMut()) -> Result<(), CaptureError>;

    /// Captures a pod's traffic: all of it or nothing. Once more changes nothing. One that was not captured is joining
    /// then, until [`Capture::settle`]: see there.
    ///
    /// # Errors
    /// Nothing of it is left then.
    fn enrol(&self, pod: Attachment<'_>) -> Result<(), CaptureError>;

    /// The kernel's word for the namespace that is captured under a key, also by an earlier agent; `None` if none is.
    fn captured(&self, key: &Key) -> Option<u64>;

    /// Whether a pod is joining, also by the word of an earlier agent.
    ///
    /// # Errors
    /// The map cannot be read.
    fn is_joining(&self, key: &Key) -> Result<bool, CaptureError>;

    /// Ends a pod's joining. While it lasts, what others open to the pod is still the application's, and the older
    /// connections of which it sends anything are exempted by the programs.
    ///
    /// # Errors
    /// The map refuses it.
    fn settle(&self, key: &Key) -> Result<(), CaptureError>;

    /// Gives the programs a listener of a pod that is, or is about to be, captured.
    ///
    /// # Errors
    /// The map refuses it.
    fn register(&self, key: &Key, chosen: Chosen, socket: BorrowedFd<'_>) -> Result<(), CaptureError>;

    /// Marks a socket, and what it will accept, as the mesh's own.
    ///
    /// # Errors
    /// The map refuses it.
    fn own(&self, socket: BorrowedFd<'_>) -> Result<(), CaptureError>;

    /// Lets connections of a pod pass that are older than its capture, and says for how many there was no room.
    ///
    /// # Errors
    /// The map refuses them for another reason.
    fn exempt(&self, key: &Key, connections: &[Pair]) -> Result<usize, CaptureError>;

    /// The connections that pass so, also by the word of an earlier agent.
    ///
    /// # Errors
    /// The map cannot be read.
    fn exempted(&self, key: &Key) -> Result<Vec<Pair>, CaptureError>;

    /// Lets them pass no more.
    ///
    /// # Errors
    /// The map refuses it.
    fn end_exemptions(&self, key: &Key, connections: &[Pair]) -> Result<(), CaptureError>;

    /// Ends connections of the namespace that the calling thread is in: both ends are told. Says how many it were.
    ///
    /// # Errors
    /// The kernel cannot, or refuses.
    fn destroy(&self, connections: &[Pair]) -> Result<usize, CaptureError>;

    /// Tries whether this kernel can do that at all.
    ///
    /// # Errors
    /// It cannot, or nobody knows.
    fn can_destroy(&self) -> Result<(), CaptureError>;

    /// Changes the addresses of a captured pod.
    ///
    /// # Errors
    /// The map refuses them.
    fn set_addresses(&self, key: &Key, addresses: &[IpAddr]) -> Result<(), CaptureError>;

    /// Accelerates the connections of a captured pod so far from now on.
    ///
    /// # Errors
    /// The map refuses it.
    fn set_acceleration(&self, key: &Key, acceleration: Acceleration) -> Result<(), CaptureError>;

    /// Leaves a pod's namespace exactly as it was. One that is not captured is no mistake.
    ///
    /// # Errors
    /// Something of it is left.
    fn release(&self, key: &Key) -> Result<(), CaptureError>;

    /// Becomes readable when a device of a captured pod comes or goes.
    ///
    /// # Errors
    /// The pod is not captured.
    fn device_events(&self, key: &Key) -> Result<OwnedFd, CaptureError>;

    /// Captures on devices that were not there before.
    ///
    /// # Errors
    /// One of them cannot be attached to.
    fn refresh_devices(&self, key: &Key) -> Result<(), CaptureError>;

    /// Devices of a pod on which one that may forge packets is not contained.
    fn uncontained(&self, key: &Key) -> Vec<String>;

    /// What happened to packets, by kind, since the programs were loaded.
    fn counters(&self) -> Vec<(&'static str, u64)>;
}

/// [`Capture::inside`] for work that has a result.
///
/// # Errors
/// As [`Capture::inside`].
pub fn within<T>(
    capture: &dyn Capture,
    netns: BorrowedFd<'_>,
    work: impl FnOnce() -> T,
) -> Result<T, CaptureError> {
    let (mut work, mut done) = (Some(work), None);
    capture.inside(netns, &mut || done = work.take().map(|work| work()))?;
    done.ok_or_else(|| CaptureError::new("working in a namespace", "the work was not done"))
}
