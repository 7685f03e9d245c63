//! A small HTTP server for a process's own affairs: metrics, readiness, status. Never for traffic.

use crate::drain::Stop;
use crate::fds::{ListenError, clear_path};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinSet;

pub use http::{Method, StatusCode};

/// Connections served at once: a few scrapers and people. More wait in the listen queue.
const CONNECTIONS_MAX: usize = 64;
/// For the headers of a request, so that a silent client does not hold a connection.
const HEADER_WAIT: Duration = Duration::from_secs(10);
/// For a whole request and its answer.
const ANSWER_WAIT: Duration = Duration::from_secs(60);
/// Bytes in a request's body.
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Rest after a failed accept: it is the limit of open files, and trying on at once burns the processor.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// A request, read whole.
#[derive(Debug, Clone)]
pub struct Request {
    /// What to do.
    pub method: Method,
    /// Where.
    pub path: String,
    /// What stands after `?`; empty for none.
    pub query: String,
    /// What the client would like to get (`accept`); empty if it has not said.
    pub accept: String,
    /// What came with it.
    pub body: Bytes,
}

impl Request {
    /// The value of a query parameter, as it was written (no percent-decoding).
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let pairs = self.query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.into_iter().find_map(|(known, value)| (known == name).then_some(value))
    }

    /// All values of a query parameter, without their escapes (RFC 3986 §2.1); `None` for one that is no text.
    pub fn values(&self, name: &str) -> impl Iterator<Item = Option<String>> {
        let pairs = self.query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.filter(move |(known, _)| *known == name).map(|(_, value)| decoded(value))
    }
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let digit = |at: usize| tail.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        rest = match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                // Two digits of four bits.
                bytes.push((high << 4 | low) as u8);
                &tail[2..]
            }
            (b'%', ..) => return None,
            (other, ..) => {
                bytes.push(*other);
                tail
            }
        };
    }
    String::from_utf8(bytes).ok()
}

/// An answer, sent whole.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The media type.
    pub content_type: &'static str,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// Plain text.
    pub fn text(status: StatusCode, body: impl Into<Bytes>) -> Self {
        Self { status, content_type: "text/plain; charset=utf-8", body: body.into() }
    }

    /// JSON that the caller has written.
    pub fn json(body: impl Into<Bytes>) -> Self {
        Self { status: StatusCode::OK, content_type: "application/json", body: body.into() }
    }

    /// A value as JSON.
    pub fn of(value: &impl Serialize) -> Self {
        match serde_json::to_vec(value) {
            Ok(bytes) => Self::json(bytes),
            Err(error) => Self::text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        }
    }
}

type Answering = Pin<Box<dyn Future<Output = Answer> + Send>>;
type Handler = Arc<dyn Fn(Request) -> Answering + Send + Sync>;

/// What a server answers, by path.
#[derive(Clone, Default)]
pub struct Routes(BTreeMap<String, (Method, Handler)>);

impl Routes {
    /// No routes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Answers `GET path`, without waiting for anything.
    #[must_use]
    pub fn get(self, path: &str, answer: impl Fn(Request) -> Answer + Send + Sync + 'static) -> Self {
        self.route(Method::GET, path, move |request| std::future::ready(answer(request)))
    }

    /// Answers one method of a path; a path has one.
    #[must_use]
    pub fn route<F, A>(mut self, method: Method, path: &str, answer: F) -> Self
    where
        F: Fn(Request) -> A + Send + Sync + 'static,
        A: Future<Output = Answer> + Send + 'static,
    {
        let handler: Handler = Arc::new(move |request| Box::pin(answer(request)));
        self.0.insert(path.to_owned(), (method, handler));
        self
    }

    /// These and those; those win where both answer.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// The answer to a request; what a server sends.
    pub async fn answer(&self, request: Request) -> Answer {
        if request.path == "/" {
            let paths: Vec<_> = self.0.keys().map(String::as_str).collect();
            return Answer::text(StatusCode::OK, paths.join("\n") + "\n");
        }
        let Some((method, handler)) = self.0.get(&request.path) else {
            return Answer::text(StatusCode::NOT_FOUND, "not found; / lists what there is\n");
        };
        if request.method != *method && !(request.method == Method::HEAD && *method == Method::GET) {
            return Answer::text(StatusCode::METHOD_NOT_ALLOWED, format!("use {method}\n"));
        }
        let answer = handler(request);
        let late = |_| Answer::text(StatusCode::GATEWAY_TIMEOUT, "no answer in time\n");
        tokio::time::timeout(ANSWER_WAIT, answer).await.unwrap_or_else(late)
    }
}

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// On an address; port 0 for any.
    Tcp(SocketAddr),
    /// At a path that only this user may enter.
    Unix(PathBuf),
}

/// A server that listens and does not answer yet.
#[derive(Debug)]
pub struct Server(Listening);

#[derive(Debug)]
enum Listening {
    Tcp(TcpListener),
    Unix { listener: UnixListener, path: PathBuf },
}

/// A server could not listen.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// On an address.
    #[error("listening on {addr}")]
    Tcp {
        /// The address.
        addr: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// At a path.
    #[error(transparent)]
    Unix(#[from] ListenError),
}

impl Server {
    /// Listens; connections wait until [`Server::serve`].
    ///
    /// # Errors
    /// As [`BindError`] says.
    pub async fn bind(listen: &Listen) -> Result<Self, BindError> {
        match listen {
            Listen::Tcp(addr) => {
                let failed = |source| BindError::Tcp { addr: *addr, source };
                TcpListener::bind(addr).await.map(|listener| Self(Listening::Tcp(listener))).map_err(failed)
            }
            Listen::Unix(path) => {
                let listener = bind_unix(path)?;
                Ok(Self(Listening::Unix { listener, path: path.clone() }))
            }
        }
    }

    /// The address it listens on, if it is one.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match &self.0 {
            Listening::Tcp(listener) => listener.local_addr().ok(),
            Listening::Unix { .. } => None,
        }
    }

    /// Answers until told to stop, then ends what still runs.
    pub async fn serve(self, routes: Routes, mut stop: Stop) {
        let routes = Arc::new(routes);
        let mut connections = JoinSet::new();
        loop {
            let room = connections.len() < CONNECTIONS_MAX;
            tokio::select! {
                accepted = self.accept(), if room => {
                    connections.spawn(serve_one(accepted, routes.clone()));
                }
                Some(_) = connections.join_next() => {}
                () = stop.requested() => break,
            }
        }
    }

    /// The next connection; failures are logged and rested from. Cancel-safe.
    async fn accept(&self) -> Box<dyn Stream> {
        loop {
            let accepted: io::Result<Box<dyn Stream>> = match &self.0 {
                Listening::Tcp(listener) => listener.accept().await.map(|(stream, _)| Box::new(stream) as _),
                Listening::Unix { listener, .. } => {
                    listener.accept().await.map(|(stream, _)| Box::new(stream) as _)
                }
            };
            match accepted {
                Ok(stream) => return stream,
                Err(error) => tracing::warn!(%error, "cannot accept an administrative connection"),
            }
            tokio::time::sleep(ACCEPT_REST).await;
        }
    }
}

/// A connection of either kind.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

impl Drop for Listening {
    fn drop(&mut self) {
        if let Self::Unix { path, .. } = self {
            // Whoever comes next replaces it anyway.
            drop(std::fs::remove_file(path));
        }
    }
}

fn bind_unix(path: &Path) -> Result<UnixListener, ListenError> {
    clear_path(path, || std::os::unix::net::UnixStream::connect(path).is_ok())?;
    let failed = |source| ListenError::Listen { path: path.to_owned(), source };
    let listener = UnixListener::bind(path).map_err(failed)?;
    // What connects before this line is served by the same process to the same user's folder; the folder
    // itself is not open to others.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(listener)
}

async fn serve_one(stream: Box<dyn Stream>, routes: Arc<Routes>) {
    let service = service_fn(move |request| {
        let routes = routes.clone();
        async move { Ok::<_, Infallible>(respond(&routes, request).await) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_WAIT)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "administrative connection ended");
    }
}

async fn respond(routes: &Routes, request: hyper::Request<Incoming>) -> hyper::Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let read = tokio::time::timeout(HEADER_WAIT, Limited::new(body, BODY_BYTES_MAX).collect()).await;
    let answer = match read {
        Ok(Ok(body)) => {
            let path = head.uri.path().to_owned();
            let query = head.uri.query().unwrap_or_default().to_owned();
            let accept =
                head.headers.get_all(http::header::ACCEPT).iter().filter_map(|one| one.to_str().ok());
            let accept = accept.collect::<Vec<_>>().join(",");
            routes.answer(Request { method: head.method, path, query, accept, body: body.to_bytes() }).await
        }
        _ => Answer::text(StatusCode::BAD_REQUEST, "the request's body is too long or too slow\n"),
    };
    let mut response = hyper::Response::new(Full::new(answer.body));
    *response.status_mut() = answer.status;
    let content_type = http::HeaderValue::from_static(answer.content_type);
    response.headers_mut().insert(http::header::CONTENT_TYPE, content_type);
    response
}

#[cfg(test)]
mod tests;
