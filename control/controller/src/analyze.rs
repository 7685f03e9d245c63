//! Everything that is wrong in a folder of manifests: read as the control plane reads it, and looked at as a whole. For
//! `weft analyze`, of any folder and of the one that is followed.

use crate::directory::catalogue::Catalogue;
use crate::directory::scan::Scanner;
use crate::directory::source::{OpenError, check_folder};
use crate::directory::watch::Pending;
use crate::known::Known;
use crate::status;
use serde_json::Value;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use weft_control_api::problem::Problem;
use weft_control_index::Index;
use weft_control_index::change::Change;
use weft_control_index::config::IndexConfig;
use weft_runtime::http::{Answer, Method, Routes, StatusCode};

/// Looks at a folder. By file, line and field.
///
/// # Errors
/// If it is none, or cannot be looked at.
pub fn folder(folder: &Path, config: IndexConfig) -> Result<Vec<Problem>, OpenError> {
    check_folder(folder)?;
    let look =
        Scanner::new(folder.to_owned(), config.clone()).look(&Pending::default(), SystemTime::now(), None);
    let mut catalogue = Catalogue::default();
    let changes = catalogue.update(look.news);
    let origins: HashMap<_, _> = changes
        .iter()
        .filter_map(|change| match change {
            Change::Upsert { origin, .. } | Change::Refuse { origin, .. } => {
                Some((change.key(), origin.clone()))
            }
            Change::Delete(_) => None,
        })
        .collect();
    let mut index = Index::new(config);
    drop(index.apply_all(changes));
    let mut problems: Vec<Problem> = look.problems.into_iter().chain(catalogue.problems()).collect();
    problems.extend(index.problems().cloned());
    let findings = index.findings().into_iter();
    problems.extend(findings.filter_map(|(key, note)| Some(origins.get(&key)?.locate(Some(key), note))));
    sort(&mut problems);
    Ok(problems)
}

/// By place. What is told twice is told once, as what it is at worst.
fn sort(problems: &mut Vec<Problem>) {
    problems.sort_by(|a, b| {
        let key = |one: &Problem| (one.source.clone(), one.line, one.field.clone(), one.reason.clone());
        key(a).cmp(&key(b)).then(b.severity.cmp(&a.severity))
    });
    problems.dedup_by(|later, first| Problem { severity: first.severity, ..later.clone() } == *first);
}

/// As JSON, a list.
pub fn json(problems: &[Problem]) -> Value {
    problems.iter().map(status::problem).collect::<Vec<_>>().into()
}

/// The folder that is followed.
#[derive(Clone)]
pub(crate) struct Live {
    pub(crate) folder: PathBuf,
    pub(crate) config: IndexConfig,
    pub(crate) known: Known,
}

impl Live {
    /// `GET /analyze`.
    pub(crate) fn routes(self) -> Routes {
        Routes::new().route(Method::GET, "/analyze", move |_| {
            let live = self.clone();
            async move {
                match tokio::task::spawn_blocking(move || live.look()).await {
                    Ok(Ok(problems)) => Answer::json(json(&problems).to_string()),
                    Ok(Err(error)) => Answer::text(StatusCode::CONFLICT, format!("{error}\n")),
                    Err(error) => Answer::text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
                }
            }
        })
    }

    /// What is wrong with the folder, and what is wrong with what holds: a file that cannot be read any more still counts
    /// as it was.
    fn look(&self) -> Result<Vec<Problem>, OpenError> {
        let mut problems = folder(&self.folder, self.config.clone())?;
        problems.extend(self.known.problems());
        sort(&mut problems);
        Ok(problems)
    }
}

#[cfg(test)]
mod tests;
