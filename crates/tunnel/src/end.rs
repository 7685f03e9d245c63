//! How a carried connection ends, and what it carried.

use std::cell::Cell;
use std::cell::RefCell;
use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum End {
    /// Both sides were done.
    Closed,
    /// The application on this node reset it, or its socket failed.
    AppReset,
    /// The other side (the tunnel's peer, or the second application) reset it.
    PeerReset,
    /// The other side refused it.
    Refused(Refused),
    /// The tunnel broke.
    TunnelLost,
    /// The tunnel broke before the other side took the connection and before a byte was sent: it may be tried
    /// through another one. The application's socket is left as it was.
    Unopened,
    /// This side ended it.
    Stopped(Stop),
}

/// Why a stream's bytes do not go on. The errors of a [`TunnelIo`](crate::io::TunnelIo) hold it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Broken {
    /// The peer reset it.
    #[error("the peer reset the stream")]
    Reset,
    /// The server refused it.
    #[error("the server refused the stream")]
    Refused(#[source] Refused),
    /// The tunnel broke.
    #[error("the tunnel broke")]
    Lost,
    /// The tunnel broke before the server took the stream and before a byte was sent: it may be tried through another
    /// one.
    #[error("the tunnel broke before the server took the stream")]
    Unopened,
    /// Nothing more can be sent: this side has finished, or the peer has said all and wants to hear no more.
    #[error("the stream takes no more bytes")]
    Closed,
}

impl Broken {
    /// What broke the stream that an error comes from, however deep it lies in there: HTTP wraps what its connection
    /// meets. `None` if it is another error.
    pub fn find(error: &(dyn Error + 'static)) -> Option<Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            // An `io::Error` shows the source of what it holds as its own, and not what it holds.
            let held = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            if let Some(broken) = held.and_then(|held| held.downcast_ref()) {
                return Some(*broken);
            }
            next = error.source();
        }
        None
    }
}

impl From<Broken> for End {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Reset => Self::PeerReset,
            Broken::Refused(why) => Self::Refused(why),
            Broken::Lost => Self::TunnelLost,
            Broken::Unopened => Self::Unopened,
            Broken::Closed => Self::Closed,
        }
    }
}

impl From<Broken> for io::Error {
    fn from(broken: Broken) -> Self {
        let kind = match broken {
            Broken::Reset => io::ErrorKind::ConnectionReset,
            Broken::Refused(_) => io::ErrorKind::ConnectionRefused,
            Broken::Lost | Broken::Unopened => io::ErrorKind::ConnectionAborted,
            Broken::Closed => io::ErrorKind::BrokenPipe,
        };
        Self::new(kind, broken)
    }
}

/// Why this side ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stop {
    /// A policy changed and denies it now.
    Policy,
    /// The pod left the mesh.
    Released,
    /// The proxy is going away.
    Drained,
    /// Nothing was carried for as long as the settings allow.
    Idle,
    /// It has lasted as long as the settings allow.
    Age,
}

/// Why the other side refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refused {
    /// Its policy.
    Policy,
    /// It has no such workload.
    NoWorkload,
    /// The source is not ours to speak for.
    ForeignSource,
    /// Its application cannot be reached.
    AppUnreachable,
    /// It could not read the request.
    Malformed,
    /// Its node is draining.
    Draining,
    /// Something that this version has no word for.
    Other,
}

impl Refused {
    /// As the wire writes it (docs/tunnel.md).
    pub const fn byte(self) -> u8 {
        match self {
            Self::Other => 0,
            Self::Policy => 1,
            Self::NoWorkload => 2,
            Self::ForeignSource => 3,
            Self::AppUnreachable => 4,
            Self::Malformed => 5,
            Self::Draining => 6,
        }
    }

    /// From the wire.
    pub const fn from_byte(byte: u8) -> Self {
        match byte {
            1 => Self::Policy,
            2 => Self::NoWorkload,
            3 => Self::ForeignSource,
            4 => Self::AppUnreachable,
            5 => Self::Malformed,
            6 => Self::Draining,
            _ => Self::Other,
        }
    }
}

impl Error for Refused {}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Policy => "policy",
            Self::NoWorkload => "no_workload",
            Self::ForeignSource => "foreign_source",
            Self::AppUnreachable => "app_unreachable",
            Self::Malformed => "malformed",
            Self::Draining => "draining",
            Self::Other => "other",
        })
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("closed"),
            Self::AppReset => f.write_str("app_reset"),
            Self::PeerReset => f.write_str("peer_reset"),
            Self::Refused(why) => write!(f, "refused_{why}"),
            Self::TunnelLost | Self::Unopened => f.write_str("tunnel_lost"),
            Self::Stopped(Stop::Policy) => f.write_str("policy_changed"),
            Self::Stopped(Stop::Released) => f.write_str("pod_released"),
            Self::Stopped(Stop::Drained) => f.write_str("drained"),
            Self::Stopped(Stop::Idle) => f.write_str("idle_timeout"),
            Self::Stopped(Stop::Age) => f.write_str("max_duration"),
        }
    }
}

/// A carried connection as its relay and its owner share it: what it has carried, and whether it shall end.
#[derive(Debug, Default)]
pub struct Carried {
    from_app: Cell<u64>,
    /// Who delivers may be another task than the relay's, which then sleeps.
    to_app: Rc<Cell<u64>>,
    stop: Cell<Option<Stop>>,
    relay: RefCell<Option<Waker>>,
}

impl Carried {
    /// Bytes that came from the (first) application.
    pub fn from_app(&self) -> u64 {
        self.from_app.get()
    }

    /// Bytes that went to the (first) application.
    pub fn to_app(&self) -> u64 {
        self.to_app.get()
    }

    /// Asks the relay to end: both sides are reset.
    pub fn stop(&self, why: Stop) {
        if self.stop.get().is_none() {
            self.stop.set(Some(why));
            if let Some(waker) = self.relay.take() {
                waker.wake();
            }
        }
    }

    /// So many more came from it.
    pub fn add_from_app(&self, bytes: usize) {
        self.from_app.set(self.from_app.get() + bytes as u64);
    }

    /// So many more went to it.
    pub fn add_to_app(&self, bytes: usize) {
        self.to_app.set(self.to_app.get() + bytes as u64);
    }

    /// What counts the bytes to the application, for whoever delivers them.
    pub(crate) fn to_app_count(&self) -> Rc<Cell<u64>> {
        self.to_app.clone()
    }

    /// Waits until it shall end. Cancel-safe; one at a time may wait.
    pub async fn stopped(&self) -> Stop {
        poll_fn(|cx| self.poll_stop(cx.waker()).map_or(Poll::Pending, Poll::Ready)).await
    }

    /// Why it shall end, if it shall; else remembers whom to wake.
    pub(crate) fn poll_stop(&self, waker: &Waker) -> Option<Stop> {
        let stop = self.stop.get();
        if stop.is_none() {
            let mut relay = self.relay.borrow_mut();
            if !relay.as_ref().is_some_and(|known| known.will_wake(waker)) {
                *relay = Some(waker.clone());
            }
        }
        stop
    }
}
