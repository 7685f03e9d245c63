//! Lines of the access log in OpenTelemetry's protocol (OTLP 1.x, `opentelemetry/proto/logs/v1`): only the fields that are
//! filled.

use crate::config::Protocol;
use crate::export::Signal;
use crate::export::otlp::{AnyValue, KeyValue, Resource, Scope, Tag, nanos};
use prost::Message;
use std::time::SystemTime;
use weft_runtime::access::{Pairs, Value};

/// A line, as a collector gets it.
pub(crate) struct LogLine {
    at: SystemTime,
    /// The trace and the span of the request, if it has one.
    place: Option<(u128, u64)>,
    pairs: Vec<(&'static str, Tag)>,
}

impl LogLine {
    /// An empty one.
    pub(super) fn new(place: Option<(u128, u64)>) -> Self {
        Self { at: SystemTime::now(), place, pairs: Vec::new() }
    }
}

impl Pairs for LogLine {
    fn pair(&mut self, key: &'static str, value: Value<'_>) {
        let tag = match value {
            Value::Text(text) => Tag::Text(text.to_owned()),
            Value::Addr(addr) => Tag::Text(addr.to_string()),
            Value::Number(number) => Tag::Number(number),
            Value::Millis(millis) => Tag::Real(millis),
            // Collectors have a field of their own for it.
            Value::Time(time) => {
                self.at = time;
                return;
            }
        };
        self.pairs.push((key, tag));
    }
}

impl Signal for LogLine {
    const WORD: &'static str = "lines of the access log";
    const SETTING: &'static str = "WEFT_ACCESS_LOG_ENDPOINT";

    fn path(protocol: Protocol) -> &'static str {
        match protocol {
            Protocol::OtlpGrpc => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
            Protocol::OtlpHttp | Protocol::Zipkin => "/v1/logs",
        }
    }

    fn encode(_protocol: Protocol, service: &str, batch: Vec<Self>) -> Vec<u8> {
        let log_records = batch.into_iter().map(LogRecord::from).collect();
        let request = ExportLogsServiceRequest {
            resource_logs: vec![ResourceLogs {
                resource: Some(Resource::service(service)),
                scope_logs: vec![ScopeLogs { scope: Some(Scope::own()), log_records }],
            }],
        };
        request.encode_to_vec()
    }
}

#[derive(Clone, PartialEq, Message)]
struct ExportLogsServiceRequest {
    #[prost(message, repeated, tag = "1")]
    resource_logs: Vec<ResourceLogs>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceLogs {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_logs: Vec<ScopeLogs>,
}

#[derive(Clone, PartialEq, Message)]
struct ScopeLogs {
    #[prost(message, optional, tag = "1")]
    scope: Option<Scope>,
    #[prost(message, repeated, tag = "2")]
    log_records: Vec<LogRecord>,
}

#[derive(Clone, PartialEq, Message)]
struct LogRecord {
    #[prost(fixed64, tag = "1")]
    time_unix_nano: u64,
    #[prost(int32, tag = "2")]
    severity_number: i32,
    #[prost(message, optional, tag = "5")]
    body: Option<AnyValue>,
    #[prost(message, repeated, tag = "6")]
    attributes: Vec<KeyValue>,
    #[prost(bytes = "vec", tag = "9")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "10")]
    span_id: Vec<u8>,
}

/// `SEVERITY_NUMBER_INFO`.
const INFO: i32 = 9;

impl From<LogLine> for LogRecord {
    fn from(line: LogLine) -> Self {
        let (trace_id, span_id) = match line.place {
            Some((trace, span)) => (trace.to_be_bytes().to_vec(), span.to_be_bytes().to_vec()),
            None => (Vec::new(), Vec::new()),
        };
        Self {
            time_unix_nano: nanos(line.at),
            severity_number: INFO,
            body: Some(Tag::Text("access".to_owned()).into()),
            attributes: line.pairs.into_iter().map(|(key, tag)| KeyValue::new(key, tag)).collect(),
            trace_id,
            span_id,
        }
    }
}
