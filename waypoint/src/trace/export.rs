//! Brings spans to a collector, in batches, beside the traffic: a collector that is slow or gone costs spans, which are
//! counted, and no request.

use super::span::Span;
use super::{otlp, zipkin};
use crate::config::{Collector, TracingProtocol};
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

/// Spans of one message.
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

/// Brings spans to a collector.
pub(crate) struct Exporter {
    collector: Collector,
    protocol: TracingProtocol,
    service: String,
    queue: mpsc::Receiver<Span>,
    exported: IntCounter,
    dropped: IntCounter,
}

impl Exporter {
    pub(super) fn new(
        collector: Collector,
        protocol: TracingProtocol,
        service: String,
        queue: mpsc::Receiver<Span>,
        spans: &IntCounterVec,
    ) -> Self {
        let (exported, dropped) =
            (spans.with_label_values(&["exported"]), spans.with_label_values(&["dropped"]));
        Self { collector, protocol, service, queue, exported, dropped }
    }

    /// Exports until nobody makes spans any more, and what they have left.
    pub(crate) async fn run(mut self) {
        loop {
            let mut batch = Vec::with_capacity(BATCH_MAX);
            if self.queue.recv_many(&mut batch, BATCH_MAX).await == 0 {
                return;
            }
            if batch.len() < BATCH_MAX && !self.queue.is_closed() {
                tokio::time::sleep(GATHER).await;
                while batch.len() < BATCH_MAX
                    && let Ok(span) = self.queue.try_recv()
                {
                    batch.push(span);
                }
            }
            let count = batch.len() as u64;
            let sent = tokio::time::timeout(SEND_MAX, self.send(batch)).await;
            match sent.unwrap_or(Err(ExportError::Late)) {
                Ok(()) => self.exported.inc_by(count),
                Err(error) => {
                    self.dropped.inc_by(count);
                    let to = &self.collector.authority;
                    tracing::warn!(%to, count, error = describe(&error), "spans are lost; is WEFT_TRACING_ENDPOINT a collector of WEFT_TRACING_PROTOCOL?");
                }
            }
        }
    }

    /// One message, on a connection of its own: there is at most one in flight.
    async fn send(&self, batch: Vec<Span>) -> Result<(), ExportError> {
        let (content, body) = match self.protocol {
            TracingProtocol::OtlpGrpc => ("application/grpc", framed(&otlp::encode(&self.service, batch))),
            TracingProtocol::OtlpHttp => {
                ("application/x-protobuf", otlp::encode(&self.service, batch).into())
            }
            TracingProtocol::Zipkin => ("application/json", zipkin::encode(&self.service, &batch).into()),
        };
        let within = match self.protocol {
            TracingProtocol::OtlpGrpc => Within::Http2,
            TracingProtocol::OtlpHttp | TracingProtocol::Zipkin => Within::Http1,
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
            TracingProtocol::OtlpGrpc => grpc_status(&head.headers, &trailers),
            TracingProtocol::OtlpHttp | TracingProtocol::Zipkin => Ok(()),
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
        let usual = match self.protocol {
            TracingProtocol::OtlpGrpc => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            TracingProtocol::OtlpHttp => "/v1/traces",
            TracingProtocol::Zipkin => "/api/v2/spans",
        };
        let path = path.as_deref().unwrap_or(usual);
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
