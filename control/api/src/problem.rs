//! What is wrong with an object or a file, told so that its author can mend it.

use crate::kind::ObjectKey;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Something that a person has to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file, or the name of another source.
    pub source: Arc<str>,
    /// The line in it, counted from one, where lines are known.
    pub line: Option<u32>,
    /// The object, unless the whole file is meant.
    pub object: Option<ObjectKey>,
    /// The field, such as `spec.rules[0].to[1].operation.ports[0]`; empty for the whole.
    pub field: String,
    /// What is wrong with it, and what follows.
    pub reason: String,
    /// How bad it is.
    pub severity: Severity,
}

/// How bad a [`Problem`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing: something is not read.
    Info,
    /// Read, but not meant so, or meant more than is enforced.
    Warning,
    /// Refused. A policy denies until it is mended.
    Error,
}

impl Severity {
    /// The word for logs and metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(object) = &self.object {
            write!(f, ": {object}")?;
        }
        if !self.field.is_empty() {
            write!(f, ": {}", self.field)?;
        }
        write!(f, ": {}", self.reason)
    }
}

/// A remark about one field of an object, before it is known where the object came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The field; empty for the whole object.
    pub field: String,
    /// What is wrong with it.
    pub reason: String,
    /// How bad it is.
    pub severity: Severity,
}

impl Note {
    /// A remark that refuses the object.
    pub fn error(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { field: field.into(), reason: reason.into(), severity: Severity::Error }
    }

    /// A remark that refuses nothing.
    pub fn warning(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { field: field.into(), reason: reason.into(), severity: Severity::Warning }
    }

    /// Something worth knowing.
    pub fn info(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { field: field.into(), reason: reason.into(), severity: Severity::Info }
    }

    /// The whole in one line, for a policy that is unusable because of it.
    pub fn text(&self) -> String {
        if self.field.is_empty() { self.reason.clone() } else { format!("{}: {}", self.field, self.reason) }
    }
}

/// Where an object came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The file, or the name of another source.
    pub source: Arc<str>,
    /// Lines of the object's fields; empty where they are not known.
    pub lines: Arc<Lines>,
}

impl Origin {
    /// A source without lines, such as the Kubernetes API.
    pub fn unlined(source: impl Into<Arc<str>>) -> Self {
        Self { source: source.into(), lines: Arc::default() }
    }

    /// Says where the field of a note stands.
    pub fn locate(&self, object: Option<ObjectKey>, note: Note) -> Problem {
        let Note { field, reason, severity } = note;
        let line = self.lines.line(&field);
        Problem { source: self.source.clone(), line, object, field, reason, severity }
    }
}

/// The lines of an object's fields, by path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lines(BTreeMap<Box<str>, u32>);

impl Lines {
    /// Notes the line of a field.
    pub fn insert(&mut self, field: &str, line: u32) {
        self.0.insert(field.into(), line);
    }

    /// The line of a field; of its nearest parent that has one, if the field itself is not there.
    pub fn line(&self, field: &str) -> Option<u32> {
        let mut rest = field;
        loop {
            if let Some(line) = self.0.get(rest) {
                return Some(*line);
            }
            // Down to the object itself, whose path is empty.
            rest = rest.rfind(['.', '[']).map_or("", |at| &rest[..at]);
            if rest.is_empty() {
                return self.0.get("").copied();
            }
        }
    }

    /// The line on which the object begins.
    pub fn first(&self) -> Option<u32> {
        self.0.get("").copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::Kind;

    #[test]
    fn a_problem_reads_like_a_compiler_message() {
        let mut lines = Lines::default();
        lines.insert("", 1);
        lines.insert("spec.rules", 7);
        let origin = Origin { source: "a.yaml".into(), lines: Arc::new(lines) };
        let key = ObjectKey::new(Kind::AuthorizationPolicy, "shop", "web");
        for (case, field, line) in
            [("exact", "spec.rules", 7), ("parent", "spec.rules[0].form", 7), ("whole", "", 1)]
        {
            let problem = origin.locate(Some(key.clone()), Note::error(field, "is wrong"));
            assert_eq!(problem.line, Some(line), "{case}");
        }
        let problem = origin.locate(Some(key), Note::error("spec.rules[0].form", "is not a field"));
        let want = "a.yaml:7: AuthorizationPolicy shop/web: spec.rules[0].form: is not a field";
        assert_eq!(problem.to_string(), want);
        assert_eq!(origin.lines.line("status.x"), Some(1), "nothing nearer than the object");
        assert_eq!(Lines::default().line("status.x"), None);
    }
}
