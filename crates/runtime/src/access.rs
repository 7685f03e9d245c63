//! Access logs: lines of pairs, as text or JSON, gathered and handed on together, so that a line costs no call.

use crate::log;
use crate::metrics::{MetricError, Metrics};
use crate::outlet::{Outlet, Rest};
use std::cell::{Cell, RefCell};
use std::fmt::{self, Write as _};
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::SystemTime;

/// Why lines cannot be written by threads of their own.
#[derive(Debug, thiserror::Error)]
pub enum DetachError {
    /// What counts lost lines is there already.
    #[error(transparent)]
    Metric(#[from] MetricError),
    /// There is no thread for it.
    #[error("starting the threads that write the log and the access log")]
    Thread(#[from] std::io::Error),
}

/// From now on standard output and standard error are written by threads of their own, so that pipes that nobody reads
/// stop no traffic: the first through the outlet that this gives, the second by the log. Lines that they are too far behind
/// for are counted. What it gives besides is to be kept until the process ends.
///
/// # Errors
/// See [`DetachError`].
pub fn detach(metrics: &Metrics) -> Result<(Outlet, [Rest; 2]), DetachError> {
    let lost =
        |name, what: &str| metrics.counter(name, &format!("Lines of the {what} that nobody read in time."));
    let (log, access) =
        (lost("weft_log_lines_lost_total", "log")?, lost("weft_access_log_lines_lost_total", "access log")?);
    let log = log::detach(log)?;
    let (outlet, access) = Outlet::start("access-log", std::io::stdout(), access)?;
    Ok((outlet, [log, access]))
}

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

/// What stands behind a key.
#[derive(Debug, Clone, Copy)]
pub enum Value<'a> {
    /// A text; quoted where it has to be.
    Text(&'a str),
    /// An address and a port.
    Addr(SocketAddr),
    /// A count.
    Number(u64),
    /// A time span in milliseconds.
    Millis(f64),
    /// A moment, in UTC with milliseconds (RFC 3339 §5.6).
    Time(SystemTime),
}

/// Takes pairs, one after the other: a line of the log, or what goes to a collector instead.
pub trait Pairs {
    /// Adds a pair. Keys are words of ours and need no quotes.
    fn pair(&mut self, key: &'static str, value: Value<'_>);
}

/// Lines gather until so many bytes wait, or the owner's timer flushes them.
const BUFFER_BYTES: usize = 16_384;

/// A thread's end of the log.
#[derive(Debug)]
pub struct AccessLog {
    format: AccessFormat,
    out: Outlet,
    buffer: RefCell<Vec<u8>>,
    lines: Cell<u64>,
    line: RefCell<String>,
}

/// A line that is being written.
pub struct Line<'a> {
    text: &'a mut String,
    format: AccessFormat,
}

impl AccessLog {
    /// A log in the given format, whose lines go out there.
    pub fn new(format: AccessFormat, out: Outlet) -> Self {
        Self { format, out, buffer: RefCell::default(), lines: Cell::default(), line: RefCell::default() }
    }

    /// Adds a line, of what `fill` says.
    pub fn add(&self, fill: impl FnOnce(&mut Line<'_>)) {
        self.add_as(self.format, fill);
    }

    /// The same in another form than the usual one.
    pub fn add_as(&self, format: AccessFormat, fill: impl FnOnce(&mut Line<'_>)) {
        if format == AccessFormat::Off {
            return;
        }
        let mut text = self.line.borrow_mut();
        text.clear();
        fill(&mut Line::new(&mut text, format));
        let mut buffer = self.buffer.borrow_mut();
        match format {
            AccessFormat::Json => {
                buffer.push(b'{');
                buffer.extend_from_slice(text.as_bytes());
                buffer.extend_from_slice(b"}\n");
            }
            AccessFormat::Text | AccessFormat::Off => {
                buffer.extend_from_slice(text.as_bytes());
                buffer.push(b'\n');
            }
        }
        self.lines.set(self.lines.get() + 1);
        if buffer.len() >= BUFFER_BYTES {
            let next = Vec::with_capacity(buffer.capacity());
            self.out.put(std::mem::replace(&mut buffer, next), self.lines.take());
        }
    }

    /// Hands on what has gathered.
    pub fn flush(&self) {
        let buffer = self.buffer.take();
        if !buffer.is_empty() {
            self.out.put(buffer, self.lines.take());
        }
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.flush();
    }
}

impl<'a> Line<'a> {
    /// Of pairs that go to the end of `text`, without what stands around them.
    pub fn new(text: &'a mut String, format: AccessFormat) -> Self {
        Self { text, format }
    }

    fn plain(&mut self, key: &str, value: Value<'_>) -> fmt::Result {
        let out = &mut *self.text;
        if !out.is_empty() {
            out.push(' ');
        }
        match value {
            Value::Text(text) if text.contains([' ', '"', '=']) || text.is_empty() => {
                write!(out, "{key}={text:?}")
            }
            Value::Text(text) if text.contains(char::is_control) => write!(out, "{key}={text:?}"),
            Value::Text(text) => write!(out, "{key}={text}"),
            Value::Addr(addr) => write!(out, "{key}={addr}"),
            Value::Number(number) => write!(out, "{key}={number}"),
            Value::Millis(millis) => write!(out, "{key}={millis:.3}"),
            Value::Time(time) => write!(out, "{key}={}", Rfc3339(time)),
        }
    }

    fn json(&mut self, key: &str, value: Value<'_>) -> fmt::Result {
        let out = &mut *self.text;
        if !out.is_empty() {
            out.push(',');
        }
        match value {
            Value::Text(text) => write!(out, "\"{key}\":{}", serde_json::Value::from(text)),
            Value::Addr(addr) => write!(out, "\"{key}\":\"{addr}\""),
            Value::Number(number) => write!(out, "\"{key}\":{number}"),
            Value::Millis(millis) => write!(out, "\"{key}\":{millis:.3}"),
            Value::Time(time) => write!(out, "\"{key}\":\"{}\"", Rfc3339(time)),
        }
    }
}

impl Pairs for Line<'_> {
    fn pair(&mut self, key: &'static str, value: Value<'_>) {
        // Writing to a text does not fail.
        let _ = match self.format {
            AccessFormat::Json => self.json(key, value),
            AccessFormat::Text | AccessFormat::Off => self.plain(key, value),
        };
    }
}

struct Rfc3339(SystemTime);

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = self.0.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
        let (year, month, day) = civil(days);
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        let millis = since.subsec_millis();
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
    }
}

/// Year, month and day of a day since 1970, by counting whole spans of the Gregorian calendar from a first of March.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

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

    #[test]
    fn lines_of_both_forms() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_709_210_096_789);
        for (format, want) in [
            (
                AccessFormat::Text,
                "time=2024-02-29T12:34:56.789Z a=b c=\"d e\" f=\"g\\nh\" n=7 took=1.500 at=127.0.0.1:80\n",
            ),
            (
                AccessFormat::Json,
                "{\"time\":\"2024-02-29T12:34:56.789Z\",\"a\":\"b\",\"c\":\"d e\",\"f\":\"g\\nh\",\"n\":7,\
                 \"took\":1.500,\"at\":\"127.0.0.1:80\"}\n",
            ),
            (AccessFormat::Off, ""),
        ] {
            let lost = prometheus::IntCounter::new("lost", "Lost.").expect("a name");
            let (out, _rest) = Outlet::start("test", std::io::sink(), lost).expect("a thread");
            let log = AccessLog::new(format, out);
            log.add(|line| {
                line.pair("time", Value::Time(at));
                line.pair("a", Value::Text("b"));
                line.pair("c", Value::Text("d e"));
                line.pair("f", Value::Text("g\nh"));
                line.pair("n", Value::Number(7));
                line.pair("took", Value::Millis(1.5));
                line.pair("at", Value::Addr(([127, 0, 0, 1], 80).into()));
            });
            let text = String::from_utf8(std::mem::take(&mut *log.buffer.borrow_mut())).expect("text");
            assert_eq!(text, want, "{format:?}");
        }
    }
}
