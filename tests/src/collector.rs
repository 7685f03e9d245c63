//! A small collector of OpenTelemetry's spans (OTLP by gRPC), that keeps what comes.

use anyhow::{Context as _, Result};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

pub use opentelemetry_proto::tonic::trace::v1::Span;
pub use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

/// Spans that are kept; who sends more is told that there is no room.
const SPANS_MAX: usize = 10_000;

/// A collector, until it is dropped.
#[derive(Debug)]
pub struct Collector {
    kept: Kept,
    _runtime: Runtime,
}

type Kept = Arc<Mutex<Vec<Span>>>;

struct Service(Kept);

#[tonic::async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let scopes = request.into_inner().resource_spans.into_iter().flat_map(|all| all.scope_spans);
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(scopes.flat_map(|scope| scope.spans));
        if kept.len() > SPANS_MAX {
            return Err(Status::resource_exhausted("this collector keeps no more"));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    /// Collects what comes to a listener, of whatever network namespace it is.
    ///
    /// # Errors
    /// If there is no thread for it.
    pub fn start(listener: std::net::TcpListener) -> Result<Self> {
        listener.set_nonblocking(true).context("making the collector's listener non-blocking")?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let kept = Kept::default();
        let service = TraceServiceServer::new(Service(kept.clone()));
        let listener = {
            let _entered = runtime.enter();
            TcpListener::from_std(listener).context("taking over the collector's listener")?
        };
        let server = tonic::transport::Server::builder().add_service(service);
        runtime.spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        Ok(Self { kept, _runtime: runtime })
    }

    /// All spans so far, in the order in which they came.
    pub fn spans(&self) -> Vec<Span> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A text that stands on a span under a name.
pub fn tag<'a>(span: &'a Span, name: &str) -> Option<&'a str> {
    let found = span.attributes.iter().find(|one| one.key == name)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}
