//! Spans in OpenTelemetry's protocol (OTLP 1.x, `opentelemetry/proto/trace/v1`): only the fields that are filled.

use super::span::{Kind, Outcome, Span};
use crate::export::otlp::{KeyValue, Resource, Scope, nanos};
use prost::Message;

#[derive(Clone, PartialEq, Message)]
struct ExportTraceServiceRequest {
    #[prost(message, repeated, tag = "1")]
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_spans: Vec<ScopeSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct ScopeSpans {
    #[prost(message, optional, tag = "1")]
    scope: Option<Scope>,
    #[prost(message, repeated, tag = "2")]
    spans: Vec<OtlpSpan>,
}

#[derive(Clone, PartialEq, Message)]
struct OtlpSpan {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    parent_span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(int32, tag = "6")]
    kind: i32,
    #[prost(fixed64, tag = "7")]
    start_time_unix_nano: u64,
    #[prost(fixed64, tag = "8")]
    end_time_unix_nano: u64,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<KeyValue>,
    #[prost(message, optional, tag = "15")]
    status: Option<Status>,
}

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "3")]
    code: i32,
}

/// `SPAN_KIND_SERVER`.
const SERVER: i32 = 2;
/// `SPAN_KIND_CLIENT`.
const CLIENT: i32 = 3;
/// `STATUS_CODE_ERROR`.
const ERROR: i32 = 2;

/// A request to a collector, of spans of this service.
pub(super) fn encode(service: &str, spans: Vec<Span>) -> Vec<u8> {
    let spans = spans.into_iter().map(OtlpSpan::from).collect();
    let request = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource::service(service)),
            scope_spans: vec![ScopeSpans { scope: Some(Scope::own()), spans }],
        }],
    };
    request.encode_to_vec()
}

impl From<Span> for OtlpSpan {
    fn from(span: Span) -> Self {
        let begun = nanos(span.at);
        let took = u64::try_from(span.took.as_nanos()).unwrap_or(u64::MAX);
        Self {
            trace_id: span.trace.to_be_bytes().to_vec(),
            span_id: span.id.to_be_bytes().to_vec(),
            parent_span_id: span.parent.map(|parent| parent.to_be_bytes().to_vec()).unwrap_or_default(),
            name: span.name,
            kind: match span.kind {
                Kind::Server => SERVER,
                Kind::Client => CLIENT,
            },
            start_time_unix_nano: begun,
            end_time_unix_nano: begun.saturating_add(took),
            attributes: span.tags.into_iter().map(|(key, tag)| KeyValue::new(&key, tag)).collect(),
            // Of what somebody has answered it is left to the reader.
            status: (span.outcome == Outcome::Failed).then_some(Status { code: ERROR }),
        }
    }
}
