//! HTTP connections to endpoints: kept while they idle, one request at a time on HTTP/1.1, many on HTTP/2.

use crate::body::{Body, Held};
use crate::client::Client;
use crate::endpoints::Endpoint;
use crate::tunnels::{TunnelError, Tunnels};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::spawn_local;
use tokio::time::Instant;
use weft_core::names::WorkloadUid;
use weft_runtime::log::describe;
use weft_tunnel::request::ConnectRequest;
use weft_tunnel::words::{Authority, Forwarded};

/// A connection without a request is kept so long. Below what servers usually allow, so that they rarely close first.
const IDLE: Duration = Duration::from_secs(50);
/// Idle connections to one endpoint.
const IDLE_MAX: usize = 256;

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
pub(crate) enum UpstreamError {
    /// There is no tunnel.
    #[error(transparent)]
    Tunnel(#[from] TunnelError),
    /// There is no connection to the application.
    #[error("cannot reach {to}")]
    Connect {
        /// Where to.
        to: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The connection did not get as far as HTTP.
    #[error("the backend speaks no HTTP")]
    Handshake(#[source] hyper::Error),
    /// The backend broke off. Nothing of the request had been sent if `unsent`.
    #[error("the backend broke off")]
    Broken {
        /// What hyper says.
        #[source]
        source: hyper::Error,
        /// Whether nothing had been sent.
        unsent: bool,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    workload: WorkloadUid,
    addr: SocketAddr,
    version: Version,
}

/// All HTTP connections of one worker.
pub(crate) struct Upstreams {
    tunnels: Rc<Tunnels>,
    slots: RefCell<HashMap<Key, Slot>>,
}

#[derive(Default)]
struct Slot {
    idle: Vec<(http1::SendRequest<Body>, Instant)>,
    shared: Option<http2::SendRequest<Body>>,
}

impl Upstreams {
    /// None yet.
    pub(crate) fn new(tunnels: Rc<Tunnels>) -> Self {
        Self { tunnels, slots: RefCell::default() }
    }

    /// Sends a request to an endpoint on behalf of a client.
    ///
    /// # Errors
    /// As [`UpstreamError`] says.
    pub(crate) async fn send(
        self: &Rc<Self>,
        endpoint: &Endpoint,
        version: Version,
        client: &Client,
        request: Request<Body>,
    ) -> Result<Response<Body>, UpstreamError> {
        let key = Key { workload: endpoint.workload.uid.clone(), addr: endpoint.addr, version };
        match version {
            Version::One => self.send_one(key, endpoint, client, request).await,
            Version::Two => self.send_two(key, endpoint, client, request).await,
        }
    }

    async fn send_one(
        self: &Rc<Self>,
        key: Key,
        endpoint: &Endpoint,
        client: &Client,
        request: Request<Body>,
    ) -> Result<Response<Body>, UpstreamError> {
        let mut sender = match self.take_idle(&key).await {
            Some(sender) => sender,
            None => self.connect_one(endpoint, client).await?,
        };
        let sent = sender.try_send_request(request).await;
        let response = sent.map_err(|mut error| {
            let unsent = error.take_message().is_some();
            UpstreamError::Broken { source: error.into_error(), unsent }
        })?;
        let lease = Lease { upstreams: self.clone(), key, sender };
        Ok(response.map(|incoming| lend(incoming, lease)))
    }

    async fn take_idle(&self, key: &Key) -> Option<http1::SendRequest<Body>> {
        loop {
            let (mut sender, since) = self.slots.borrow_mut().get_mut(key)?.idle.pop()?;
            if since.elapsed() < IDLE && !sender.is_closed() && sender.ready().await.is_ok() {
                return Some(sender);
            }
        }
    }

    fn give_back(&self, key: Key, sender: http1::SendRequest<Body>) {
        if sender.is_closed() {
            return;
        }
        let mut slots = self.slots.borrow_mut();
        let slot = slots.entry(key).or_default();
        if slot.idle.len() < IDLE_MAX {
            slot.idle.push((sender, Instant::now()));
        }
    }

    async fn send_two(
        self: &Rc<Self>,
        key: Key,
        endpoint: &Endpoint,
        client: &Client,
        request: Request<Body>,
    ) -> Result<Response<Body>, UpstreamError> {
        let shared = self.slots.borrow().get(&key).and_then(|slot| slot.shared.clone());
        let mut sender = match shared.filter(|sender| !sender.is_closed()) {
            Some(sender) => sender,
            None => {
                let sender = self.connect_two(endpoint, client).await?;
                self.slots.borrow_mut().entry(key).or_default().shared = Some(sender.clone());
                sender
            }
        };
        let sent = sender.try_send_request(request).await;
        let response = sent.map_err(|mut error| {
            let unsent = error.take_message().is_some();
            UpstreamError::Broken { source: error.into_error(), unsent }
        })?;
        Ok(response.map(Body::from))
    }

    async fn connect_one(
        &self,
        endpoint: &Endpoint,
        client: &Client,
    ) -> Result<http1::SendRequest<Body>, UpstreamError> {
        let io = TokioIo::new(self.connect(endpoint, client).await?);
        let (sender, connection) = http1::handshake(io).await.map_err(UpstreamError::Handshake)?;
        spawn_local(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = describe(&error), "a backend's connection ended");
            }
        });
        Ok(sender)
    }

    async fn connect_two(
        &self,
        endpoint: &Endpoint,
        client: &Client,
    ) -> Result<http2::SendRequest<Body>, UpstreamError> {
        let io = TokioIo::new(self.connect(endpoint, client).await?);
        let (sender, connection) =
            http2::handshake(LocalExecutor, io).await.map_err(UpstreamError::Handshake)?;
        spawn_local(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = describe(&error), "a backend's connection ended");
            }
        });
        Ok(sender)
    }

    /// A connection to an application: through a tunnel, or in plain text to what is not in the mesh.
    ///
    /// # Errors
    /// If there is no tunnel, or no way to the application.
    pub(crate) async fn connect(&self, endpoint: &Endpoint, client: &Client) -> Result<Io, UpstreamError> {
        let Some(tunnel) = endpoint.tunnel else {
            let to = endpoint.addr;
            let stream =
                TcpStream::connect(to).await.map_err(|source| UpstreamError::Connect { to, source })?;
            stream.set_nodelay(true).map_err(|source| UpstreamError::Connect { to, source })?;
            return Ok(Io::Plain(stream));
        };
        let request = ConnectRequest {
            authority: Authority::Addr(endpoint.addr),
            baggage: None,
            forwarded: Some(Forwarded { client: Some(client.addr), host: None }),
            traceparent: None,
        };
        let stream = self.tunnels.open(&endpoint.workload.identity, tunnel, &request).await?;
        Ok(Io::Tunnel(Box::new(stream.into_io())))
    }

    /// Closes what has idled.
    pub(crate) fn close_idle(&self) {
        self.slots.borrow_mut().retain(|_, slot| {
            slot.idle.retain(|(sender, since)| since.elapsed() < IDLE && !sender.is_closed());
            if slot.shared.as_ref().is_some_and(http2::SendRequest::is_closed) {
                slot.shared = None;
            }
            !slot.idle.is_empty() || slot.shared.is_some()
        });
        self.tunnels.close_idle();
    }
}

/// A connection that is at a response's disposal until the body is over.
struct Lease {
    upstreams: Rc<Upstreams>,
    key: Key,
    sender: http1::SendRequest<Body>,
}

impl Held for Lease {
    fn done(self: Box<Self>) {
        let Self { upstreams, key, sender } = *self;
        upstreams.give_back(key, sender);
    }
}

fn lend(incoming: Incoming, lease: Lease) -> Body {
    use hyper::body::Body as _;
    if incoming.is_end_stream() {
        Box::new(lease).done();
        return Body::Empty;
    }
    Body::Passing(incoming, Some(Box::new(lease)))
}

/// A connection to an application.
pub(crate) enum Io {
    /// Through a tunnel.
    Tunnel(Box<weft_tunnel::io::TunnelIo>),
    /// In plain text.
    Plain(TcpStream),
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

macro_rules! both {
    ($self:ident, $io:ident => $call:expr) => {
        match $self.get_mut() {
            Io::Tunnel($io) => {
                let $io = std::pin::Pin::new(&mut **$io);
                $call
            }
            Io::Plain($io) => {
                let $io = std::pin::Pin::new($io);
                $call
            }
        }
    };
}

type Cx<'a, 'b> = &'a mut std::task::Context<'b>;
type Done<T> = std::task::Poll<io::Result<T>>;

impl AsyncRead for Io {
    fn poll_read(
        self: std::pin::Pin<&mut Self>,
        cx: Cx<'_, '_>,
        into: &mut tokio::io::ReadBuf<'_>,
    ) -> Done<()> {
        both!(self, io => io.poll_read(cx, into))
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: std::pin::Pin<&mut Self>, cx: Cx<'_, '_>, from: &[u8]) -> Done<usize> {
        both!(self, io => io.poll_write(cx, from))
    }

    fn poll_write_vectored(
        self: std::pin::Pin<&mut Self>,
        cx: Cx<'_, '_>,
        from: &[io::IoSlice<'_>],
    ) -> Done<usize> {
        both!(self, io => io.poll_write_vectored(cx, from))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: std::pin::Pin<&mut Self>, cx: Cx<'_, '_>) -> Done<()> {
        both!(self, io => io.poll_flush(cx))
    }

    fn poll_shutdown(self: std::pin::Pin<&mut Self>, cx: Cx<'_, '_>) -> Done<()> {
        both!(self, io => io.poll_shutdown(cx))
    }
}
