//! One file of manifests: objects, refusals, and what is wrong with the file. Pure.

use crate::directory::json::{Json, convert};
use crate::directory::yaml::{self, Node, NodeKind};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;
use weft_control_api::decode::{Decoded, decode, refuse_object};
use weft_control_api::problem::{Note, Origin, Problem, Severity};
use weft_control_index::change::Change;

/// Longest file that is read. A Kubernetes object has at most 1.5 MiB; ten of the largest fit, and a file put
/// there by mistake (an image, a log) does not take the control plane's memory.
pub const FILE_BYTES_MAX: usize = 16 << 20;

/// What a file holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Manifests {
    /// Its objects, each once: [`Change::Upsert`] or [`Change::Refuse`].
    pub objects: Vec<Change>,
    /// What is wrong with the file besides its objects, such as a kind that is not read.
    pub problems: Vec<Problem>,
}

/// Reads a file of manifests.
///
/// # Errors
/// Why the file cannot be read at all: then what it held before still holds.
pub fn parse_manifests(bytes: &[u8], file: &str) -> Result<Manifests, Problem> {
    let whole = |line: Option<u32>, reason: String| Problem {
        source: file.into(),
        line,
        object: None,
        field: String::new(),
        reason,
        severity: Severity::Error,
    };
    if bytes.len() > FILE_BYTES_MAX {
        return Err(whole(None, format!("is larger than {FILE_BYTES_MAX} bytes")));
    }
    let text = std::str::from_utf8(bytes).map_err(|bad| {
        let lines = bytes[..bad.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
        whole(u32::try_from(lines + 1).ok(), "is not UTF-8".to_owned())
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let documents =
        yaml::read(text).map_err(|bad| whole(Some(bad.line), format!("is not YAML: {}", bad.reason)))?;
    let mut reader =
        Reader { file: file.into(), found: Manifests::default(), known: BTreeSet::new(), unplaced: None };
    documents.iter().for_each(|document| reader.document(document));
    match reader.unplaced {
        Some(problem) => Err(problem),
        None => Ok(reader.found),
    }
}

struct Reader {
    file: Arc<str>,
    found: Manifests,
    known: BTreeSet<weft_control_api::kind::ObjectKey>,
    /// The first object of nobody knows which namespace. It may be any of those that the file held before, and a
    /// policy among them must not be lost by a slip of the pen, nor the whole mesh be denied for it.
    unplaced: Option<Problem>,
}

impl Reader {
    fn document(&mut self, document: &Node) {
        match list_items(document) {
            Some(items) => items.iter().for_each(|item| self.document(item)),
            None => self.object(document),
        }
    }

    fn object(&mut self, node: &Node) {
        let Json { value, lines, notes } = convert(node);
        if value.is_null() && notes.is_empty() {
            return; // An empty document, such as the one before a leading `---`.
        }
        let origin = Origin { source: self.file.clone(), lines: Arc::new(lines) };
        let change = match decoded(&value, notes) {
            Decoded::Object(object, notes) => Change::Upsert { object, notes, origin },
            Decoded::Refused(refusal) => Change::Refuse { refusal, origin },
            Decoded::Unplaced(notes) => {
                let note =
                    notes.into_iter().next().unwrap_or_else(|| Note::error("metadata", "is unreadable"));
                let reason = format!("{}; the file's last good version stays in force", note.reason);
                let problem = origin.locate(None, Note::error(note.field, reason));
                self.unplaced.get_or_insert(problem);
                return;
            }
            Decoded::Skipped(note) => {
                self.found.problems.push(origin.locate(None, note));
                return;
            }
        };
        self.add(change);
    }

    fn add(&mut self, change: Change) {
        let key = change.key();
        if self.known.insert(key.clone()) {
            self.found.objects.push(change);
        } else {
            let (Change::Upsert { origin, .. } | Change::Refuse { origin, .. }) = change else {
                return;
            };
            let note = Note::error("", "is there twice in this file; the first one counts");
            self.found.problems.push(origin.locate(Some(key), note));
        }
    }
}

/// What JSON cannot say refuses the object, whatever else is right with it.
fn decoded(value: &Value, notes: Vec<Note>) -> Decoded {
    if notes.is_empty() { decode(value) } else { refuse_object(value, notes) }
}

/// The items of a `List`, as `kubectl get -o yaml` writes it.
fn list_items(node: &Node) -> Option<&[Node]> {
    let NodeKind::Mapping(fields) = &node.kind else {
        return None;
    };
    let field =
        |name: &str| fields.iter().find(|(key, _)| key.scalar() == Some(name)).map(|(_, value)| value);
    let is_list =
        field("kind")?.scalar()?.ends_with("List") && field("metadata").is_none_or(Node::is_unnamed);
    match &field("items")?.kind {
        NodeKind::List(items) if is_list => Some(items),
        _ => None,
    }
}

impl Node {
    fn scalar(&self) -> Option<&str> {
        match &self.kind {
            NodeKind::Scalar { text, .. } => Some(text),
            NodeKind::List(_) | NodeKind::Mapping(_) => None,
        }
    }

    /// Metadata of a list has no name.
    fn is_unnamed(&self) -> bool {
        match &self.kind {
            NodeKind::Mapping(fields) => !fields.iter().any(|(key, _)| key.scalar() == Some("name")),
            NodeKind::Scalar { .. } | NodeKind::List(_) => true,
        }
    }
}

#[cfg(test)]
mod tests;
