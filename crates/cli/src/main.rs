//! `weft`: reads what was typed, and prints the answer or what went wrong.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use weft_cli::commands::{self, Args};

fn main() -> ExitCode {
    match commands::run(Args::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("weft: {}", chain(&error));
            ExitCode::FAILURE
        }
    }
}

/// The error and its causes, in one line; then what can be done, on lines of their own.
fn chain(error: &commands::CommandError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(deeper) = cause {
        text += &format!(": {deeper}");
        cause = deeper.source();
    }
    match error.advice() {
        Some(advice) => format!("{text}\n  {advice}"),
        None => text,
    }
}
