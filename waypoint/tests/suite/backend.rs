//! Backends of tests.

use crate::client::LocalExecutor;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, Version, request};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::spawn_local;

pub(crate) type ReplyBody = UnsyncBoxBody<Bytes, hyper::Error>;
type Answering = Pin<Box<dyn Future<Output = Response<ReplyBody>>>>;

/// What a backend does with a request, of which this many came before.
type Behaviour = Rc<dyn Fn(Request<Incoming>, usize) -> Answering>;

/// One backend; clones are the same.
#[derive(Clone)]
pub(crate) struct Backend {
    behaviour: Behaviour,
    version: Version,
    /// Of a connection of HTTP/2 at a time.
    streams: Option<u32>,
    hits: Rc<Cell<usize>>,
    hung: Rc<Cell<usize>>,
    given_up: Rc<Cell<usize>>,
    seen: Rc<RefCell<Vec<(request::Parts, Bytes)>>>,
}

impl Backend {
    fn new(behaviour: Behaviour) -> Self {
        Self {
            behaviour,
            version: Version::HTTP_11,
            streams: None,
            hits: Rc::default(),
            hung: Rc::default(),
            given_up: Rc::default(),
            seen: Rc::default(),
        }
    }

    /// Says its name.
    pub(crate) fn named(name: &'static str) -> Self {
        Self::replying(move |_| reply(200, name))
    }

    /// Says something that depends on how many requests came before.
    pub(crate) fn replying(with: impl Fn(usize) -> Response<ReplyBody> + 'static) -> Self {
        let with = Rc::new(with);
        let seen: Rc<RefCell<Vec<(request::Parts, Bytes)>>> = Rc::default();
        let noted = seen.clone();
        let behaviour: Behaviour = Rc::new(move |request, before| {
            let (with, noted) = (with.clone(), noted.clone());
            Box::pin(async move {
                let (head, body) = request.into_parts();
                // A client that breaks off sends less.
                let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
                noted.borrow_mut().push((head, body));
                with(before)
            })
        });
        Self { seen, ..Self::new(behaviour) }
    }

    /// Answers with so many bytes.
    pub(crate) fn large(bytes: usize) -> Self {
        let body = Bytes::from(vec![b'x'; bytes]);
        Self::replying(move |_| {
            let body = Full::from(body.clone()).map_err(|never: Infallible| match never {}).boxed_unsync();
            Response::new(body)
        })
    }

    /// Answers after a while.
    pub(crate) fn slow(after: Duration) -> Self {
        Self::new(Rc::new(move |_, _| {
            Box::pin(async move {
                tokio::time::sleep(after).await;
                reply(200, "slow")
            })
        }))
    }

    /// Never answers requests for this path, and reads nothing of their bodies; others at once.
    pub(crate) fn hanging(path: &'static str) -> Self {
        let (hung, given_up): (Rc<Cell<usize>>, Rc<Cell<usize>>) = Default::default();
        let counts = (hung.clone(), given_up.clone());
        let behaviour: Behaviour = Rc::new(move |request, _| {
            let (hung, given_up) = counts.clone();
            Box::pin(async move {
                if request.uri().path() == path {
                    hung.set(hung.get() + 1);
                    let _counts = GivenUp(given_up);
                    std::future::pending::<()>().await;
                }
                reply(200, "")
            })
        });
        Self { hung, given_up, ..Self::new(behaviour) }
    }

    /// Says its name; to a request for this path only once there is a permit.
    pub(crate) fn waiting_at(path: &'static str, name: &'static str, gate: &Rc<Semaphore>) -> Self {
        let gate = gate.clone();
        Self::new(Rc::new(move |request, _| {
            let gate = gate.clone();
            Box::pin(async move {
                if request.uri().path() == path {
                    gate.acquire().await.unwrap().forget();
                }
                reply(200, name)
            })
        }))
    }

    /// Answers with 503, one request for each permit that is added.
    pub(crate) fn failing_behind(gate: &Rc<Semaphore>) -> Self {
        let gate = gate.clone();
        Self::new(Rc::new(move |_, _| {
            let gate = gate.clone();
            Box::pin(async move {
                gate.acquire().await.unwrap().forget();
                reply(503, "")
            })
        }))
    }

    /// Sends back what comes as it comes, with trailers; speaks HTTP/2.
    pub(crate) fn echo_grpc() -> Self {
        let behaviour: Behaviour = Rc::new(|request, _| {
            Box::pin(async move {
                let trailers: HeaderMap =
                    [(http::HeaderName::from_static("grpc-status"), http::HeaderValue::from(0))]
                        .into_iter()
                        .collect();
                let body = request.into_body().with_trailers(async move { Some(Ok(trailers)) });
                Response::builder()
                    .header("content-type", "application/grpc")
                    .body(body.boxed_unsync())
                    .unwrap()
            })
        });
        Self { version: Version::HTTP_2, ..Self::new(behaviour) }
    }

    /// The same by HTTP/2.
    pub(crate) fn by_http2(self) -> Self {
        Self { version: Version::HTTP_2, ..self }
    }

    /// The same, of so many streams of a connection at a time.
    pub(crate) fn by_http2_of(self, streams: u32) -> Self {
        Self { streams: Some(streams), ..self.by_http2() }
    }

    /// Becomes an echo of bytes if it is asked to.
    pub(crate) fn upgrading() -> Self {
        Self::new(Rc::new(|request, _| {
            Box::pin(async move {
                if !request.headers().contains_key("upgrade") {
                    return reply(426, "");
                }
                let upgrade = request.headers()["upgrade"].clone();
                spawn_local(async move {
                    let upgraded = hyper::upgrade::on(request).await.unwrap();
                    let mut io = TokioIo::new(upgraded);
                    let mut bytes = [0; 1024];
                    while let Ok(count @ 1..) = io.read(&mut bytes).await {
                        io.write_all(&bytes[..count]).await.unwrap();
                    }
                });
                let builder = Response::builder().status(101).header("connection", "upgrade");
                builder.header("upgrade", upgrade).body(empty()).unwrap()
            })
        }))
    }

    pub(crate) fn hits(&self) -> usize {
        self.hits.get()
    }

    /// How many requests it has left without an answer.
    pub(crate) fn hung(&self) -> usize {
        self.hung.get()
    }

    /// How many of them nobody waits for any more.
    pub(crate) fn given_up(&self) -> usize {
        self.given_up.get()
    }

    /// What came, if it says its name or the like.
    pub(crate) fn seen(&self) -> Vec<(request::Parts, Bytes)> {
        self.seen.borrow().clone()
    }

    pub(crate) async fn listen(&self, addr: SocketAddr) {
        let listener = TcpListener::bind(addr).await.unwrap();
        let backend = self.clone();
        spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                spawn_local(backend.clone().serve(TokioIo::new(stream)));
            }
        });
    }

    /// Serves one connection.
    pub(crate) async fn serve<T>(self, io: T)
    where
        T: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    {
        let (version, streams) = (self.version, self.streams);
        let service = service_fn(move |request| self.clone().answer(request));
        // The other side may break off.
        match version {
            Version::HTTP_2 => {
                let mut builder = hyper::server::conn::http2::Builder::new(LocalExecutor);
                if streams.is_some() {
                    builder.max_concurrent_streams(streams);
                }
                drop(builder.serve_connection(io, service).await);
            }
            _ => {
                let serving = hyper::server::conn::http1::Builder::new().serve_connection(io, service);
                drop(serving.with_upgrades().await);
            }
        }
    }

    /// The same for what must stay on its thread.
    pub(crate) async fn serve_here<T>(self, io: T)
    where
        T: hyper::rt::Read + hyper::rt::Write + Unpin + 'static,
    {
        let service = service_fn(move |request| self.clone().answer(request));
        drop(hyper::server::conn::http1::Builder::new().serve_connection(io, service).await);
    }

    async fn answer(self, request: Request<Incoming>) -> Result<Response<ReplyBody>, Infallible> {
        let before = self.hits.replace(self.hits.get() + 1);
        Ok((self.behaviour)(request, before).await)
    }
}

/// Counts when it is dropped.
struct GivenUp(Rc<Cell<usize>>);

impl Drop for GivenUp {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

pub(crate) fn reply(status: u16, text: &'static str) -> Response<ReplyBody> {
    let body = Full::from(text).map_err(|never: Infallible| match never {}).boxed_unsync();
    Response::builder().status(status).body(body).unwrap()
}

fn empty() -> ReplyBody {
    Full::default().map_err(|never: Infallible| match never {}).boxed_unsync()
}
