//! A collector of OpenTelemetry, with that project's own messages and services.

use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

/// Messages that a test may leave unread.
const QUEUE: usize = 1024;

/// What comes to it, and where it is.
pub(crate) struct Collector {
    pub(crate) endpoint: String,
    spans: mpsc::Receiver<Vec<Span>>,
    lines: mpsc::Receiver<Vec<LogRecord>>,
}

struct Traces(mpsc::Sender<Vec<Span>>);

struct Logs(mpsc::Sender<Vec<LogRecord>>);

#[tonic::async_trait]
impl TraceService for Traces {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let over = |_| Status::unavailable("the test is over");
        self.0.send(spans(request.into_inner())).await.map_err(over)?;
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl LogsService for Logs {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        let over = |_| Status::unavailable("the test is over");
        self.0.send(lines(request.into_inner())).await.map_err(over)?;
        Ok(Response::new(ExportLogsServiceResponse::default()))
    }
}

impl Collector {
    /// By gRPC, on a port of its own.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (to_spans, spans) = mpsc::channel(QUEUE);
        let (to_lines, lines) = mpsc::channel(QUEUE);
        let server = tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(Traces(to_spans)))
            .add_service(LogsServiceServer::new(Logs(to_lines)));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        Self { endpoint, spans, lines }
    }

    /// Spans, until there are as many as are wanted of those that are looked for.
    pub(crate) async fn spans(&mut self, count: usize, wanted: impl Fn(&Span) -> bool) -> Vec<Span> {
        let mut got = Vec::new();
        while got.len() < count {
            got.extend(self.spans.recv().await.unwrap().into_iter().filter(&wanted));
        }
        got
    }

    /// Lines, in the same way.
    pub(crate) async fn lines(
        &mut self,
        count: usize,
        wanted: impl Fn(&LogRecord) -> bool,
    ) -> Vec<LogRecord> {
        let mut got = Vec::new();
        while got.len() < count {
            got.extend(self.lines.recv().await.unwrap().into_iter().filter(&wanted));
        }
        got
    }
}

/// All spans of a message, each from a service with a name.
pub(crate) fn spans(request: ExportTraceServiceRequest) -> Vec<Span> {
    let scopes = request.resource_spans.into_iter().flat_map(|all| {
        assert_named(all.resource);
        all.scope_spans
    });
    scopes.flat_map(|scope| scope.spans).collect()
}

/// All lines of a message, each from a service with a name.
pub(crate) fn lines(request: ExportLogsServiceRequest) -> Vec<LogRecord> {
    let scopes = request.resource_logs.into_iter().flat_map(|all| {
        assert_named(all.resource);
        all.scope_logs
    });
    scopes.flat_map(|scope| scope.log_records).collect()
}

fn assert_named(resource: Option<Resource>) {
    let attributes = resource.expect("a resource").attributes;
    assert_eq!(tag(&attributes, "service.name").as_deref(), Some("waypoint.shop"), "{attributes:?}");
}

/// What stands behind a name.
pub(crate) fn tag(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|one| one.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Any::StringValue(text) => Some(text.clone()),
        Any::IntValue(number) => Some(number.to_string()),
        Any::DoubleValue(number) => Some(number.to_string()),
        other => panic!("{key}: {other:?}"),
    }
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
