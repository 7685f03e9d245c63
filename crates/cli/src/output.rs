//! The forms in which an answer is shown, and the way out.

use clap::ValueEnum;
use std::io::{self, Write};

/// How an answer is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// For machines.
    Json,
    /// For both.
    Yaml,
}

/// The answer could not be printed.
#[derive(Debug, thiserror::Error)]
#[error("writing the answer to standard output")]
pub struct PrintError(#[source] io::Error);

impl PrintError {
    /// What the user can do about it.
    pub fn advice(&self) -> &'static str {
        "see where standard output goes: it may be a file on a full disk"
    }
}

/// Prints an answer. Who reads it may have had enough, as `head` has: that is no failure.
///
/// # Errors
/// It cannot be written.
pub fn print(answer: &str) -> Result<(), PrintError> {
    let mut out = io::stdout().lock();
    match out.write_all(answer.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(PrintError(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}
