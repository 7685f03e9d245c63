//! `weft check`: the agent knows how to find out, so it is run.

use crate::output::Output;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

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
    /// It does not write this.
    #[error("weft check writes a table or JSON")]
    Format,
}

impl CheckError {
    /// What the user can do about it.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Missing => "install it, or run `weft-agent check` where it is",
            Self::Start { .. } => "see that it may be executed, and that it was built for this machine",
            Self::Format => "use -o table or -o json",
        }
    }
}

/// Runs it; its words and its status are the answer.
///
/// # Errors
/// If it cannot be run.
pub fn run(output: Output) -> Result<ExitCode, CheckError> {
    let format = match output {
        Output::Table => "table",
        Output::Json => "json",
        Output::Yaml => return Err(CheckError::Format),
    };
    let program = find().ok_or(CheckError::Missing)?;
    let status = Command::new(&program).args(["check", "--output", format]).status();
    let status = status.map_err(|source| CheckError::Start { program, source })?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn find() -> Option<PathBuf> {
    let beside = std::env::current_exe().ok().and_then(|own| Some(own.parent()?.to_owned()));
    let path = std::env::var_os("PATH").unwrap_or_default();
    beside
        .into_iter()
        .chain(std::env::split_paths(&path))
        .map(|dir| dir.join(AGENT))
        .find(|path| path.is_file())
}
