//! `weft check`: the agent knows how to find out, so it is run.

use crate::output::{self, Output, PrintError};
use crate::programs;
use crate::yaml;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

const AGENT: &str = "weft-agent";

/// The agent could not be run.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// It is not there.
    #[error("{AGENT} is neither beside this program nor in PATH")]
    Missing,
    /// It did not start.
    #[error("starting {}", .program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// What it wrote is not JSON.
    #[error("reading what {} has written", .program.display())]
    Answer {
        /// The program.
        program: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The answer is nobody's.
    #[error(transparent)]
    Print(#[from] PrintError),
}

impl CheckError {
    /// What the user can do about it.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Missing => "install it, or run `weft-agent check` where it is",
            Self::Start { .. } => "see that it may be executed, and that it was built for this machine",
            Self::Answer { .. } => "agent and CLI are of different versions: run `weft-agent check` itself",
            Self::Print(error) => error.advice(),
        }
    }
}

/// Runs it; its words and its status are the answer.
///
/// # Errors
/// If it cannot be run.
pub fn run(output: Output) -> Result<ExitCode, CheckError> {
    let program = programs::find(AGENT).ok_or(CheckError::Missing)?;
    if !is_root() {
        eprintln!("weft: run it as root: without its privileges most of these answers are wrong");
    }
    let format = if matches!(output, Output::Table) { "table" } else { "json" };
    let mut command = Command::new(&program);
    command.args(["check", "--output", format]);
    let failed = |source| CheckError::Start { program: program.clone(), source };
    let status = match output {
        Output::Table | Output::Json => command.status().map_err(failed)?,
        Output::Yaml => {
            let answer = command.stderr(Stdio::inherit()).output().map_err(failed)?;
            let rows = serde_json::from_slice(&answer.stdout);
            let rows = rows.map_err(|source| CheckError::Answer { program: program.clone(), source })?;
            output::print(&yaml::render(&rows))?;
            answer.status
        }
    };
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A process's own folder belongs to whom it runs as.
fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}
