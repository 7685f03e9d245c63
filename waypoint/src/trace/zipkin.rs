//! Spans in Zipkin's JSON (API v2).

use super::span::{Kind, Outcome, Span};
use crate::export::otlp::Tag;
use serde_json::{Map, Value, json};
use std::time::SystemTime;

/// A list of spans of this service.
pub(super) fn encode(service: &str, spans: &[Span]) -> Vec<u8> {
    let all: Vec<Value> = spans.iter().map(|span| one(service, span)).collect();
    Value::from(all).to_string().into_bytes()
}

fn one(service: &str, span: &Span) -> Value {
    let text = |tag: &Tag| match tag {
        Tag::Text(text) => text.clone(),
        Tag::Number(number) => number.to_string(),
        Tag::Real(number) => number.to_string(),
    };
    let mut tags: Map<String, Value> =
        span.tags.iter().map(|(name, tag)| (name.to_string(), text(tag).into())).collect();
    if span.outcome == Outcome::Failed {
        tags.insert("error".to_owned(), "true".into());
    }
    let since = span.at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mut value = json!({
        "traceId": format!("{:032x}", span.trace),
        "id": format!("{:016x}", span.id),
        "kind": match span.kind {
            Kind::Server => "SERVER",
            Kind::Client => "CLIENT",
        },
        "name": span.name,
        "timestamp": since.as_micros() as u64,
        // Zero would mean "not known".
        "duration": (span.took.as_micros() as u64).max(1),
        "localEndpoint": {"serviceName": service},
        "tags": tags,
    });
    if let Some(parent) = span.parent {
        value["parentId"] = format!("{parent:016x}").into();
    }
    value
}
