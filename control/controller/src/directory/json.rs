//! A YAML tree becomes the JSON that Kubernetes would make of it, with the lines of its fields.

use crate::directory::scalar::{resolve, resolve_tagged};
use crate::directory::yaml::{Node, NodeKind, ScalarTag};
use serde_json::{Map, Value};
use weft_control_api::fields::{push_index, push_key};
use weft_control_api::problem::{Lines, Note};

/// What a YAML tree came to.
pub(crate) struct Json {
    pub(crate) value: Value,
    pub(crate) lines: Lines,
    /// What is YAML and yet nothing that Kubernetes would take.
    pub(crate) notes: Vec<Note>,
}

/// Converts a tree. What cannot be converted is noted and becomes null.
pub(crate) fn convert(node: &Node) -> Json {
    let mut converter = Converter { path: String::new(), lines: Lines::default(), notes: Vec::new() };
    let value = converter.value(node, node.line);
    Json { value, lines: converter.lines, notes: converter.notes }
}

struct Converter {
    path: String,
    lines: Lines,
    notes: Vec<Note>,
}

impl Converter {
    /// `line` is where the field begins: that of its key, if it has one.
    fn value(&mut self, node: &Node, line: u32) -> Value {
        self.lines.insert(&self.path, line);
        match &node.kind {
            NodeKind::Scalar { text, plain, tag } => self.scalar(text, *plain, tag.as_ref()),
            NodeKind::List(items) => {
                let convert = |(index, item): (usize, &Node)| {
                    self.within(|path| push_index(path, index), |this| this.value(item, item.line))
                };
                items.iter().enumerate().map(convert).collect()
            }
            NodeKind::Mapping(fields) => {
                let mut map = Map::new();
                self.fields(fields, &mut map);
                Value::Object(map)
            }
        }
    }

    fn scalar(&mut self, text: &str, plain: bool, tag: Option<&ScalarTag>) -> Value {
        let read = match tag {
            None if plain => resolve(text),
            None | Some(ScalarTag::NonSpecific) => return Value::String(text.to_owned()),
            Some(ScalarTag::Core(tag)) => resolve_tagged(tag, text),
            Some(ScalarTag::Other(tag)) => {
                self.notes.push(Note::error(&*self.path, format!("the tag {tag} means nothing here")));
                return Value::Null;
            }
        };
        read.unwrap_or_else(|bad| {
            self.notes.push(Note::error(&*self.path, format!("{text:?} {bad}")));
            Value::Null
        })
    }

    fn fields(&mut self, fields: &[(Node, Node)], map: &mut Map<String, Value>) {
        let mut merges = Vec::new();
        for (key, value) in fields {
            if is_merge(key) {
                merges.push(value);
                continue;
            }
            let Some(name) = self.key(key) else {
                continue;
            };
            if map.contains_key(&name) {
                let note = |this: &mut Self| this.notes.push(Note::error(&*this.path, "is there twice"));
                self.within(|path| push_key(path, &name), note);
                continue;
            }
            let value = self.within(|path| push_key(path, &name), |this| this.value(value, key.line));
            map.insert(name, value);
        }
        for merged in merges {
            self.merge(merged, map);
        }
    }

    /// `<<`: fields of other mappings, where this one has none of its own.
    fn merge(&mut self, merged: &Node, map: &mut Map<String, Value>) {
        match &merged.kind {
            NodeKind::Mapping(fields) => {
                let mut others = Map::new();
                self.fields(fields, &mut others);
                for (name, value) in others {
                    map.entry(name).or_insert(value);
                }
            }
            NodeKind::List(all) if all.iter().all(|one| matches!(one.kind, NodeKind::Mapping(_))) => {
                all.iter().for_each(|one| self.merge(one, map));
            }
            NodeKind::List(_) | NodeKind::Scalar { .. } => {
                self.notes.push(Note::error(&*self.path, "<< takes a mapping or a list of them"));
            }
        }
    }

    /// Keys are texts in JSON: `8080:` and `on:` become what a number and a truth value print as.
    fn key(&mut self, key: &Node) -> Option<String> {
        let value = match &key.kind {
            NodeKind::Scalar { text, plain, tag } => self.scalar(text, *plain, tag.as_ref()),
            NodeKind::List(_) | NodeKind::Mapping(_) => Value::Null,
        };
        match value {
            Value::String(text) => Some(text),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(truth) => Some(truth.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => {
                self.notes.push(Note::error(&*self.path, "has a key that is no text"));
                None
            }
        }
    }

    fn within<T>(&mut self, add: impl FnOnce(&mut String), then: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.path.len();
        add(&mut self.path);
        let value = then(self);
        self.path.truncate(length);
        value
    }
}

fn is_merge(key: &Node) -> bool {
    matches!(&key.kind, NodeKind::Scalar { text, plain: true, tag: None } if text == "<<")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::yaml;
    use serde_json::json;

    fn of(text: &str) -> Json {
        convert(&yaml::read(text).expect("the test writes YAML")[0])
    }

    #[test]
    fn yaml_becomes_the_json_of_kubernetes() {
        for (case, text, want) in [
            ("plain", "a: 1\nb: [x, 'on', on]", json!({"a": 1, "b": ["x", "on", true]})),
            ("keys", "8080: a\non: b\n'1': c", json!({"8080": "a", "true": "b", "1": "c"})),
            ("anchors", "a: &x {b: 1}\nc: *x", json!({"a": {"b": 1}, "c": {"b": 1}})),
            (
                "merge",
                "a: &x {b: 1, c: 2}\nd:\n  <<: *x\n  c: 3",
                json!({
                    "a": {"b": 1, "c": 2}, "d": {"b": 1, "c": 3},
                }),
            ),
            ("tags", "a: !!str 80\nb: ! 80", json!({"a": "80", "b": "80"})),
            ("literal", "a: |\n  on\n", json!({"a": "on\n"})),
            ("JSON", "{\"a\": [1, \"\\u00e4\\n\"]}", json!({"a": [1, "ä\n"]})),
        ] {
            let json = of(text);
            assert_eq!((json.value, json.notes), (want, vec![]), "{case}");
        }
    }

    #[test]
    fn what_json_cannot_say_is_named() {
        for (case, text, field) in [
            ("twice", "a:\n  b: 1\n  b: 2", "a.b"),
            ("not finite", "a: [1, .nan]", "a[1]"),
            ("unknown tag", "a: !secret x", "a"),
            ("odd key", "a:\n  [x]: 1", "a"),
            ("merge of nothing", "a:\n  <<: 1", "a"),
        ] {
            let notes = of(text).notes;
            assert_eq!(notes.iter().map(|note| &*note.field).collect::<Vec<_>>(), [field], "{case}");
        }
    }

    #[test]
    fn fields_have_the_lines_of_their_keys() {
        let lines = of("a:\n  b:\n  - 1\n  - c: 2\n").lines;
        for (field, line) in [("", 1), ("a", 1), ("a.b", 2), ("a.b[0]", 3), ("a.b[1].c", 4), ("a.b[1].d", 4)]
        {
            assert_eq!(lines.line(field), Some(line), "{field}");
        }
    }
}
