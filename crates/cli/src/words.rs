//! Values of JSON, and errors, as words for people.

use serde_json::Value;
use std::error::Error;

/// `4m12s`, `3h5m`, `2d4h`: the two biggest units.
pub fn duration(seconds: u64) -> String {
    let units = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let first = units.iter().position(|(length, _)| seconds >= *length).unwrap_or(3);
    let (length, unit) = units[first];
    let mut text = format!("{}{unit}", seconds / length);
    if let Some((next, unit)) = units.get(first + 1)
        && seconds % length / next != 0
    {
        text += &format!("{}{unit}", seconds % length / next);
    }
    text
}

/// `1.2 MB`.
pub fn bytes(count: u64) -> String {
    let units = [(1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
    let unit = units.iter().find(|(size, _)| count >= *size);
    unit.map_or_else(
        || format!("{count} B"),
        |(size, unit)| format!("{:.1} {unit}", count as f64 / *size as f64),
    )
}

/// A value in a cell: a list by commas, nothing as a dash.
pub fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(list) if list.is_empty() => "-".to_owned(),
        Value::Array(list) => list.iter().map(cell).collect::<Vec<_>>().join(","),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        other => other.to_string(),
    }
}

/// `1 pod`, `2 pods`.
pub fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// An error and its causes, in one line.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(deeper) = cause {
        text += &format!(": {deeper}");
        cause = deeper.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_read_well() {
        for (seconds, want) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (252, "4m12s"),
            (11_100, "3h5m"),
            (187_200, "2d4h"),
            (86_400, "1d"),
        ] {
            assert_eq!(duration(seconds), want);
        }
        for (count, want) in [(0, "0 B"), (999, "999 B"), (1_500, "1.5 kB"), (2_000_000_000, "2.0 GB")] {
            assert_eq!(bytes(count), want);
        }
    }

    #[test]
    fn cells_are_never_empty() {
        for (value, want) in [
            (json!(null), "-"),
            (json!([]), "-"),
            (json!(""), "-"),
            (json!(["a", 1]), "a,1"),
            (json!(true), "yes"),
            (json!(1.5), "1.5"),
        ] {
            assert_eq!(cell(&value), want);
        }
    }
}
