//! What the spans of a request say. Their names are those of OpenTelemetry's conventions for HTTP, and of Istio's where there
//! are none.

use super::record::{Brought, Record};
use crate::export::otlp::Tag;
use crate::trace::{Begun, Outcome, Span, Tags};
use std::borrow::Cow;
use std::time::Duration;
use weft_l7::grpc;
use weft_l7::telemetry::TagValue;

/// The span of a request that is over.
pub(super) fn of_request(record: &Record, begun: Begun) -> Span {
    let connection = record.connection();
    let mut tags = in_common(record, record.status());
    tags.extend([
        named("response_flags", text(record.flag().letters())),
        named("weft.tries", Tag::Number(record.tries.into())),
        named("source.principal", text(&connection.client.name)),
    ]);
    tags.extend(record.rule.as_ref().map(|rule| named("http.route", Tag::Text(rule.origin.to_string()))));
    tags.extend(record.grpc().map(|status| named("rpc.grpc.status_code", Tag::Number(status.into()))));
    tags.extend(record.id().map(|id| named("guid:x-request-id", text(id))));
    if let Some(told) = record.told() {
        tags.extend(told.tags.iter().filter_map(|(name, value)| {
            Some((Cow::Owned(name.to_string()), Tag::Text(custom(record, value)?)))
        }));
    }
    begun.end(name(record), record.took(), outcome(record.brought()), tags)
}

/// The span of a try that is over, with what it brought.
pub(super) fn of_try(record: &Record, begun: Begun, (took, brought): (Duration, Brought)) -> Span {
    let mut tags = in_common(record, brought.status);
    tags.extend(brought.grpc.map(|status| named("rpc.grpc.status_code", Tag::Number(status.into()))));
    let again = record.tries.saturating_sub(1);
    if again > 0 {
        tags.push(named("http.request.resend_count", Tag::Number(again.into())));
    }
    begun.end(name(record), took, outcome(brought), tags)
}

/// A call of gRPC goes by its own status: those fail that are a server error to HTTP too (OpenTelemetry's conventions for gRPC,
/// "Server").
fn outcome(brought: Brought) -> Outcome {
    Outcome::of(brought.grpc.map_or(brought.status, grpc::to_http))
}

fn name(record: &Record) -> String {
    let method = record.asks().map(|(method, _)| method).unwrap_or_default();
    match record.connection().service() {
        Some(service) => format!("{method} {}", service.name.hostname),
        None => method.to_owned(),
    }
}

fn in_common(record: &Record, status: u16) -> Tags {
    let mut tags = Tags::new();
    if let Some((method, uri)) = record.asks() {
        tags.extend([named("http.request.method", text(method)), named("url.path", text(uri.path()))]);
    }
    if status > 0 {
        tags.push(named("http.response.status_code", Tag::Number(status.into())));
    }
    if let Some(workload) = record.endpoint() {
        tags.push(named("destination.workload", text(&workload.name)));
        tags.push(named("destination.namespace", text(&workload.namespace)));
    }
    let service = record.connection().service();
    tags.extend(service.map(|service| named("server.address", text(&service.name.hostname))));
    tags
}

/// What a Telemetry wants to be on it.
fn custom(record: &Record, value: &TagValue) -> Option<String> {
    match value {
        TagValue::Literal(text) => Some(text.to_string()),
        TagValue::Header(name, default) => {
            let came = record.kept(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
            came.or_else(|| default.as_ref().map(ToString::to_string))
        }
    }
}

fn named(name: &'static str, tag: Tag) -> (Cow<'static, str>, Tag) {
    (Cow::Borrowed(name), tag)
}

fn text(text: &str) -> Tag {
    Tag::Text(text.to_owned())
}
