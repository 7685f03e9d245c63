//! Writes a JSON value as YAML, so that a person can read a world's manifests. Block style, strings quoted whenever
//! a YAML reader could take them for something else.

use serde_json::Value;

/// The value as one YAML document.
pub(crate) fn to_yaml(value: &Value) -> String {
    let mut text = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => mapping(&mut text, map, 0),
        Value::Array(list) if !list.is_empty() => sequence(&mut text, list, 0),
        plain => {
            text.push_str(&scalar(plain));
            text.push('\n');
        }
    }
    text
}

fn mapping(text: &mut String, map: &serde_json::Map<String, Value>, indent: usize) {
    for (index, (key, value)) in map.iter().enumerate() {
        // The first line of a mapping inside a sequence stands behind the dash.
        if index > 0 || !text.ends_with("- ") {
            text.push_str(&" ".repeat(indent));
        }
        text.push_str(&string(key));
        text.push(':');
        nested(text, value, indent);
    }
}

fn nested(text: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            text.push('\n');
            mapping(text, map, indent + 2);
        }
        Value::Array(list) if !list.is_empty() => {
            text.push('\n');
            sequence(text, list, indent);
        }
        plain => {
            text.push(' ');
            text.push_str(&scalar(plain));
            text.push('\n');
        }
    }
}

fn sequence(text: &mut String, list: &[Value], indent: usize) {
    for item in list {
        text.push_str(&" ".repeat(indent));
        text.push_str("- ");
        match item {
            Value::Object(map) if !map.is_empty() => mapping(text, map, indent + 2),
            plain => {
                // A list in a list is rare enough to be written in flow style, which is JSON.
                text.push_str(&scalar(plain));
                text.push('\n');
            }
        }
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(plain) => string(plain),
        other => other.to_string(),
    }
}

fn string(plain: &str) -> String {
    const WORDS: [&str; 8] = ["true", "false", "null", "yes", "no", "on", "off", "n"];
    let letters = |c: char| c.is_ascii_alphanumeric() || "._/-".contains(c);
    let safe = plain.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && plain.chars().all(letters)
        && !WORDS.contains(&plain.to_ascii_lowercase().as_str())
        && !plain.eq_ignore_ascii_case("y");
    if safe { plain.to_owned() } else { Value::from(plain).to_string() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn documents_read_like_kubernetes() {
        let value = json!({
            "kind": "Pod",
            "spec": {"ports": [{"name": "http", "port": 80}, {"name": "on"}], "ips": ["10.0.0.1", "fd00::1"], "none": []},
            "labels": {"weft.dev/mesh": "enabled", "version": "1"},
        });
        let text = to_yaml(&value);
        for line in [
            "kind: Pod\n",
            "labels:\n  version: \"1\"\n  weft.dev/mesh: enabled\n",
            "  ports:\n  - name: http\n    port: 80\n  - name: \"on\"\n",
            "  ips:\n  - \"10.0.0.1\"\n  - \"fd00::1\"\n",
            "  none: []\n",
        ] {
            assert!(text.contains(line), "{line:?} is not in\n{text}");
        }
    }
}
