//! The log: events with fields, as text for people or as JSON for machines, on standard error.

use crate::outlet::{Outlet, Rest};
use crate::settings::Settings;
use prometheus::IntCounter;
use std::io::{self, IsTerminal, Write};
use std::str::FromStr;
use std::sync::OnceLock;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::{EnvFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::time::SystemTime;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl FromStr for LogFormat {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(()),
        }
    }
}

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    filter: String,
    format: LogFormat,
}

/// The log was installed before, or something else took its place.
#[derive(Debug, thiserror::Error)]
#[error("a log is installed already")]
pub struct LogInstalled;

impl LogConfig {
    /// Reads `WEFT_LOG` (such as `info,weft_tunnel=debug`) and `WEFT_LOG_FORMAT`.
    pub fn read(settings: &mut Settings<'_>) -> Self {
        let filter: String = settings.get("WEFT_LOG", "a log filter", "info".to_owned());
        if filter.parse::<Targets>().is_err() && EnvFilter::try_new(&filter).is_err() {
            settings.refuse("WEFT_LOG", "a log filter such as info,weft_tunnel=debug", Some(&filter));
        }
        Self { filter, format: settings.get("WEFT_LOG_FORMAT", "text or json", LogFormat::Text) }
    }

    /// How log lines look; access lines follow it.
    pub fn format(&self) -> LogFormat {
        self.format
    }

    /// Makes this the log of the process.
    ///
    /// # Errors
    /// Another log is installed.
    pub fn install(&self) -> Result<(), LogInstalled> {
        let builder = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new(&self.filter))
            .with_writer(Lines)
            .with_ansi(std::io::stderr().is_terminal())
            .with_timer(SystemTime);
        match self.format {
            LogFormat::Text => builder.try_init(),
            LogFormat::Json => builder.json().flatten_event(true).with_current_span(false).try_init(),
        }
        .map_err(|_| LogInstalled)
    }
}

/// Where lines go once a thread of their own writes them.
static OUTLET: OnceLock<Outlet> = OnceLock::new();

/// From now on a thread of its own writes the log, so that a standard error that nobody reads stops nothing; `lost` counts
/// lines that it is too far behind for. Errors are still written at once: a process may end with them.
///
/// # Errors
/// The system has no thread for it.
pub fn detach(lost: IntCounter) -> io::Result<Rest> {
    let (outlet, rest) = Outlet::start("log", io::stderr(), lost)?;
    // If this was done before, the lines go on by that thread.
    let _ = OUTLET.set(outlet);
    Ok(rest)
}

/// Makes writers for lines.
struct Lines;

/// A writer for one line: it is written in one piece.
enum OneLine {
    Detached(&'static Outlet),
    Direct(io::Stderr),
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = OneLine;

    fn make_writer(&'a self) -> OneLine {
        OUTLET.get().map_or_else(|| OneLine::Direct(io::stderr()), OneLine::Detached)
    }

    fn make_writer_for(&'a self, line: &Metadata<'_>) -> OneLine {
        if *line.level() == Level::ERROR { OneLine::Direct(io::stderr()) } else { self.make_writer() }
    }
}

impl Write for OneLine {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Detached(outlet) => outlet.put(bytes.to_vec(), 1),
            Self::Direct(stderr) => stderr.write_all(bytes)?,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An error with all of its causes in one line.
pub fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        // An error that shows its cause itself is not repeated.
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_checked() {
        for (case, filter, format, refused) in [
            ("a level", "debug", "json", 0),
            ("per module", "info,weft_tunnel=trace", "text", 0),
            ("no such format", "info", "yaml", 1),
            ("no filter at all", "weft=loud=very", "text", 1),
        ] {
            let mut settings = Settings::new(|name| match name {
                "WEFT_LOG" => Some(filter.to_owned()),
                "WEFT_LOG_FORMAT" => Some(format.to_owned()),
                _ => None,
            });
            let config = LogConfig::read(&mut settings);
            let count = settings.finish(config).map_or_else(|all| all.0.len(), |_| 0);
            assert_eq!(count, refused, "{case}");
        }
    }
}
