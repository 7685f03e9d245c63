//! What spans and lines have in common in OpenTelemetry's protocol (OTLP 1.x, `opentelemetry/proto/common/v1` and
//! `resource/v1`): only the fields that are filled.

use prost::Message;
use std::time::SystemTime;

/// What stands behind a name.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Tag {
    Text(String),
    Number(u64),
    Real(f64),
}

/// Whose all of a message is.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<KeyValue>,
}

/// What made it.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Scope {
    #[prost(string, tag = "1")]
    name: String,
}

/// A name, and what stands behind it.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct KeyValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

/// What stands behind a name, in the protocol's form.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct AnyValue {
    #[prost(oneof = "Value", tags = "1, 3, 4")]
    value: Option<Value>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Value {
    #[prost(string, tag = "1")]
    String(String),
    #[prost(int64, tag = "3")]
    Int(i64),
    #[prost(double, tag = "4")]
    Double(f64),
}

impl Resource {
    /// A service.
    pub(crate) fn service(name: &str) -> Self {
        Self { attributes: vec![KeyValue::new("service.name", Tag::Text(name.to_owned()))] }
    }
}

impl Scope {
    /// This program.
    pub(crate) fn own() -> Self {
        Self { name: "weft-waypoint".to_owned() }
    }
}

impl KeyValue {
    pub(crate) fn new(key: &str, tag: Tag) -> Self {
        Self { key: key.to_owned(), value: Some(tag.into()) }
    }
}

impl From<Tag> for AnyValue {
    fn from(tag: Tag) -> Self {
        let value = match tag {
            Tag::Text(text) => Value::String(text),
            Tag::Number(number) => Value::Int(i64::try_from(number).unwrap_or(i64::MAX)),
            Tag::Real(number) => Value::Double(number),
        };
        Self { value: Some(value) }
    }
}

/// Since 1970.
pub(crate) fn nanos(at: SystemTime) -> u64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
