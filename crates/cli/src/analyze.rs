//! `weft analyze`: the control plane knows how to read manifests, so it is run on a folder, or asked about its own.

use crate::answers::Extent;
use crate::ask::{self, AskError};
use crate::programs;
use crate::words::{cell, count};
use serde_json::Value;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

const CONTROL: &str = "weft-control";

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AnalyzeError {
    /// The program is not there.
    #[error("{CONTROL} is neither beside this program nor in PATH")]
    Missing,
    /// It did not start.
    #[error("starting {}", .program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It could not look.
    #[error("{text}")]
    Refused {
        /// Its own words.
        text: String,
    },
    /// What it wrote is not JSON.
    #[error("reading what {} has written", .program.display())]
    Answer {
        /// The program.
        program: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The control plane is not here.
    #[error("no control plane has its socket here")]
    NoControl,
    /// It does not answer.
    #[error(transparent)]
    Ask(#[from] AskError),
}

impl AnalyzeError {
    /// What the user can do about it.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Missing => "install it: what reads manifests in the mesh reads them here too",
            Self::Start { .. } => "see that it may be executed, and that it was built for this machine",
            Self::Refused { .. } => "say a folder that is there and that you may read",
            Self::Answer { .. } => "see that this command and that program are of the same version",
            Self::NoControl => "run it where weft-control runs, and say where its socket is with --world DIR",
            Self::Ask(error) => error.advice(),
        }
    }
}

/// Everything that is wrong in a folder.
///
/// # Errors
/// If it cannot be looked at.
pub fn folder(folder: &Path) -> Result<Value, AnalyzeError> {
    let program = programs::find(CONTROL).ok_or(AnalyzeError::Missing)?;
    let output = Command::new(&program).arg("check").arg(folder).output();
    let output = output.map_err(|source| AnalyzeError::Start { program: program.clone(), source })?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr).trim().replace('\n', " ");
        return Err(AnalyzeError::Refused { text });
    }
    serde_json::from_slice(&output.stdout).map_err(|source| AnalyzeError::Answer { program, source })
}

/// Everything that is wrong in the folder of the control plane that runs here.
///
/// # Errors
/// Without an answer.
pub async fn live(control: Option<&Path>) -> Result<Value, AnalyzeError> {
    Ok(ask::get(control.ok_or(AnalyzeError::NoControl)?, "/analyze").await?)
}

/// Whether all is in order: an error is not.
pub fn extent(problems: &Value) -> Extent {
    let errors = rows(problems).filter(|problem| problem["severity"] == "error").count();
    if errors == 0 { Extent::Whole } else { Extent::Part }
}

fn rows(problems: &Value) -> impl Iterator<Item = &Value> {
    problems.as_array().into_iter().flatten()
}

/// `shop.yaml:12: error: VirtualService shop/reviews: spec.http[0].route[1]: …`, and how many there are.
pub fn render(problems: &Value) -> String {
    let mut out = String::new();
    for problem in rows(problems) {
        let line = problem["line"].as_u64().map_or_else(String::new, |line| format!(":{line}"));
        let _never = write!(out, "{}{line}: {}", cell(&problem["source"]), cell(&problem["severity"]));
        for part in [&problem["object"], &problem["field"], &problem["reason"]] {
            if part.as_str().is_some_and(|part| !part.is_empty()) {
                let _never = write!(out, ": {}", cell(part));
            }
        }
        out.push('\n');
    }
    let of = |severity: &str| rows(problems).filter(|problem| problem["severity"] == severity).count();
    let (errors, warnings) = (of("error"), of("warning"));
    if errors + warnings == 0 {
        return out + "nothing is wrong\n";
    }
    let counts = format!("{}, {}", count(errors, "error", "errors"), count(warnings, "warning", "warnings"));
    out + &counts + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn problems_are_told_with_where_they_are() {
        let warning = json!({"source": "a.yaml", "line": null, "object": null, "field": "", "severity": "warning",
            "reason": "is odd"});
        let error = json!({"source": "shop.yaml", "line": 12, "object": "VirtualService shop/reviews",
            "field": "spec.http[0]", "severity": "error", "reason": "no such subset"});
        for (case, problems, want, extent_wanted) in [
            ("well", json!([]), "nothing is wrong\n", Extent::Whole),
            ("a warning", json!([warning]), "a.yaml: warning: is odd\n0 errors, 1 warning\n", Extent::Whole),
            (
                "an error",
                json!([error]),
                "shop.yaml:12: error: VirtualService shop/reviews: spec.http[0]: no such subset\n1 error, 0 warnings\n",
                Extent::Part,
            ),
        ] {
            assert_eq!((&*render(&problems), extent(&problems)), (want, extent_wanted), "{case}");
        }
    }
}
