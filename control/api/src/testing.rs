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
    assert_told(
        kind,
        specs.iter().map(|spec| {
            let one: S = serde_json::from_value(spec.clone()).expect("it was read before");
            serde_json::to_value(&one).expect("specs are JSON")
        }),
    );
    let never: Vec<_> = unset.difference(&set).collect();
    assert!(never.is_empty(), "{kind}: no example has {never:?}");
}

/// Asserts that `docs/compatibility.md` says of every field what becomes of it, and of no others.
fn assert_told(kind: &str, specs: impl Iterator<Item = Value>) {
    let mut written = BTreeSet::new();
    specs.for_each(|spec| paths(&spec, "", &mut written));
    let told = told(kind);
    let covers = |row: &str, path: &str| match row.strip_suffix(".*") {
        Some(all) => {
            path.strip_prefix(all).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        }
        None => row == path,
    };
    let missing: Vec<_> = written.iter().filter(|path| !told.iter().any(|row| covers(row, path))).collect();
    assert!(missing.is_empty(), "docs/compatibility.md says nothing of these fields of {kind}: {missing:#?}");
    let needless: Vec<_> = told.iter().filter(|row| !written.iter().any(|path| covers(row, path))).collect();
    assert!(needless.is_empty(), "docs/compatibility.md has rows for no field of {kind}: {needless:#?}");
}

/// The paths in the first column of a kind's table.
fn told(kind: &str) -> BTreeSet<String> {
    let all = include_str!("../../../docs/compatibility.md");
    let heading = format!("\n## {kind}\n");
    let (_, rest) = all.split_once(&heading).unwrap_or_else(|| panic!("docs/compatibility.md lacks {kind}"));
    let section = rest.split("\n## ").next().unwrap_or(rest);
    let columns = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once(" |"));
    // One row may be about several fields.
    let cells = columns.flat_map(|(cell, _)| cell.split(", ")).map(|one| one.trim_matches('`').to_owned());
    cells.collect()
}

/// The paths of all fields that hold no others.
fn paths(value: &Value, at: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(all) if !all.is_empty() => {
            for (key, value) in all {
                let path = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
                paths(value, &path, found);
            }
        }
        Value::Array(all) if all.iter().any(Value::is_object) => {
            all.iter().for_each(|one| paths(one, &format!("{at}[]"), found));
        }
        // The field holds others in another example.
        Value::Null => {}
        _ => drop(found.insert(at.to_owned())),
    }
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
