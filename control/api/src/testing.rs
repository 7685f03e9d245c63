//! What tests of resources have in common.

use crate::decode::{Decoded, decode};
use crate::problem::Note;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// One object of a kind.
pub(crate) fn object(api_version: &str, kind: &str, spec: &Value) -> Value {
    json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "a", "namespace": "shop"}, "spec": spec})
}

/// The object and what was remarked about it; panics if it is refused.
pub(crate) fn accepted(case: &str, value: &Value) -> (crate::object::Object, Vec<Note>) {
    match decode(value) {
        Decoded::Object(object, notes) => (object, notes),
        other => panic!("{case}: {other:#?}"),
    }
}

/// Why an object is refused; panics if it is not.
pub(crate) fn refused(case: &str, value: &Value) -> Vec<Note> {
    match decode(value) {
        Decoded::Refused(refusal) => refusal.notes,
        other => panic!("{case}: not refused: {other:#?}"),
    }
}

/// Asserts that a spec, changed at one place, is refused there and for this reason.
pub(crate) fn assert_refused(whole: &Value, rows: &[(&str, &str, Value, &str, &str)]) {
    for (case, at, value, field, reason) in rows {
        let mut changed = whole.clone();
        match changed.pointer_mut(&format!("/spec{at}")) {
            Some(place) => *place = value.clone(),
            None => {
                let (parent, key) = at.rsplit_once('/').expect("a row names a field");
                let parent = changed.pointer_mut(&format!("/spec{parent}")).expect("a row names a place");
                parent[key] = value.clone();
            }
        }
        let notes = refused(case, &changed);
        let there = notes.iter().any(|note| note.field == *field && note.reason.contains(reason));
        assert!(there, "{case}: {:?}", notes.iter().map(Note::text).collect::<Vec<_>>());
    }
}

/// Asserts that specs are taken without remark, come back as they are, and have every field of their type.
pub(crate) fn assert_whole<S>(api_version: &str, kind: &str, specs: &[Value])
where
    S: serde::de::DeserializeOwned + serde::Serialize + PartialEq + std::fmt::Debug,
{
    let (mut set, mut unset) = (BTreeSet::new(), BTreeSet::new());
    for spec in specs {
        let (_, notes) = accepted(kind, &object(api_version, kind, spec));
        assert_eq!(notes, [], "{kind}");
        let one: S = serde_json::from_value(spec.clone()).expect("it was read before");
        let written = serde_json::to_value(&one).expect("specs are JSON");
        assert_eq!(serde_json::from_value::<S>(written.clone()).expect("what is written is read"), one);
        assert_within(kind, spec, &written);
        fields(&written, &mut set, &mut unset);
    }
    let never: Vec<_> = unset.difference(&set).collect();
    assert!(never.is_empty(), "{kind}: no example has {never:?}");
}

fn assert_within(path: &str, written: &Value, understood: &Value) {
    match (written, understood) {
        (Value::Object(written), Value::Object(understood)) => {
            for (key, value) in written {
                assert_within(&format!("{path}.{key}"), value, understood.get(key).unwrap_or(&Value::Null));
            }
        }
        (Value::Array(written), Value::Array(understood)) => {
            assert_eq!(written.len(), understood.len(), "{path}");
            written.iter().zip(understood).for_each(|(one, other)| assert_within(path, one, other));
        }
        (Value::Number(written), Value::Number(understood)) => {
            assert_eq!(written.as_f64(), understood.as_f64(), "{path}");
        }
        (written, understood) => assert_eq!(written, understood, "{path}"),
    }
}

/// Fields that are set and that are not. All fields of a type are written, so they tell it from other types.
fn fields(value: &Value, set: &mut BTreeSet<String>, unset: &mut BTreeSet<String>) {
    match value {
        Value::Object(all) => {
            let names = all.keys().map(String::as_str).collect::<Vec<_>>().join(" ");
            for (key, value) in all {
                let name = format!("{key} of ({names})");
                let empty = value.is_null()
                    || value.as_array().is_some_and(Vec::is_empty)
                    || value.as_object().is_some_and(|all| all.is_empty());
                if empty {
                    unset.insert(name)
                } else {
                    set.insert(name)
                };
                fields(value, set, unset);
            }
        }
        Value::Array(all) => all.iter().for_each(|one| fields(one, set, unset)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
