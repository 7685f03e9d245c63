//! HTTP connections of one worker to one endpoint: kept while they idle, one request at a time on HTTP/1.1, many on HTTP/2.
//! Each is of one client, because its tunnel tells the backend which.

use crate::body::Body;
use crate::client::Client;
use crate::config;
use crate::endpoints::Endpoint;
use crate::io::Io;
use crate::tunnels::{TunnelError, Tunnels};
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot};
use tokio::task::spawn_local;
use tokio::time::Instant;
use weft_l7::destination::Limits;
use weft_l7::limit::{Overflow, Permit, Room};
use weft_l7::retry::{Failure, Sent};
use weft_runtime::log::describe;
use weft_tunnel::end::Broken;
use weft_tunnel::request::ConnectRequest;
use weft_tunnel::words::{Authority, Forwarded};

/// A connection without a request is kept so long. Below what servers usually allow, so that they rarely close first.
const IDLE: Duration = Duration::from_secs(50);
/// Idle connections of one client to one endpoint.
const IDLE_MAX: usize = 64;
/// Streams of one HTTP/2 connection before another one is opened, unless a rule says otherwise: what servers usually
/// allow.
const STREAMS_MAX: u32 = 100;
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

/// Why a request got no response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LineError {
    /// There is no room for it.
    #[error(transparent)]
    Overflow(Overflow),
    /// There is no tunnel.
    #[error(transparent)]
    Tunnel(TunnelError),
    /// There is no connection to the application.
    #[error("cannot reach {to}")]
    Connect {
        /// Where to.
        to: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Nor was there one in time.
    #[error("cannot reach {0} in time")]
    Late(SocketAddr),
    /// The connection did not get as far as HTTP.
    #[error("the backend speaks no HTTP")]
    Handshake(#[source] hyper::Error),
    /// The backend broke off.
    #[error("the backend broke off")]
    Broken {
        /// How.
        #[source]
        source: hyper::Error,
        /// How much it had got.
        sent: Sent,
    },
}

impl LineError {
    /// What it means for another try.
    pub(crate) fn failure(&self) -> Failure {
        match self {
            Self::Overflow(_) => Failure::Overload,
            Self::Tunnel(_) | Self::Connect { .. } | Self::Late(_) | Self::Handshake(_) => Failure::Connect,
            Self::Broken { source, .. } => match Broken::find(source) {
                // The pod's own proxy said no, or never heard of it: the application has seen nothing.
                Some(Broken::Refused(_) | Broken::Unopened) => Failure::Connect,
                _ if is_refused_stream(source) => Failure::Refused,
                _ => Failure::Reset,
            },
        }
    }

    /// How much of the request the backend may have got.
    pub(crate) fn sent(&self) -> Sent {
        match self {
            Self::Broken { sent, .. } if self.failure() == Failure::Reset => *sent,
            _ => Sent::Nothing,
        }
    }
}

/// HTTP/2's REFUSED_STREAM, which hyper shows nowhere but as a cause.
fn is_refused_stream(error: &hyper::Error) -> bool {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            return error.reason() == Some(h2::Reason::REFUSED_STREAM);
        }
        next = error.source();
    }
    false
}

/// What a connection is wanted for.
#[derive(Clone, Copy)]
pub(crate) struct Demand<'a> {
    /// Where to.
    pub(crate) endpoint: &'a Endpoint,
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

/// A stream of bytes that was one of HTTP/1, and what had come on it.
pub(crate) type Switched = (Io, Bytes);

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

struct One {
    sender: http1::SendRequest<Body>,
    opened: Instant,
    idle_since: Instant,
    requests: u32,
    switched: oneshot::Receiver<Switched>,
}

#[derive(Clone)]
struct Two {
    sender: http2::SendRequest<Body>,
    opened: Instant,
    idle_since: Rc<Cell<Instant>>,
    requests: Rc<Cell<u32>>,
    streams: Rc<Cell<u32>>,
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

/// A whole connection.
pub(crate) struct LeaseOne {
    lines: Rc<Lines>,
    client: IpAddr,
    one: One,
    freed: Rc<Notify>,
    requests_max: Option<u32>,
}

/// A stream of a connection.
pub(crate) struct LeaseTwo {
    streams: Rc<Cell<u32>>,
    idle_since: Rc<Cell<Instant>>,
    freed: Rc<Notify>,
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
            Self::One(lease) => lease.one.switched.await.ok(),
            Self::Two(_) => None,
        }
    }
}

impl LeaseOne {
    fn give_back(self) {
        let Self { lines, client, mut one, freed, requests_max } = self;
        if !one.sender.is_closed() && requests_max.is_none_or(|most| one.requests < most) {
            let mut all = lines.0.borrow_mut();
            let kept = all.entry(client).or_default();
            if kept.idle.len() < IDLE_MAX {
                one.idle_since = Instant::now();
                kept.idle.push(one);
            }
        }
        freed.notify_one();
    }
}

impl Drop for LeaseTwo {
    fn drop(&mut self) {
        self.streams.set(self.streams.get().saturating_sub(1));
        self.idle_since.set(Instant::now());
        self.freed.notify_one();
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
            Version::One => send_one(demand, request).await,
            Version::Two => send_two(demand, request).await,
        }
    }

    /// Closes what has idled for so long, or for as long as is usual.
    pub(crate) fn close_idle(&self, idle: Option<Duration>) {
        let limit = idle.unwrap_or(IDLE);
        self.0.borrow_mut().retain(|_, kept| {
            kept.idle.retain(|one| one.idle_since.elapsed() < limit && !one.sender.is_closed());
            kept.shared.retain(|two| {
                let idles = two.streams.get() == 0 && two.idle_since.get().elapsed() >= limit;
                !idles && !two.sender.is_closed()
            });
            !kept.idle.is_empty() || !kept.shared.is_empty() || Rc::strong_count(&kept.opening) > 1
        });
    }

    /// Closes one that idles. False if there is none.
    pub(crate) fn close_one(&self) -> bool {
        self.0.borrow_mut().values_mut().any(|kept| {
            let unused = kept.shared.iter().position(|two| two.streams.get() == 0);
            kept.idle.pop().is_some() || unused.map(|place| kept.shared.swap_remove(place)).is_some()
        })
    }

    async fn take_idle(&self, key: IpAddr, limits: &Limits) -> Option<One> {
        loop {
            let mut one = self.0.borrow_mut().get_mut(&key)?.idle.pop()?;
            let idles = one.idle_since.elapsed() >= limits.idle.unwrap_or(IDLE);
            let is_old = limits.age.is_some_and(|age| one.opened.elapsed() >= age);
            if !idles && !is_old && !one.sender.is_closed() && one.sender.ready().await.is_ok() {
                return Some(one);
            }
        }
    }

    fn take_shared(&self, key: IpAddr, limits: &Limits) -> Option<Two> {
        let streams_max = limits.streams_per_connection.unwrap_or(STREAMS_MAX);
        let usable = |two: &&Two| {
            two.streams.get() < streams_max
                && !two.sender.is_closed()
                && limits.requests_per_connection.is_none_or(|most| two.requests.get() < most)
                && limits.age.is_none_or(|age| two.opened.elapsed() < age)
        };
        self.0.borrow().get(&key)?.shared.iter().find(usable).cloned()
    }
}

/// Whose connections may be used for a client: only its own, where the backend learns whose they are.
fn key(demand: &Demand<'_>) -> IpAddr {
    let anybody = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    if demand.endpoint.tunnel.is_some() { demand.client.addr.ip() } else { anybody }
}

async fn send_one(
    demand: Demand<'_>,
    mut request: Request<Body>,
) -> Result<(Response<Incoming>, Lease), LineError> {
    let (key, lines) = (key(&demand), &demand.endpoint.lines);
    let mut stale = 0;
    loop {
        let idle = if stale < STALE_MAX { lines.take_idle(key, demand.limits).await } else { None };
        let is_idle = idle.is_some();
        let mut one = match idle {
            Some(one) => one,
            // Boxed: else every request would keep the space of it for as long as it lives.
            None => Box::pin(wait_for_one(&demand, key)).await?,
        };
        one.requests = one.requests.saturating_add(1);
        match one.sender.try_send_request(request).await {
            Ok(response) => {
                let lease = LeaseOne {
                    lines: lines.clone(),
                    client: key,
                    one,
                    freed: demand.freed.clone(),
                    requests_max: demand.limits.requests_per_connection,
                };
                return Ok((response, Lease::One(Box::new(lease))));
            }
            Err(mut error) => match error.take_message() {
                // It was closed while it idled, and nothing was sent: that is no failure yet.
                Some(unsent) if is_idle => {
                    stale += 1;
                    request = unsent;
                }
                Some(_) => return Err(LineError::Broken { source: error.into_error(), sent: Sent::Nothing }),
                None => return Err(LineError::Broken { source: error.into_error(), sent: Sent::Kept }),
            },
        }
    }
}

/// A connection of HTTP/1.1: a new one, or one that becomes free while there is no room for a new one.
async fn wait_for_one(demand: &Demand<'_>, key: IpAddr) -> Result<One, LineError> {
    let _waits = demand.room.pending().map_err(LineError::Overflow)?;
    loop {
        if let Ok(permit) = demand.room.connection() {
            return open_one(demand, permit).await;
        }
        // A limit without a queue would refuse what the next moment has room for; the queue has its own limit.
        (demand.make_room)();
        demand.freed.notified().await;
        if let Some(one) = demand.endpoint.lines.take_idle(key, demand.limits).await {
            return Ok(one);
        }
    }
}

async fn open_one(demand: &Demand<'_>, permit: Permit) -> Result<One, LineError> {
    let io = TokioIo::new(connect_in_time(demand).await?);
    let shaken = http1::Builder::new().max_headers(config::HEADERS_MAX).handshake(io).await;
    let (sender, mut connection) = shaken.map_err(LineError::Handshake)?;
    let (hand_over, switched) = oneshot::channel::<Switched>();
    let freed = demand.freed.clone();
    spawn_local(async move {
        if let Err(error) = poll_fn(|cx| connection.poll_without_shutdown(cx)).await {
            tracing::debug!(error = describe(&error), "a backend's connection ended");
        }
        let parts = connection.into_parts();
        // Most often nobody waits for it: it is closed in order then.
        if let Err((mut io, _)) = hand_over.send((parts.io.into_inner(), parts.read_buf)) {
            // It may be gone already.
            let _ = io.shutdown().await;
        }
        drop(permit);
        freed.notify_one();
    });
    let now = Instant::now();
    Ok(One { sender, opened: now, idle_since: now, requests: 0, switched })
}

async fn send_two(
    demand: Demand<'_>,
    mut request: Request<Body>,
) -> Result<(Response<Incoming>, Lease), LineError> {
    let key = key(&demand);
    let mut stale = 0;
    loop {
        let mut two = match demand.endpoint.lines.take_shared(key, demand.limits) {
            Some(two) => two,
            None => Box::pin(wait_for_two(&demand, key)).await?,
        };
        two.streams.set(two.streams.get() + 1);
        two.requests.set(two.requests.get().saturating_add(1));
        let lease = LeaseTwo {
            streams: two.streams.clone(),
            idle_since: two.idle_since.clone(),
            freed: demand.freed.clone(),
        };
        match two.sender.try_send_request(request).await {
            Ok(response) => return Ok((response, Lease::Two(lease))),
            Err(mut error) => match error.take_message() {
                Some(unsent) if stale < STALE_MAX => {
                    stale += 1;
                    request = unsent;
                }
                Some(_) => return Err(LineError::Broken { source: error.into_error(), sent: Sent::Nothing }),
                None => return Err(LineError::Broken { source: error.into_error(), sent: Sent::Kept }),
            },
        }
    }
}

async fn wait_for_two(demand: &Demand<'_>, key: IpAddr) -> Result<Two, LineError> {
    let lines = &demand.endpoint.lines;
    let _waits = demand.room.pending().map_err(LineError::Overflow)?;
    let opening = lines.0.borrow_mut().entry(key).or_default().opening.clone();
    let _opening = opening.lock().await;
    loop {
        if let Some(two) = lines.take_shared(key, demand.limits) {
            return Ok(two);
        }
        if let Ok(permit) = demand.room.connection() {
            let two = open_two(demand, permit).await?;
            let mut all = lines.0.borrow_mut();
            let shared = &mut all.entry(key).or_default().shared;
            shared.retain(|two| !two.sender.is_closed());
            shared.push(two.clone());
            return Ok(two);
        }
        (demand.make_room)();
        demand.freed.notified().await;
    }
}

async fn open_two(demand: &Demand<'_>, permit: Permit) -> Result<Two, LineError> {
    let io = TokioIo::new(connect_in_time(demand).await?);
    let shaken = http2::handshake(LocalExecutor, io).await;
    let (sender, connection) = shaken.map_err(LineError::Handshake)?;
    let freed = demand.freed.clone();
    spawn_local(async move {
        if let Err(error) = connection.await {
            tracing::debug!(error = describe(&error), "a backend's connection ended");
        }
        drop(permit);
        freed.notify_one();
    });
    let now = Instant::now();
    let (requests, streams) = (Rc::default(), Rc::default());
    Ok(Two { sender, opened: now, idle_since: Rc::new(Cell::new(now)), requests, streams })
}

async fn connect_in_time(demand: &Demand<'_>) -> Result<Io, LineError> {
    let connected = connect(demand.endpoint, demand.client, demand.tunnels);
    let Some(limit) = demand.limits.connect else { return connected.await };
    let late = |_| LineError::Late(demand.endpoint.addr);
    tokio::time::timeout(limit, connected).await.map_err(late)?
}

/// A connection to an application: through a tunnel, or in plain text to what is not in the mesh.
///
/// # Errors
/// If there is no tunnel, or no way to the application.
pub(crate) async fn connect(
    endpoint: &Endpoint,
    client: &Client,
    tunnels: &Tunnels,
) -> Result<Io, LineError> {
    let to = endpoint.addr;
    let Some(tunnel) = endpoint.tunnel else {
        let unreachable = |source| LineError::Connect { to, source };
        let connected = tokio::time::timeout(tunnels.connect_limit(), TcpStream::connect(to)).await;
        let stream = connected.map_err(|_| LineError::Late(to))?.map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        return Ok(Io::Plain(stream));
    };
    let request = ConnectRequest {
        authority: Authority::Addr(to),
        baggage: None,
        forwarded: Some(Forwarded { client: Some(client.addr), host: None }),
        traceparent: None,
    };
    let stream = tunnels.open(&endpoint.workload.identity, tunnel, &request).await;
    Ok(Io::Tunnel(Box::new(stream.map_err(LineError::Tunnel)?.into_io())))
}

/// Runs what hyper wants to run beside a connection on this worker.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LocalExecutor;

impl<F: Future + 'static> hyper::rt::Executor<F> for LocalExecutor
where
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        spawn_local(future);
    }
}
