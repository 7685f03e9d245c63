//! Writes JSON as YAML, in block style. A string that a reader could take for anything else is quoted.

use serde_json::Value;
use std::fmt::Write as _;

/// One document.
pub fn render(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Array(list) if !list.is_empty() => sequence(&mut out, list, 0),
        Value::Object(map) if !map.is_empty() => mapping(&mut out, map, 0),
        plain => out = scalar(plain) + "\n",
    }
    out
}

fn sequence(out: &mut String, list: &[Value], indent: usize) {
    for item in list {
        let _never = write!(out, "{:indent$}- ", "");
        match item {
            // The first line of what is nested stands behind the dash.
            Value::Array(list) if !list.is_empty() => {
                behind(out, indent, |out| sequence(out, list, indent + 2));
            }
            Value::Object(map) if !map.is_empty() => {
                behind(out, indent, |out| mapping(out, map, indent + 2));
            }
            plain => *out += &(scalar(plain) + "\n"),
        }
    }
}

fn behind(out: &mut String, indent: usize, nested: impl FnOnce(&mut String)) {
    let mut inner = String::new();
    nested(&mut inner);
    *out += inner.get(indent + 2..).unwrap_or_default();
}

fn mapping(out: &mut String, map: &serde_json::Map<String, Value>, indent: usize) {
    for (key, value) in map {
        let _never = write!(out, "{:indent$}{}:", "", string(key));
        match value {
            Value::Array(list) if !list.is_empty() => {
                out.push('\n');
                sequence(out, list, indent + 2);
            }
            Value::Object(map) if !map.is_empty() => {
                out.push('\n');
                mapping(out, map, indent + 2);
            }
            plain => *out += &format!(" {}\n", scalar(plain)),
        }
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => string(text),
        // Empty lists and mappings, numbers, truth and null read the same in both.
        other => other.to_string(),
    }
}

/// Plain if it begins with a letter or a slash and has nothing special in it; quoted as JSON otherwise.
fn string(text: &str) -> String {
    const WORDS: [&str; 9] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let begins = text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '/');
    let clean = text.chars().all(|one| one.is_ascii_alphanumeric() || "-_./".contains(one));
    let word = WORDS.contains(&text.to_ascii_lowercase().as_str());
    if begins && clean && !word { text.to_owned() } else { Value::from(text).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_written_as_people_would() {
        // Keys by the alphabet, which is the order of the map unless some crate asks for another.
        let value = json!([
            {"empty": [], "labels": {"v": "1"}, "name": "a", "none": null, "ports": [80, 443]},
            [["nested"], "spiffe://x"],
            "no",
        ]);
        let want = "- empty: []\n  labels:\n    v: \"1\"\n  name: a\n  none: null\n  ports:\n    - 80\n    - 443\n\
                    - - - nested\n  - \"spiffe://x\"\n- \"no\"\n";
        assert_eq!(render(&value), want);
        assert_eq!(render(&json!({})), "{}\n");
        assert_eq!(render(&json!("10.0.0.1")), "\"10.0.0.1\"\n");
    }
}
