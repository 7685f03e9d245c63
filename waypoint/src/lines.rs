//! HTTP connections of one worker to one endpoint: kept while they idle, one request at a time on HTTP/1.1, many on HTTP/2.
//! Each is of one client, because its tunnel tells the backend which.

mod error;
mod one;
mod two;

pub(crate) use error::LineError;

use crate::body::Body;
use crate::client::Client;
use crate::dial;
use crate::endpoints::Endpoint;
use crate::io::Io;
use crate::origin::Within;
use crate::tunnels::Tunnels;
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::{Request, Response};
use one::{LeaseOne, One};
use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use two::{LeaseTwo, Two};
use weft_l7::destination::Limits;
use weft_l7::limit::{Permit, Room};
use weft_l7::outlier::Fare;

/// A connection without a request is kept so long. Below what servers usually allow, so that they rarely close first.
const IDLE: Duration = Duration::from_secs(50);
/// Idle connections that one request may find closed. Then it gets a new one.
const STALE_MAX: usize = 3;

/// What is spoken with a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Version {
    /// HTTP/1.1.
    One,
    /// HTTP/2, with prior knowledge.
    Two,
}

/// An endpoint, and the connections that one worker has there.
#[derive(Debug)]
pub(crate) struct Upstream {
    /// The endpoint.
    pub(crate) endpoint: Endpoint,
    /// The connections.
    pub(crate) lines: Rc<Lines>,
    /// How it fares with all workers, if somebody wants to know.
    pub(crate) fare: Option<Arc<Fare>>,
}

/// What a connection is wanted for.
#[derive(Clone, Copy)]
pub(crate) struct Demand<'a> {
    /// Where to.
    pub(crate) upstream: &'a Upstream,
    /// For whom.
    pub(crate) client: &'a Client,
    /// How there.
    pub(crate) tunnels: &'a Tunnels,
    /// How much of it.
    pub(crate) room: &'a Room,
    /// Told when there is more room.
    pub(crate) freed: &'a Rc<Notify>,
    /// What is said of connections.
    pub(crate) limits: &'a Limits,
    /// Closes one that idles, of whichever client and endpoint: there is no room for a new one.
    pub(crate) make_room: &'a dyn Fn(),
}

/// A stream of bytes that was one of HTTP/1.
pub(crate) struct Switched {
    /// The stream.
    pub(crate) io: Io,
    /// What had come on it.
    pub(crate) first: Bytes,
    /// Its room among the connections.
    pub(crate) place: Place,
}

/// The room that a connection takes up. Dropped, it is given back, and who waits for room is told.
#[must_use = "the room is given back as soon as this is dropped"]
pub(crate) struct Place {
    permit: Option<Permit>,
    freed: Rc<Notify>,
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(self.permit.take());
        self.freed.notify_one();
    }
}

/// All connections of one worker to one endpoint.
#[derive(Default)]
pub(crate) struct Lines(RefCell<HashMap<IpAddr, Kept>>);

#[derive(Default)]
struct Kept {
    idle: Vec<One>,
    shared: Vec<Two>,
    /// One opens a connection of HTTP/2, the others wait for it.
    opening: Rc<tokio::sync::Mutex<()>>,
}

impl std::fmt::Debug for Lines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lines").field("clients", &self.0.borrow().len()).finish()
    }
}

/// What a response holds of its connection until its body is over.
pub(crate) enum Lease {
    /// All of it.
    One(Box<LeaseOne>),
    /// One of its streams.
    Two(LeaseTwo),
}

impl Lease {
    /// The body is over: the connection is free.
    pub(crate) fn done(self) {
        match self {
            Self::One(lease) => lease.give_back(),
            Self::Two(lease) => drop(lease),
        }
    }

    /// The connection itself, once it is none of HTTP any more. `None` if it broke, or stays HTTP.
    pub(crate) async fn switched(self) -> Option<Switched> {
        match self {
            Self::One(lease) => lease.switched().await,
            Self::Two(_) => None,
        }
    }
}

impl Lines {
    /// Sends a request.
    ///
    /// # Errors
    /// As [`LineError`] says.
    pub(crate) async fn send(
        demand: Demand<'_>,
        version: Version,
        request: Request<Body>,
    ) -> Result<(Response<Incoming>, Lease), LineError> {
        match version {
            Version::One => one::send(demand, request).await,
            Version::Two => two::send(demand, request).await,
        }
    }

    /// Closes what has idled for longer than the limits allow.
    pub(crate) fn close_idle(&self, limits: &Limits) {
        let idle = idle(limits);
        self.0.borrow_mut().retain(|_, kept| {
            kept.idle.retain(|one| one.lives(idle));
            kept.shared.retain(|two| two.lives(idle));
            !kept.idle.is_empty() || !kept.shared.is_empty() || Rc::strong_count(&kept.opening) > 1
        });
    }

    /// Closes one that idles. False if there is none.
    pub(crate) fn close_one(&self) -> bool {
        self.0.borrow_mut().values_mut().any(|kept| {
            let unused = kept.shared.iter().position(Two::is_idle);
            kept.idle.pop().is_some() || unused.map(|place| kept.shared.swap_remove(place)).is_some()
        })
    }
}

/// How long a connection may idle.
fn idle(limits: &Limits) -> Duration {
    limits.idle.unwrap_or(IDLE)
}

/// Whose connections may be used for a client: only its own, where the backend learns whose they are.
fn key(demand: &Demand<'_>) -> IpAddr {
    let anybody = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    if demand.upstream.endpoint.tunnel.is_some() { demand.client.addr.ip() } else { anybody }
}

/// Waits for what others hold.
///
/// # Errors
/// [`LineError::Waited`] once that has taken too long: a backend that hangs must not gather requests for ever.
async fn in_turn<T>(
    demand: &Demand<'_>,
    since: Instant,
    turn: impl Future<Output = T>,
) -> Result<T, LineError> {
    let limit = demand.tunnels.pending_limit();
    tokio::time::timeout_at(since + limit, turn).await.map_err(|_| LineError::Waited(limit))
}

async fn dial(demand: &Demand<'_>, within: Within) -> Result<Io, LineError> {
    let Demand { upstream, client, tunnels, limits, .. } = demand;
    dial::dial(&upstream.endpoint, client, tunnels, (within, limits.connect)).await.map_err(LineError::Dial)
}
