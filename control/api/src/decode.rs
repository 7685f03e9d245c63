//! A JSON value becomes an object, or a refusal that names the field.

use crate::check::{Check, Findings};
use crate::fields::unknown_fields;
use crate::kind::{Kind, Lookup, ObjectKey};
use crate::object::{DEFAULT_NAMESPACE, Object};
use crate::problem::{Note, Severity};
use crate::quantity;
use crate::refusal::{Refusal, RefusedScope, refused_dry_run, refused_scope};
use crate::resource::Resource;
use crate::secret::Secret;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// What a JSON value turned out to be.
#[derive(Debug, Clone, PartialEq)]
pub enum Decoded {
    /// An object, with remarks that do not refuse it.
    Object(Object, Vec<Note>),
    /// An object of a kind that Weft reads, and that it cannot read.
    Refused(Refusal),
    /// An object of a kind that Weft reads, and of nobody knows which namespace: none has such a name, so there is no
    /// place where it could hold or deny. Whoever reads a file keeps its last good version, which may hold it whole.
    Unplaced(Vec<Note>),
    /// Not an object that Weft reads; the note says what it is.
    Skipped(Note),
}

/// Decodes one object.
pub fn decode(value: &Value) -> Decoded {
    let text = |key: &str| value.get(key).and_then(Value::as_str);
    let policy = Kind::ALL.into_iter().find(|kind| kind.is_policy() && text("kind") == Some(kind.name()));
    let (api_version, kind_name) = match (text("apiVersion"), text("kind"), policy) {
        (Some(api_version), Some(kind_name), _) => (api_version, kind_name),
        (None, _, Some(kind)) => return refuse(kind, value, vec![Note::error("apiVersion", "is missing")]),
        _ => {
            let reason = "has no apiVersion and kind, so it is no Kubernetes object";
            return Decoded::Skipped(Note::error("", reason));
        }
    };
    match Kind::of(api_version, kind_name) {
        // Others have kinds of these names too; but it may also be a slip of the pen.
        Lookup::Foreign if policy.is_some() => Decoded::Skipped(Note::warning(
            "apiVersion",
            format!("{api_version} {kind_name} is no policy of a mesh that is read: it has no effect"),
        )),
        Lookup::Foreign => Decoded::Skipped(Note::info("kind", format!("{kind_name} is not read"))),
        Lookup::NotImplemented => Decoded::Skipped(Note::warning(
            "kind",
            format!("{api_version} {kind_name} is not implemented: it has no effect"),
        )),
        Lookup::UnknownVersion(kind) => {
            let versions = kind.versions().join(" and ");
            let are = if kind.versions().len() == 1 { "is" } else { "are" };
            let reason = format!("{api_version} is no version of {kind} that is read: {versions} {are}");
            refuse(kind, value, vec![Note::error("apiVersion", reason)])
        }
        Lookup::Known(kind) => {
            let bad = identity_notes(kind, value);
            if bad.is_empty() { read(kind, value) } else { refuse(kind, value, bad) }
        }
    }
}

/// Refuses an object for reasons that its JSON does not show, such as a field that was written twice.
pub fn refuse_object(value: &Value, notes: Vec<Note>) -> Decoded {
    let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default();
    let (Lookup::Known(kind) | Lookup::UnknownVersion(kind)) = Kind::of(text("apiVersion"), text("kind"))
    else {
        return decode(value);
    };
    let selects = notes.iter().any(|note| {
        let field = note.field.as_str();
        field == "spec" || field.starts_with("spec.selector") || field.starts_with("spec.targetRef")
    });
    let mut refused = refuse(kind, value, notes);
    if let Decoded::Refused(refusal) = &mut refused
        && selects
    {
        // What the selector was to be is not known.
        refusal.scope = RefusedScope::Namespace;
    }
    refused
}

fn read(kind: Kind, value: &Value) -> Decoded {
    let read = match kind {
        Kind::Namespace => typed(value).map(|(one, notes)| (Object::Namespace(one), notes)),
        Kind::Node => typed(&quantity::as_texts(value)).map(|(one, notes)| (Object::Node(one), notes)),
        Kind::Pod => typed(&quantity::as_texts(value)).map(|(one, notes)| (Object::Pod(one), notes)),
        Kind::Service => typed(value).map(|(one, notes)| (Object::Service(one), notes)),
        Kind::EndpointSlice => typed(value).map(|(one, notes)| (Object::EndpointSlice(one), notes)),
        Kind::ServiceAccount => typed(value).map(|(one, notes)| (Object::ServiceAccount(one), notes)),
        Kind::Secret => secret(value).map(|(one, notes)| (Object::Secret(one), notes)),
        Kind::ConfigMap => typed(value).map(|(one, notes)| (Object::ConfigMap(one), notes)),
        Kind::NetworkPolicy => typed(value).map(|(one, notes)| (Object::NetworkPolicy(one), notes)),
        Kind::AuthorizationPolicy => {
            typed(value).map(|(one, notes)| (Object::AuthorizationPolicy(one), notes))
        }
        Kind::PeerAuthentication => typed(value).map(|(one, notes)| (Object::PeerAuthentication(one), notes)),
        Kind::Gateway => resource(value).map(|(one, notes)| (Object::Gateway(one), notes)),
        Kind::GatewayClass => resource(value).map(|(one, notes)| (Object::GatewayClass(one), notes)),
        Kind::HttpRoute => resource(value).map(|(one, notes)| (Object::HttpRoute(one), notes)),
        Kind::GrpcRoute => resource(value).map(|(one, notes)| (Object::GrpcRoute(one), notes)),
        Kind::TcpRoute => resource(value).map(|(one, notes)| (Object::TcpRoute(one), notes)),
        Kind::TlsRoute => resource(value).map(|(one, notes)| (Object::TlsRoute(one), notes)),
        Kind::ReferenceGrant => resource(value).map(|(one, notes)| (Object::ReferenceGrant(one), notes)),
        Kind::BackendTlsPolicy => resource(value).map(|(one, notes)| (Object::BackendTlsPolicy(one), notes)),
        Kind::BackendTrafficPolicy => {
            resource(value).map(|(one, notes)| (Object::BackendTrafficPolicy(one), notes))
        }
        Kind::VirtualService => resource(value).map(|(one, notes)| (Object::VirtualService(one), notes)),
        Kind::DestinationRule => resource(value).map(|(one, notes)| (Object::DestinationRule(one), notes)),
        Kind::ServiceEntry => resource(value).map(|(one, notes)| (Object::ServiceEntry(one), notes)),
        Kind::WorkloadEntry => resource(value).map(|(one, notes)| (Object::WorkloadEntry(one), notes)),
        Kind::Telemetry => resource(value).map(|(one, notes)| (Object::Telemetry(one), notes)),
    };
    match read {
        Ok((object, notes)) => Decoded::Object(object, notes),
        Err(notes) => refuse(kind, value, notes),
    }
}

/// What was read with remarks, or why it is refused.
type Typed<T> = Result<(Box<T>, Vec<Note>), Vec<Note>>;

/// Reads a resource, and refuses one that contradicts itself.
fn resource<S>(value: &Value) -> Typed<Resource<S>>
where
    S: DeserializeOwned + Serialize + Check,
{
    let (one, mut notes) = typed::<Resource<S>>(value)?;
    let found = Findings::of_spec(&one.spec);
    if found.iter().any(|note| note.severity == Severity::Error) {
        return Err(found);
    }
    notes.extend(found);
    Ok((one, notes))
}

/// Reads a Secret. Why one is refused may quote what is written, which is nobody's to read.
fn secret(value: &Value) -> Typed<Secret> {
    typed(value).map_err(|notes: Vec<Note>| {
        let hide = |note: Note| Note { reason: "is not what a Secret has there".to_owned(), ..note };
        notes.into_iter().map(hide).collect()
    })
}

/// Reads a type, and refuses fields that it lacks. Only the status of an object may hold more, with a
/// warning: clusters write it, also clusters that are newer than this build.
fn typed<T: DeserializeOwned + Serialize>(value: &Value) -> Typed<T> {
    let one: T = serde_path_to_error::deserialize(value).map_err(|error| {
        let field = error.path().to_string();
        let reason = in_words(&error.into_inner().to_string());
        vec![Note::error(if field == "." { "" } else { &field }, reason)]
    })?;
    let understood = serde_json::to_value(&one).map_err(|error| vec![Note::error("", error.to_string())])?;
    let unknown = unknown_fields(value, &understood).into_iter();
    let (status, other): (Vec<_>, Vec<_>) = unknown.partition(|note| note.field.starts_with("status."));
    if !other.is_empty() {
        return Err(other);
    }
    let notes = status.into_iter().map(|note| Note::warning(note.field, "unknown field, not read"));
    Ok((Box::new(one), notes.collect()))
}

/// What was due, in the words of those who write manifests.
fn in_words(reason: &str) -> String {
    let Some((what, due)) = reason.rsplit_once(", expected ") else {
        return reason.to_owned();
    };
    let due = match due {
        "i32" | "i64" | "usize" => "a number",
        "u8" => "a number from 0 to 255",
        "u16" => "a number from 0 to 65535",
        "u32" => "a number from 0 to 4294967295",
        "u64" => "a number, 0 or more",
        "f64" => "a number, also with a fraction",
        "a sequence" => "a list",
        "a map" => "a mapping",
        "a string" if what.starts_with("invalid type: integer") || what.contains(": floating point") => {
            "a text: write it in quotes"
        }
        "a string" if what.starts_with("invalid type: boolean") => {
            "a text: write it in quotes (yes, no, on and off are booleans without)"
        }
        "a string" => "a text",
        due if due.starts_with("struct ") => "a mapping",
        due => due,
    };
    format!("{what}, expected {due}")
}

fn refuse(kind: Kind, value: &Value, notes: Vec<Note>) -> Decoded {
    match salvage_key(kind, value, &notes) {
        Some(key) => {
            let (scope, dry_run) = (refused_scope(value), refused_dry_run(value));
            Decoded::Refused(Refusal { key, notes, scope, dry_run })
        }
        None => Decoded::Unplaced(notes),
    }
}

/// The key of an object whose metadata may be broken: a policy without a readable name still denies. None if its
/// namespace is not known.
fn salvage_key(kind: Kind, value: &Value, notes: &[Note]) -> Option<ObjectKey> {
    let metadata = value.get("metadata");
    let field = |name: &str| metadata.and_then(|metadata| metadata.get(name));
    let name = match field("name").and_then(scalar_text) {
        Some(name) if is_name(&name) => name,
        // Marked, so that it cannot be taken for a name that the control plane gives itself.
        Some(name) => format!("(unnamed) {name}"),
        None => "(unnamed)".to_owned(),
    };
    if !kind.is_namespaced() {
        return Some(ObjectKey::new(kind, "", name));
    }
    match field("namespace").filter(|one| !one.is_null()).map(scalar_text) {
        // Without one it belongs to the default one, unless what is wrong may be the very word `namespace`.
        None if !metadata.is_some_and(Value::is_object) || notes.iter().any(misspells_namespace) => None,
        None => Some(ObjectKey::new(kind, DEFAULT_NAMESPACE, name)),
        Some(Some(namespace)) if namespace.is_empty() => Some(ObjectKey::new(kind, DEFAULT_NAMESPACE, name)),
        Some(Some(namespace)) if is_name(&namespace) => Some(ObjectKey::new(kind, namespace, name)),
        Some(_) => None,
    }
}

/// A field that nobody knows and that begins like that word.
fn misspells_namespace(note: &Note) -> bool {
    let field = note.field.strip_prefix("metadata.").unwrap_or_default().to_ascii_lowercase();
    field.starts_with("na") && field != "name"
}

fn scalar_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Longest name of an object (RFC 1123 subdomain, as Kubernetes checks it).
const NAME_BYTES_MAX: usize = 253;

fn identity_notes(kind: Kind, value: &Value) -> Vec<Note> {
    let field = |name: &str| value.get("metadata").and_then(|metadata| metadata.get(name));
    let mut notes = Vec::new();
    match field("name") {
        None | Some(Value::Null) => notes.push(Note::error("metadata.name", "is missing")),
        Some(Value::String(name)) if is_name(name) => {}
        Some(_) => notes.push(Note::error("metadata.name", "is no name: a-z, 0-9, - and . are")),
    }
    if kind.is_namespaced() {
        match field("namespace") {
            None | Some(Value::Null) => {}
            Some(Value::String(name)) if name.is_empty() || is_name(name) => {}
            Some(_) => notes.push(Note::error("metadata.namespace", "is no name: a-z, 0-9, - and . are")),
        }
    }
    notes
}

fn is_name(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
    let outer =
        |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    text.len() <= NAME_BYTES_MAX
        && text.bytes().all(inner)
        && outer(text.bytes().next())
        && outer(text.bytes().last())
}

#[cfg(test)]
mod tests;
