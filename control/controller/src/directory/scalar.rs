//! Plain YAML scalars as Kubernetes reads them: YAML 1.1 with its `on` and `yes`, and C's octal numbers.

use serde_json::{Number, Value};

/// Why a scalar has no value in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadScalar {
    /// `.inf` and `.nan`.
    #[error("is no finite number")]
    NotFinite,
    /// A tag promises what the text does not hold, or means nothing to Kubernetes.
    #[error("does not fit its tag")]
    Tag,
}

/// Resolves a plain scalar (no quotes, no tag).
pub(crate) fn resolve(text: &str) -> Result<Value, BadScalar> {
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Value::Bool(true)
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Value::Bool(false)
        }
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" | "-.inf" | "-.Inf" | "-.INF" | ".nan"
        | ".NaN" | ".NAN" => return Err(BadScalar::NotFinite),
        _ => match integer(text) {
            Some(number) => Value::Number(number),
            None => float(text)?.map_or_else(|| Value::String(text.to_owned()), Value::Number),
        },
    })
}

/// Resolves a scalar with one of YAML's own tags (`!!str` and the like).
pub(crate) fn resolve_tagged(tag: &str, text: &str) -> Result<Value, BadScalar> {
    let fits: fn(&Value) -> bool = match tag {
        "str" => return Ok(Value::String(text.to_owned())),
        "int" => Value::is_i64,
        "float" => Value::is_number,
        "bool" => Value::is_boolean,
        "null" => Value::is_null,
        _ => return Err(BadScalar::Tag),
    };
    let value = resolve(text)?;
    if fits(&value) { Ok(value) } else { Err(BadScalar::Tag) }
}

/// A number as Go's `strconv.ParseInt` with base 0 takes it, underscores anywhere.
fn integer(text: &str) -> Option<Number> {
    let first = text.bytes().next()?;
    if !(first.is_ascii_digit() || matches!(first, b'+' | b'-')) {
        return None;
    }
    let plain = text.replace('_', "");
    let (negative, digits) = match plain.as_bytes().first()? {
        b'-' => (true, &plain[1..]),
        b'+' => (false, &plain[1..]),
        _ => (false, &plain[..]),
    };
    let (base, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    // `from_str_radix` would take another sign.
    if !digits.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    let size = u64::from_str_radix(digits, base).ok()?;
    if !negative {
        return Some(size.into());
    }
    0i64.checked_sub_unsigned(size).map(Into::into)
}

fn float(text: &str) -> Result<Option<Number>, BadScalar> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let fits = match mantissa.split_once('.') {
        Some(("", fraction)) => digits(fraction),
        Some((whole, fraction)) => digits(whole) && (fraction.is_empty() || digits(fraction)),
        None => digits(mantissa),
    };
    let exponent = exponent.is_none_or(|text| digits(text.strip_prefix(['-', '+']).unwrap_or(text)));
    if !fits || !exponent {
        return Ok(None);
    }
    let number = text.parse::<f64>().ok().and_then(Number::from_f64);
    number.map(Some).ok_or(BadScalar::NotFinite)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn plain_scalars_are_what_kubernetes_takes_them_for() {
        for (text, want) in [
            ("", json!(null)),
            ("~", json!(null)),
            ("on", json!(true)),
            ("Yes", json!(true)),
            ("off", json!(false)),
            ("oN", json!("oN")),
            ("80", json!(80)),
            ("-80", json!(-80)),
            ("017", json!(15)),
            ("0o17", json!(15)),
            ("0x1F", json!(31)),
            ("0b11", json!(3)),
            ("1_000", json!(1000)),
            ("08", json!(8.0)),
            ("18446744073709551615", json!(u64::MAX)),
            ("-9223372036854775808", json!(i64::MIN)),
            ("1.5", json!(1.5)),
            ("1e3", json!(1000.0)),
            ("1.", json!(1.0)),
            ("10.0.0.1", json!("10.0.0.1")),
            ("1:30", json!("1:30")),
            ("2026-01-01T00:00:00Z", json!("2026-01-01T00:00:00Z")),
            ("0x", json!("0x")),
            ("-", json!("-")),
            ("--1", json!("--1")),
            ("500m", json!("500m")),
        ] {
            assert_eq!(resolve(text), Ok(want), "{text:?}");
        }
        assert_eq!(resolve(".inf"), Err(BadScalar::NotFinite));
        assert_eq!(resolve("1e999"), Err(BadScalar::NotFinite));
    }

    #[test]
    fn tags_hold_what_they_promise() {
        assert_eq!(resolve_tagged("str", "80"), Ok(json!("80")));
        assert_eq!(resolve_tagged("int", "80"), Ok(json!(80)));
        assert_eq!(resolve_tagged("int", "web"), Err(BadScalar::Tag));
        assert_eq!(resolve_tagged("binary", "aaaa"), Err(BadScalar::Tag));
    }
}
