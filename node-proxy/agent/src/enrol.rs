//! The work of a thread: everything between "this pod is wanted" and "its listeners are there".

use crate::capture::{Attachment, Capture, CaptureError, Chosen, within};
use crate::existing::{self, Connection, Judged};
use crate::reconcile::{Before, ExistingRule, Key, Wanted};
use crate::sockets::{self, SocketError};
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, fstat, stat};
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use weft_agent_link::{Held, Listener, ListenerKind, SocketKind, Workers};
use weft_core::enrolment::Acceleration;
use weft_core::names::WorkloadUid;

/// A namespace as the agent holds it while its pod is enrolled.
#[derive(Debug, Clone)]
pub struct Netns {
    /// Its descriptor.
    pub fd: Arc<OwnedFd>,
    /// The kernel's word for it.
    pub cookie: u64,
}

/// A pod that is enrolled.
#[derive(Debug)]
pub struct Enrolled {
    /// The pod as it was wanted.
    pub wanted: Wanted,
    /// Its key in the kernel.
    pub key: Key,
    /// Its namespace.
    pub netns: Netns,
    /// Its listeners.
    pub listeners: Vec<Listener<Arc<OwnedFd>>>,
    /// Becomes readable when one of its devices comes or goes.
    pub devices: Option<OwnedFd>,
    /// Devices on which it is not contained.
    pub not_contained: Vec<String>,
    /// Connections older than its enrolment for which there was no room: they break.
    pub cut_off: usize,
}

/// What a thread needs besides the pod itself.
#[derive(Debug)]
pub struct Task {
    /// The pod.
    pub wanted: Wanted,
    /// Its namespace, if the CNI plugin has passed it.
    pub netns: Option<Arc<OwnedFd>>,
    /// Listeners that a proxy has brought.
    pub held: Option<Held>,
    /// How many of each kind to open.
    pub workers: Workers,
    /// Its key in the kernel.
    pub key: Key,
    /// Whether it is captured already.
    pub before: Before,
}

/// A pod could not be enrolled.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// Nobody has said where its namespace is.
    #[error("its network namespace is not known")]
    NoNetns,
    /// The namespace is not there.
    #[error("opening the network namespace {}", path.display())]
    Open {
        /// Where it should be.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is no network namespace.
    #[error("asking which namespace it is")]
    Cookie(#[source] CaptureError),
    /// It is the node's own: its traffic is not a pod's.
    #[error("this is the node's own network namespace")]
    NodesOwn,
    /// Another pod is enrolled with it, so whose traffic it is cannot be told.
    #[error("its network namespace is that of {other} already")]
    Claimed {
        /// The other pod.
        other: WorkloadUid,
    },
    /// Where the captured namespace was there is another one now.
    #[error("its path leads to another network namespace than the one that is captured")]
    Replaced,
    /// It cannot be entered.
    #[error("entering its network namespace")]
    Enter(#[source] CaptureError),
    /// Its listeners cannot be opened.
    #[error("opening its listeners")]
    Listeners(#[source] SocketError),
    /// Its traffic cannot be captured.
    #[error("capturing its traffic")]
    Capture(#[source] CaptureError),
    /// The programs refuse a listener.
    #[error("registering its {kind:?} listener")]
    Register {
        /// Which.
        kind: ListenerKind,
        /// Why.
        source: CaptureError,
    },
}

/// An error with all of its causes, for people.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        // Writing to a string cannot fail.
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}

/// Enrols and releases pods, from threads that may block.
pub struct Enroller {
    capture: Arc<dyn Capture>,
    nodes_own: u64,
    /// Which namespace is whose. Two pods in one could not be told apart.
    claims: Mutex<HashMap<u64, WorkloadUid>>,
    /// What this process has captured or taken over, so that the kernel side knows its namespace.
    taken: Mutex<HashSet<Key>>,
}

impl Enroller {
    /// For this process's node.
    ///
    /// # Errors
    /// The node's own namespace does not say which it is.
    pub fn new(capture: Arc<dyn Capture>) -> Result<Self, EnrolError> {
        let own = open(Path::new("/proc/self/ns/net"))?;
        let nodes_own = capture.netns_cookie(own.as_fd()).map_err(EnrolError::Cookie)?;
        Ok(Self { capture, nodes_own, claims: Mutex::default(), taken: Mutex::default() })
    }

    /// Does all of it or nothing. What was captured before stays captured whatever fails.
    ///
    /// # Errors
    /// As [`EnrolError`] says.
    pub fn enrol(&self, task: Task) -> Result<Enrolled, EnrolError> {
        let netns = self.netns(&task)?;
        let uid = task.wanted.uid.clone();
        let captured = || self.capture.captured(&task.key);
        if task.before == Before::Captured && captured().is_some_and(|cookie| cookie != netns.cookie) {
            return Err(EnrolError::Replaced);
        }
        self.claim(netns.cookie, &uid)?;
        let (before, cookie) = (task.before, netns.cookie);
        self.enrol_in(task, netns).inspect_err(|_| {
            if before == Before::Nothing {
                self.disclaim(cookie, &uid);
            }
        })
    }

    /// Leaves a pod's namespace exactly as it was. `netns` is where it should be, for a pod that only an
    /// earlier agent has captured.
    ///
    /// # Errors
    /// Something of it is left.
    pub fn release(&self, uid: &WorkloadUid, key: &Key, netns: Option<&Path>) -> Result<(), CaptureError> {
        if !self.taken.lock().contains(key)
            && let Some(fd) = netns.and_then(|path| open(path).ok())
        {
            // What it changed in the namespace can only be restored from there. If this fails, the namespace
            // is another one by now, or is going.
            let acceleration = Acceleration::Off;
            let pod = Attachment { key, netns: fd.as_fd(), addresses: &[], acceleration };
            if let Err(error) = self.capture.enrol(pod) {
                tracing::warn!(pod = %uid, error = chain(&error), "releasing a pod without its namespace");
            }
        }
        self.capture.release(key)?;
        self.taken.lock().remove(key);
        self.claims.lock().retain(|_, owner| owner != uid);
        Ok(())
    }

    /// Undoes what an earlier agent left of a pod that nobody knows.
    ///
    /// # Errors
    /// Something of it is left.
    pub fn release_orphan(&self, key: &Key) -> Result<(), CaptureError> {
        self.capture.release(key)
    }

    /// Captures on devices that were not there before, and says on which the pod is not contained.
    ///
    /// # Errors
    /// One of them cannot be attached to.
    pub fn refresh_devices(&self, key: &Key) -> Result<Vec<String>, CaptureError> {
        self.capture.refresh_devices(key)?;
        Ok(self.capture.uncontained(key))
    }

    /// The kernel side, for what needs no thread.
    pub fn capture(&self) -> &dyn Capture {
        &*self.capture
    }

    /// True for a listener in the node's own namespace.
    pub fn is_nodes_own(&self, socket: BorrowedFd<'_>) -> bool {
        self.capture.socket_cookie(socket).is_ok_and(|cookie| cookie == self.nodes_own)
    }

    /// Makes ready sockets in a namespace.
    ///
    /// # Errors
    /// It cannot be entered, or has no such sockets.
    pub fn ready(&self, netns: &Netns, kind: SocketKind, count: u16) -> Result<Vec<OwnedFd>, EnrolError> {
        let own = |socket: BorrowedFd<'_>| self.capture.own(socket);
        let made = within(&*self.capture, netns.fd.as_fd(), || sockets::ready(kind, count, &own));
        made.map_err(EnrolError::Enter)?.map_err(EnrolError::Listeners)
    }

    fn netns(&self, task: &Task) -> Result<Netns, EnrolError> {
        let fd = match &task.netns {
            Some(fd) => fd.clone(),
            None => Arc::new(open(task.wanted.netns.as_ref().ok_or(EnrolError::NoNetns)?)?),
        };
        let cookie = self.capture.netns_cookie(fd.as_fd()).map_err(EnrolError::Cookie)?;
        if cookie == self.nodes_own { Err(EnrolError::NodesOwn) } else { Ok(Netns { fd, cookie }) }
    }

    fn claim(&self, cookie: u64, uid: &WorkloadUid) -> Result<(), EnrolError> {
        let mut claims = self.claims.lock();
        let owner = claims.entry(cookie).or_insert_with(|| uid.clone());
        if owner == uid { Ok(()) } else { Err(EnrolError::Claimed { other: owner.clone() }) }
    }

    fn disclaim(&self, cookie: u64, uid: &WorkloadUid) {
        self.claims.lock().retain(|claimed, owner| *claimed != cookie || owner != uid);
    }

    fn enrol_in(&self, task: Task, netns: Netns) -> Result<Enrolled, EnrolError> {
        let wanted = task.wanted;
        let held = task.held.filter(|held| held.netns_cookie == netns.cookie);
        let listeners = match held.and_then(|held| self.complete(held)) {
            Some(listeners) => listeners,
            None => self.open_listeners(&netns, task.workers)?,
        };
        let cut_off = match self.capture_with(&task.key, &wanted, &netns, &listeners) {
            Ok(cut_off) => cut_off,
            Err(error) => {
                if task.before == Before::Nothing
                    && let Err(left) = self.capture.release(&task.key)
                {
                    tracing::warn!(pod = %wanted.uid, error = chain(&left), "a failed enrolment is not undone");
                }
                return Err(error);
            }
        };
        self.taken.lock().insert(task.key.clone());
        let share = |listener: Listener| Listener { kind: listener.kind, socket: Arc::new(listener.socket) };
        let listeners = listeners.into_iter().map(share).collect();
        let devices = self.capture.device_events(&task.key).inspect_err(|error| {
            tracing::warn!(pod = %wanted.uid, error = chain(error), "new devices of a pod are not seen");
        });
        let not_contained = self.capture.uncontained(&task.key);
        Ok(Enrolled {
            wanted,
            key: task.key,
            netns,
            listeners,
            devices: devices.ok(),
            not_contained,
            cut_off,
        })
    }

    /// The listeners come first, so that no packet is dropped for want of one. Says how many older connections had no
    /// room: no reason to leave the pod in plain text.
    fn capture_with(
        &self,
        key: &Key,
        wanted: &Wanted,
        netns: &Netns,
        listeners: &[Listener],
    ) -> Result<usize, EnrolError> {
        self.register(key, netns.cookie, listeners)?;
        let pod = Attachment {
            key,
            netns: netns.fd.as_fd(),
            addresses: &wanted.addresses,
            acceleration: wanted.acceleration,
        };
        self.capture.enrol(pod).map_err(EnrolError::Capture)?;
        if self.capture.is_joining(key).map_err(EnrolError::Capture)? {
            // The programs see to those that speak meanwhile.
            let older = within(&*self.capture, netns.fd.as_fd(), existing::older_connections);
            let open: Vec<_> = older.map_err(EnrolError::Enter)?.iter().map(Connection::pair).collect();
            let cut_off = self.capture.exempt(key, &open).map_err(EnrolError::Capture)?;
            self.capture.settle(key).map_err(EnrolError::Capture)?;
            if cut_off > 0 {
                tracing::warn!(
                    pod = %wanted.uid,
                    cut_off,
                    "no room to let all older connections of a pod go on: these break"
                );
            }
            return Ok(cut_off);
        }
        Ok(0)
    }

    /// Judges the connections of a pod that are older than its enrolment: forgets what has closed, ends what has to
    /// end, and says what goes on. `last` is what it said the last time.
    ///
    /// # Errors
    /// They cannot be looked at. What could not be ended passes no more all the same, and breaks.
    pub fn judge_existing(
        &self,
        key: &Key,
        netns: &Netns,
        last: &[Connection],
        rule: &ExistingRule,
    ) -> Result<Vec<Connection>, EnrolError> {
        let exempt = self.capture.exempted(key).map_err(EnrolError::Capture)?;
        if exempt.is_empty() {
            return Ok(Vec::new());
        }
        let now = within(&*self.capture, netns.fd.as_fd(), existing::connections);
        let now = now.map_err(EnrolError::Enter)?;
        let Judged { stay, end, closed } = existing::judge(&exempt, last, now, rule);
        if !end.is_empty() {
            // Before the exemption ends: the RST to the peer still needs it.
            let destroyed = within(&*self.capture, netns.fd.as_fd(), || self.capture.destroy(&end));
            match destroyed.map_err(EnrolError::Enter)? {
                Ok(ended) => tracing::info!(pod = key.as_str(), ended, "older connections ended"),
                Err(error) => {
                    tracing::warn!(
                        pod = key.as_str(),
                        error = chain(&error),
                        "older connections only cut off"
                    );
                }
            }
        }
        let over = [end, closed].concat();
        self.capture.end_exemptions(key, &over).map_err(EnrolError::Capture)?;
        Ok(stay)
    }

    /// Listeners that a proxy brought, if they are what they should be and none is missing.
    fn complete(&self, held: Held) -> Option<Vec<Listener>> {
        let has = |kind| held.listeners.iter().any(|listener| listener.kind == kind);
        if !ListenerKind::ALL.into_iter().all(has) {
            tracing::warn!(pod = %held.uid, "the proxy does not hold every listener; opening new ones");
            return None;
        }
        for listener in &held.listeners {
            let cookie = self.capture.socket_cookie(listener.socket.as_fd());
            let here = cookie.is_ok_and(|cookie| cookie == held.netns_cookie);
            if let Err(error) = sockets::check_held(listener) {
                tracing::warn!(pod = %held.uid, error = chain(&error), "the proxy brought a foreign socket");
                return None;
            }
            if !here {
                tracing::warn!(pod = %held.uid, "the proxy brought a socket of another namespace");
                return None;
            }
        }
        Some(held.listeners)
    }

    fn open_listeners(&self, netns: &Netns, workers: Workers) -> Result<Vec<Listener>, EnrolError> {
        let own = |socket: BorrowedFd<'_>| self.capture.own(socket);
        let opened = within(&*self.capture, netns.fd.as_fd(), || sockets::listeners(workers, &own));
        opened.map_err(EnrolError::Enter)?.map_err(EnrolError::Listeners)
    }

    /// One member of a `SO_REUSEPORT` group stands for all: the kernel chooses among them (design §2). Of the sockets
    /// for datagrams one has them all, so workers take turns by pod.
    fn register(&self, key: &Key, cookie: u64, listeners: &[Listener]) -> Result<(), EnrolError> {
        for kind in ListenerKind::ALL {
            let Some(chosen) = chosen(kind) else { continue };
            let of_kind: Vec<_> = listeners.iter().filter(|listener| listener.kind == kind).collect();
            let turn = usize::try_from(cookie).unwrap_or(0).checked_rem(of_kind.len());
            let Some(listener) = turn.map(|turn| of_kind[turn]) else { continue };
            let registered = self.capture.register(key, chosen, listener.socket.as_fd());
            registered.map_err(|source| EnrolError::Register { kind, source })?;
        }
        Ok(())
    }
}

/// What the programs choose a listener for. Tunnels come to their port by themselves.
fn chosen(kind: ListenerKind) -> Option<Chosen> {
    match kind {
        ListenerKind::Outbound => Some(Chosen::Outbound),
        ListenerKind::InboundPlain => Some(Chosen::Inbound),
        ListenerKind::Dns => Some(Chosen::Dns),
        ListenerKind::Tunnel => None,
    }
}

/// True if there is a namespace at the path, and it is not this one. As long as this one is held, its number in the
/// kernel's file system is nobody else's.
pub fn leads_elsewhere(path: &Path, netns: &Netns) -> bool {
    let here = fstat(&*netns.fd).map(|stat| (stat.st_dev, stat.st_ino));
    let there = stat(path).map(|stat| (stat.st_dev, stat.st_ino));
    // On another device it is none: one is being made or removed there.
    here.is_ok_and(|here| there.is_ok_and(|there| here.0 == there.0 && here.1 != there.1))
}

fn open(path: &Path) -> Result<OwnedFd, EnrolError> {
    // Nonblocking: a path that someone has made a pipe of must not hold the thread.
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    nix::fcntl::open(path, flags, Mode::empty())
        .map_err(|errno| EnrolError::Open { path: path.to_owned(), source: errno.into() })
}

#[cfg(test)]
mod tests;
