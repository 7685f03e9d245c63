//! Durations as manifests write them. Gateway API and Istio take different texts.

use serde::Serialize;
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

/// A duration of Gateway API (GEP-2257): `1h30m`, `5s`, `250ms`. Whole milliseconds, at most 99999 hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(into = "String")]
pub struct GatewayDuration(Duration);

/// A duration of Istio, which is one of Go: `1h30m`, `5s`, `250ms`, also with fractions as in `1.5s`. Never negative,
/// at most about 292 years.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(into = "String")]
pub struct IstioDuration(Duration);

/// A text is no duration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadDuration(String);

impl fmt::Display for BadDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no duration: 1h30m, 5s, 250ms are", self.0)
    }
}

impl GatewayDuration {
    /// The duration.
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl IstioDuration {
    /// The duration.
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl TryFrom<String> for GatewayDuration {
    type Error = BadDuration;

    fn try_from(text: String) -> Result<Self, BadDuration> {
        match gateway(&text) {
            Some(duration) => Ok(Self(duration)),
            None => Err(BadDuration(text)),
        }
    }
}

impl TryFrom<String> for IstioDuration {
    type Error = BadDuration;

    fn try_from(text: String) -> Result<Self, BadDuration> {
        match go(&text) {
            Some(duration) => Ok(Self(duration)),
            None => Err(BadDuration(text)),
        }
    }
}

impl<'de> Deserialize<'de> for GatewayDuration {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(Text(PhantomData))
    }
}

impl<'de> Deserialize<'de> for IstioDuration {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(Text(PhantomData))
    }
}

/// Reads a text, and says what one looks like where there is none.
struct Text<T>(PhantomData<T>);

impl<T: TryFrom<String, Error = BadDuration>> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration with its unit: 1h30m, 5s, 250ms are")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        T::try_from(text.to_owned()).map_err(E::custom)
    }
}

/// The longest duration that its own text can say, with five digits of hours.
const GATEWAY_MAX: Duration = Duration::from_secs(99_999 * 3600);

/// One to four numbers of one to five digits with their units. No fractions, no signs.
fn gateway(text: &str) -> Option<Duration> {
    let (mut rest, mut total, mut parts) = (text, Duration::ZERO, 0);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest.get(..digits).filter(|_| (1..=5).contains(&digits))?.parse().ok()?;
        let unit_bytes = rest[digits..].bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, after) = rest[digits..].split_at(unit_bytes);
        total += match unit {
            "h" => Duration::from_secs(number * 3600),
            "m" => Duration::from_secs(number * 60),
            "s" => Duration::from_secs(number),
            "ms" => Duration::from_millis(number),
            _ => return None,
        };
        (rest, parts) = (after, parts + 1);
    }
    ((1..=4).contains(&parts) && total <= GATEWAY_MAX).then_some(total)
}

/// The longest duration of Go, whose durations are nanoseconds in 64 bits with a sign.
const GO_NANOS_MAX: u128 = i64::MAX as u128;

fn go(text: &str) -> Option<Duration> {
    let text = text.strip_prefix('+').unwrap_or(text);
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let (mut rest, mut nanos) = (text, 0_u128);
    while !rest.is_empty() {
        let number_bytes = rest.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
        let (number, after) = rest.split_at(number_bytes);
        let unit_bytes = after.find(|next: char| next.is_ascii_digit() || next == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_bytes);
        nanos = nanos.saturating_add(nanos_of(number, unit)?);
        rest = after;
    }
    (!text.is_empty() && nanos <= GO_NANOS_MAX)
        .then(|| Duration::new((nanos / 1_000_000_000) as u64, (nanos % 1_000_000_000) as u32))
}

/// A number with a fraction, in a unit. What is finer than a nanosecond is dropped, as in Go.
fn nanos_of(number: &str, unit: &str) -> Option<u128> {
    let scale: u128 = match unit {
        "ns" => 1,
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60 * 1_000_000_000,
        "h" => 3600 * 1_000_000_000,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    // Eighteen digits hold every duration there is, and any fraction of a nanosecond that may count.
    let digits = |text: &str| if text.is_empty() { Some(0) } else { text.parse::<u64>().ok() };
    let fraction = &fraction[..fraction.len().min(18)];
    let part = u128::from(digits(fraction)?) * scale / 10_u128.pow(fraction.len() as u32);
    Some(u128::from(digits(whole)?) * scale + part)
}

impl From<GatewayDuration> for String {
    fn from(GatewayDuration(duration): GatewayDuration) -> Self {
        let (secs, millis) = (duration.as_secs(), duration.subsec_millis());
        let parts = [(secs / 3600, "h"), (secs / 60 % 60, "m"), (secs % 60, "s"), (millis.into(), "ms")];
        let there = parts.iter().filter(|(number, _)| *number > 0);
        let text: String = there.map(|(number, unit)| format!("{number}{unit}")).collect();
        if text.is_empty() { "0s".to_owned() } else { text }
    }
}

impl From<IstioDuration> for String {
    fn from(IstioDuration(duration): IstioDuration) -> Self {
        let text = format!("{}.{:09}", duration.as_secs(), duration.subsec_nanos());
        format!("{}s", text.trim_end_matches('0').trim_end_matches('.'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateway_api_takes_whole_numbers_of_few_units() {
        for (text, want) in [
            ("5s", Some(5_000)),
            ("1h30m", Some(5_400_000)),
            ("250ms", Some(250)),
            ("0s", Some(0)),
            ("1h1m1s1ms", Some(3_661_001)),
            ("10s10s", Some(20_000)),
            ("99999h", Some(359_996_400_000)),
            ("99999h1s", None),
            ("1h1h1h1h1h", None),
            ("100000s", None),
            ("1.5s", None),
            ("-1s", None),
            ("5", None),
            ("s", None),
            ("", None),
            ("5 s", None),
            ("1d", None),
            ("1\u{e4}", None),
        ] {
            let read = GatewayDuration::try_from(text.to_owned()).ok();
            assert_eq!(read.map(|duration| duration.get().as_millis()), want, "{text}");
            if let Some(read) = read {
                assert_eq!(GatewayDuration::try_from(String::from(read)), Ok(read), "{text}, written again");
            }
        }
    }

    #[test]
    fn istio_takes_what_go_takes() {
        for (text, want) in [
            ("5s", Some(5_000_000_000)),
            ("1h30m", Some(5_400_000_000_000)),
            ("0.25s", Some(250_000_000)),
            ("1.5h", Some(5_400_000_000_000)),
            (".5s", Some(500_000_000)),
            ("5.s", Some(5_000_000_000)),
            ("100us", Some(100_000)),
            ("1\u{b5}s", Some(1_000)),
            ("+1s", Some(1_000_000_000)),
            ("0", Some(0)),
            ("0.0000000001s", Some(0)),
            ("9223372036s", Some(9_223_372_036_000_000_000)),
            ("9223372037s", None),
            ("99999999999999999999h", None),
            ("-1s", None),
            ("1", None),
            (".s", None),
            ("1.2.3s", None),
            ("", None),
            ("+", None),
            ("1d", None),
            ("1s ", None),
        ] {
            let read = IstioDuration::try_from(text.to_owned()).ok();
            assert_eq!(read.map(|duration| duration.get().as_nanos()), want, "{text}");
            if let Some(read) = read {
                assert_eq!(IstioDuration::try_from(String::from(read)), Ok(read), "{text}, written again");
            }
        }
    }
}
