//! Brings spans and lines of the access log to a collector, in batches, beside the traffic: a collector that is slow or gone
//! costs some of them, which are counted, and no request.

pub(crate) mod otlp;

use crate::config::{Collector, Export, Protocol};
use crate::origin::{BadOrigin, Origin, Within};
use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prometheus::{IntCounter, IntCounterVec};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use weft_l7::destination::{BackendTls, ClientIdentity, Trust};
use weft_runtime::log::describe;
use weft_runtime::metrics::{MetricError, Metrics};

/// What waits for the collector. A second's worth at a few thousand requests a second, and a few megabytes.
const WAITING_MAX: usize = 8_192;
/// How many go in one message.
const BATCH_MAX: usize = 512;
/// Fewer wait so long for more.
const GATHER: Duration = Duration::from_secs(1);
/// A collector that takes longer to take a batch gets the next one.
const SEND_MAX: Duration = Duration::from_secs(10);
/// Of its answer no more is read: it says nothing that is used.
const ANSWER_BYTES_MAX: usize = 65_536;

/// Why a batch has not reached the collector.
#[derive(Debug, thiserror::Error)]
enum ExportError {
    #[error("connecting to the collector")]
    Connect(#[source] std::io::Error),
    #[error("TLS with the collector")]
    Origin(#[source] BadOrigin),
    #[error("TLS with the collector")]
    Tls(#[source] std::io::Error),
    #[error("talking to the collector")]
    Http(#[source] hyper::Error),
    #[error("the request to the collector is none")]
    Request(#[source] http::Error),
    #[error("the collector answers with status {0}")]
    Status(StatusCode),
    #[error("the collector answers with gRPC status {0}")]
    Grpc(String),
    #[error("the collector did not take it in time")]
    Late,
}

/// A connection, with TLS or without.
trait Both: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Both for T {}

/// What can be exported.
pub(crate) trait Signal: Sized {
    /// Its name in the log.
    const WORD: &'static str;
    /// The setting that names the collector.
    const SETTING: &'static str;

    /// Where collectors take it, if nobody says where else.
    fn path(protocol: Protocol) -> &'static str;

    /// A message of a service's.
    fn encode(protocol: Protocol, service: &str, batch: Vec<Self>) -> Vec<u8>;
}

/// A worker's end: hands over, and waits for nothing. Clones hand to the same exporter.
pub(crate) struct Outbox<T> {
    queue: mpsc::Sender<T>,
    dropped: IntCounter,
}

impl<T> Clone for Outbox<T> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone(), dropped: self.dropped.clone() }
    }
}

impl<T> Outbox<T> {
    /// If too many wait it is dropped, and counted.
    pub(crate) fn put(&self, one: T) {
        if self.queue.try_send(one).is_err() {
            self.dropped.inc();
        }
    }
}

/// Brings one kind of signal to a collector.
pub(crate) struct Exporter<T> {
    collector: Collector,
    protocol: Protocol,
    service: String,
    queue: mpsc::Receiver<T>,
    exported: IntCounter,
    dropped: IntCounter,
}

/// Both ends of the way to a collector.
pub(crate) type Way<T> = (Outbox<T>, Exporter<T>);

/// Both ends of the way to a collector; nothing if none is set. The metric counts by outcome.
///
/// # Errors
/// If the name of the metric is taken.
pub(crate) fn way<T: Signal>(
    settings: &Export,
    service: String,
    metrics: &Metrics,
    (name, help): (&str, &str),
) -> Result<Option<Way<T>>, MetricError> {
    let Some(collector) = settings.collector.clone() else { return Ok(None) };
    let all: IntCounterVec = metrics.counters(name, help, &["outcome"])?;
    let (exported, dropped) = (all.with_label_values(&["exported"]), all.with_label_values(&["dropped"]));
    let (tx, queue) = mpsc::channel(WAITING_MAX);
    let outbox = Outbox { queue: tx, dropped: dropped.clone() };
    Ok(Some((outbox, Exporter { collector, protocol: settings.protocol, service, queue, exported, dropped })))
}

impl<T: Signal> Exporter<T> {
    /// Exports until nobody makes any more, and what they have left.
    pub(crate) async fn run(mut self) {
        loop {
            let mut batch = Vec::with_capacity(BATCH_MAX);
            if self.queue.recv_many(&mut batch, BATCH_MAX).await == 0 {
                return;
            }
            if batch.len() < BATCH_MAX && !self.queue.is_closed() {
                tokio::time::sleep(GATHER).await;
                while batch.len() < BATCH_MAX
                    && let Ok(one) = self.queue.try_recv()
                {
                    batch.push(one);
                }
            }
            let count = batch.len() as u64;
            let sent = tokio::time::timeout(SEND_MAX, self.send(batch)).await;
            match sent.unwrap_or(Err(ExportError::Late)) {
                Ok(()) => self.exported.inc_by(count),
                Err(error) => {
                    self.dropped.inc_by(count);
                    let to = &self.collector.authority;
                    let (what, setting) = (T::WORD, T::SETTING);
                    tracing::warn!(what, %to, count, error = describe(&error), "a collector takes nothing; does {setting} name one of this protocol?");
                }
            }
        }
    }

    /// One message, on a connection of its own: there is at most one in flight.
    async fn send(&self, batch: Vec<T>) -> Result<(), ExportError> {
        let body = T::encode(self.protocol, &self.service, batch);
        let (content, body, within) = match self.protocol {
            Protocol::OtlpGrpc => ("application/grpc", framed(&body), Within::Http2),
            Protocol::OtlpHttp => ("application/x-protobuf", body.into(), Within::Http1),
            Protocol::Zipkin => ("application/json", body.into(), Within::Http1),
        };
        let io = TokioIo::new(self.connect(within).await?);
        let request = self.request(within, content, body)?;
        // Dropped with this, the connection ends.
        let mut tasks = tokio::task::JoinSet::new();
        let response = match within {
            Within::Http2 => {
                let (mut sender, connection) =
                    http2::handshake(TokioExecutor::new(), io).await.map_err(ExportError::Http)?;
                tasks.spawn(connection);
                sender.send_request(request).await
            }
            Within::Http1 | Within::Bytes => {
                let (mut sender, connection) = http1::handshake(io).await.map_err(ExportError::Http)?;
                tasks.spawn(connection);
                sender.send_request(request).await
            }
        };
        let (head, body) = response.map_err(ExportError::Http)?.into_parts();
        if !head.status.is_success() {
            return Err(ExportError::Status(head.status));
        }
        let read = http_body_util::Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let trailers = read.ok().and_then(|read| read.trailers().cloned()).unwrap_or_default();
        match self.protocol {
            Protocol::OtlpGrpc => grpc_status(&head.headers, &trailers),
            Protocol::OtlpHttp | Protocol::Zipkin => Ok(()),
        }
    }

    async fn connect(&self, within: Within) -> Result<Box<dyn Both>, ExportError> {
        let Collector { host, port, secured, .. } = &self.collector;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let stream = TcpStream::connect((bare, *port)).await.map_err(ExportError::Connect)?;
        if !secured {
            return Ok(Box::new(stream));
        }
        let words = BackendTls {
            server_name: None,
            subject_alt_names: Vec::new(),
            trust: Trust::System,
            client: ClientIdentity::Nobody,
        };
        let origin = Origin::new(&words, &Arc::from(bare)).map_err(ExportError::Origin)?;
        let connector = TlsConnector::from(origin.config(within).clone());
        let shaken = connector.connect(origin.server_name.clone(), stream).await;
        Ok(Box::new(shaken.map_err(ExportError::Tls)?))
    }

    fn request(
        &self,
        within: Within,
        content: &str,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, ExportError> {
        let Collector { authority, secured, path, .. } = &self.collector;
        let path = path.as_deref().unwrap_or_else(|| T::path(self.protocol));
        let builder = Request::post(match within {
            Within::Http2 => format!("{}://{authority}{path}", if *secured { "https" } else { "http" }),
            Within::Http1 | Within::Bytes => path.to_owned(),
        });
        let builder = match within {
            Within::Http2 => builder.header(header::TE, "trailers"),
            Within::Http1 | Within::Bytes => builder.header(header::HOST, &**authority),
        };
        builder.header(header::CONTENT_TYPE, content).body(Full::new(body)).map_err(ExportError::Request)
    }
}

/// A message as gRPC frames it: not compressed, and how long it is.
fn framed(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(message.len() + 5);
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.put_slice(message);
    framed.freeze()
}

/// Of an answer without a body the status is in the head.
fn grpc_status(head: &HeaderMap, trailers: &HeaderMap) -> Result<(), ExportError> {
    match weft_l7::grpc::status(trailers).or_else(|| weft_l7::grpc::status(head)) {
        Some(0) => Ok(()),
        Some(status) => Err(ExportError::Grpc(status.to_string())),
        None => Err(ExportError::Grpc("none".to_owned())),
    }
}
