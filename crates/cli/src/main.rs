//! `weft`: reads what was typed, and prints the answer or what went wrong.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use weft_cli::commands::{self, Args};
use weft_cli::words;

fn main() -> ExitCode {
    match commands::run(Args::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("weft: {}", words::chain(&error));
            if let Some(advice) = error.advice() {
                eprintln!("  {advice}");
            }
            ExitCode::FAILURE
        }
    }
}
