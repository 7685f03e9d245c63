//! The access log: one line per connection, to standard output.

use super::Parties;
use std::cell::RefCell;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::{Duration, SystemTime};
use weft_core::workload::Workload;

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AccessFormat {
    /// `key=value` pairs.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
    /// Not at all.
    Off,
}

impl FromStr for AccessFormat {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            "off" => Ok(Self::Off),
            _ => Err(()),
        }
    }
}

/// A finished connection.
#[derive(Debug)]
pub struct Line<'a> {
    /// `outbound`, `inbound` or `same_node`.
    pub direction: &'static str,
    /// The client application's address.
    pub client: SocketAddr,
    /// What was asked for.
    pub target: SocketAddr,
    /// Where the tunnel went, if one was used.
    pub tunnel: Option<SocketAddr>,
    /// Who was at its ends.
    pub parties: &'a Parties,
    /// Bytes from the client to the server.
    pub bytes_sent: u64,
    /// Bytes from the server to the client.
    pub bytes_received: u64,
    /// How long it was open.
    pub duration: Duration,
    /// Why it ended.
    pub end: &'a str,
    /// What went wrong, in words; empty for nothing.
    pub error: &'a str,
    /// What dry-run policies would have done, in words; empty for nothing else than was done.
    pub dry_run: &'a str,
}

/// Lines gather until so many bytes wait, or the worker's timer flushes them.
const BUFFER_BYTES: usize = 16_384;

/// A worker's end of the log. Lines are gathered and written together, so that a connection costs no call.
#[derive(Debug)]
pub struct AccessLog {
    format: AccessFormat,
    buffer: RefCell<Vec<u8>>,
}

impl AccessLog {
    /// A log in the given format.
    pub fn new(format: AccessFormat) -> Self {
        Self { format, buffer: RefCell::default() }
    }

    /// Adds a line.
    pub fn add(&self, line: &Line<'_>) {
        let mut text = String::with_capacity(700);
        match self.format {
            AccessFormat::Off => return,
            AccessFormat::Text => line.write(&mut text, write_text),
            AccessFormat::Json => {
                text.push('{');
                line.write(&mut text, write_json);
                text.push('}');
            }
        }
        text.push('\n');
        let mut buffer = self.buffer.borrow_mut();
        buffer.extend_from_slice(text.as_bytes());
        if buffer.len() >= BUFFER_BYTES {
            write_out(&mut buffer);
        }
    }

    /// Writes what has gathered.
    pub fn flush(&self) {
        let mut buffer = self.buffer.borrow_mut();
        if !buffer.is_empty() {
            write_out(&mut buffer);
        }
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.flush();
    }
}

fn write_out(buffer: &mut Vec<u8>) {
    let mut out = std::io::stdout().lock();
    // A log that nobody takes must not stop the traffic.
    let _ = out.write_all(buffer).and_then(|()| out.flush());
    buffer.clear();
}

/// Writes one pair.
type WritePair = fn(&mut String, &str, Value<'_>);

#[derive(Clone, Copy)]
enum Value<'a> {
    Text(&'a str),
    Addr(SocketAddr),
    Number(u64),
    Millis(f64),
    Time(SystemTime),
}

impl Line<'_> {
    fn write(&self, out: &mut String, pair: WritePair) {
        let mut add = |key: &str, value: Value<'_>| pair(out, key, value);
        add("time", Value::Time(SystemTime::now()));
        add("log", Value::Text("access"));
        add("direction", Value::Text(self.direction));
        add("src.addr", Value::Addr(self.client));
        workload(&mut add, ["src.workload", "src.namespace"], self.parties.source.as_deref());
        if let Some(identity) = &self.parties.source_identity {
            add("src.identity", Value::Text(&identity.to_string()));
        }
        add("dst.addr", Value::Addr(self.target));
        if let Some(tunnel) = self.tunnel {
            add("dst.tunnel_addr", Value::Addr(tunnel));
        }
        if let Some(service) = self.parties.service_at_server() {
            add("dst.service", Value::Text(&service.name.hostname));
        }
        workload(&mut add, ["dst.workload", "dst.namespace"], self.parties.destination.as_deref());
        if let (Some(destination), super::Security::MutualTls) =
            (&self.parties.destination, self.parties.security)
        {
            add("dst.identity", Value::Text(&destination.identity.to_string()));
        }
        add("security", Value::Text(self.parties.security.as_str()));
        add("bytes_sent", Value::Number(self.bytes_sent));
        add("bytes_received", Value::Number(self.bytes_received));
        add("duration_ms", Value::Millis(self.duration.as_secs_f64() * 1e3));
        add("end", Value::Text(self.end));
        for (key, text) in [("error", self.error), ("dry_run", self.dry_run)] {
            if !text.is_empty() {
                add(key, Value::Text(text));
            }
        }
    }
}

fn workload(add: &mut impl FnMut(&str, Value<'_>), keys: [&str; 2], workload: Option<&Workload>) {
    if let Some(workload) = workload {
        add(keys[0], Value::Text(&workload.name));
        add(keys[1], Value::Text(&workload.namespace));
    }
}

fn write_text(out: &mut String, key: &str, value: Value<'_>) {
    if !out.is_empty() {
        out.push(' ');
    }
    // Writing to a String cannot fail.
    let _ = match value {
        Value::Text(text) if text.contains([' ', '"', '=']) || text.is_empty() => {
            write!(out, "{key}={text:?}")
        }
        Value::Text(text) => write!(out, "{key}={text}"),
        Value::Addr(addr) => write!(out, "{key}={addr}"),
        Value::Number(number) => write!(out, "{key}={number}"),
        Value::Millis(millis) => write!(out, "{key}={millis:.3}"),
        Value::Time(time) => write!(out, "{key}={}", Rfc3339(time)),
    };
}

fn write_json(out: &mut String, key: &str, value: Value<'_>) {
    if !out.ends_with('{') {
        out.push(',');
    }
    // Writing to a String cannot fail.
    let _ = match value {
        Value::Text(text) => write!(out, "\"{key}\":{}", serde_json::Value::from(text)),
        Value::Addr(addr) => write!(out, "\"{key}\":\"{addr}\""),
        Value::Number(number) => write!(out, "\"{key}\":{number}"),
        Value::Millis(millis) => write!(out, "\"{key}\":{millis:.3}"),
        Value::Time(time) => write!(out, "\"{key}\":\"{}\"", Rfc3339(time)),
    };
}

/// A moment in UTC with milliseconds (RFC 3339 §5.6).
struct Rfc3339(SystemTime);

impl std::fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let since = self.0.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
        let (year, month, day) = civil(days);
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        let millis = since.subsec_millis();
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
    }
}

/// The Gregorian date of a day since 1970, counted in years that begin in March so that leap days come last.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(error: &'static str) -> Line<'static> {
        static NOBODY: Parties = Parties {
            source: None,
            source_identity: None,
            destination: None,
            service: None,
            served: None,
            security: super::super::Security::None,
        };
        Line {
            direction: "outbound",
            client: "10.0.0.1:4000".parse().unwrap(),
            target: "[fd00::2]:80".parse().unwrap(),
            tunnel: None,
            parties: &NOBODY,
            bytes_sent: 1,
            bytes_received: 2,
            duration: Duration::from_micros(1_500),
            end: "closed",
            error,
            dry_run: "",
        }
    }

    #[test]
    fn a_line_reads_as_text_and_as_json() {
        let mut text = String::new();
        line("no \"such\" thing").write(&mut text, write_text);
        assert!(text.contains(" src.addr=10.0.0.1:4000 dst.addr=[fd00::2]:80 "), "{text}");
        assert!(text.ends_with(r#"duration_ms=1.500 end=closed error="no \"such\" thing""#), "{text}");
        let mut json = String::from("{");
        line("no \"such\" thing").write(&mut json, write_json);
        json.push('}');
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["error"], "no \"such\" thing");
        assert_eq!(value["bytes_received"], 2);
    }

    #[test]
    fn moments_are_written_in_utc() {
        for (seconds, want) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_795_257_015, "2026-11-21T10:30:15.000Z"),
        ] {
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(Rfc3339(time).to_string(), want);
        }
    }
}
