//! Fields that a type does not have: what was written, compared with what was understood.
//!
//! `k8s_openapi` skips fields that it does not know. Writing the object out again shows what it skipped.

use crate::problem::Note;
use serde_json::Value;

/// How many unknown fields of one object are told; more say nothing new.
pub const UNKNOWN_FIELDS_MAX: usize = 16;

/// What is written and not understood: fields that `understood` lacks (a `null` is the same as nothing), and
/// lists where it has a mapping, which serde takes for the fields in their order.
pub fn unknown_fields(written: &Value, understood: &Value) -> Vec<Note> {
    let mut found = Vec::new();
    compare(written, understood, &mut String::new(), &mut found);
    found
}

fn compare(written: &Value, understood: &Value, path: &mut String, found: &mut Vec<Note>) {
    match (written, understood) {
        (Value::Object(written), Value::Object(understood)) => {
            for (key, value) in written.iter().filter(|(_, value)| !value.is_null()) {
                within(
                    path,
                    |path| push_key(path, key),
                    |path| match understood.get(key) {
                        Some(understood) => compare(value, understood, path, found),
                        None if found.len() < UNKNOWN_FIELDS_MAX => {
                            found.push(Note::error(path.as_str(), "unknown field"));
                        }
                        None => {}
                    },
                );
            }
        }
        (Value::Array(written), Value::Array(understood)) => {
            for (index, (written, understood)) in written.iter().zip(understood).enumerate() {
                within(
                    path,
                    |path| push_index(path, index),
                    |path| compare(written, understood, path, found),
                );
            }
        }
        (Value::Array(_), Value::Object(_)) => {
            found.push(Note::error(path.as_str(), "is a list, not a mapping"));
        }
        _ => {}
    }
}

fn within(path: &mut String, add: impl FnOnce(&mut String), then: impl FnOnce(&mut String)) {
    let length = path.len();
    add(path);
    then(path);
    path.truncate(length);
}

/// Adds the key of a mapping to a path.
pub fn push_key(path: &mut String, key: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(key);
}

/// Adds an index of a list to a path.
pub fn push_index(path: &mut String, index: usize) {
    use std::fmt::Write;
    write!(path, "[{index}]").expect("a String takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_was_not_understood_is_named_by_its_path() {
        for (case, written, understood, want) in [
            ("same", json!({"a": {"b": 1}}), json!({"a": {"b": 2}}), vec![]),
            ("nested", json!({"a": {"b": 1}}), json!({"a": {}}), vec!["a.b"]),
            ("in a list", json!({"a": [{}, {"x": 1}]}), json!({"a": [{}, {}]}), vec!["a[1].x"]),
            ("a list for a mapping", json!({"a": []}), json!({"a": {}}), vec!["a"]),
            ("null is nothing", json!({"a": null}), json!({}), vec![]),
        ] {
            let found = unknown_fields(&written, &understood);
            assert_eq!(found.iter().map(|note| &*note.field).collect::<Vec<_>>(), want, "{case}");
        }
    }
}
