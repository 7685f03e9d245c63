//! The lists of texts in a rule.

use crate::config::IndexConfig;
use crate::name::Name;
use crate::policy::source;
use ipnet::IpNet;
use std::fmt::Display;
use weft_control_api::authorization_policy::Source;
use weft_control_api::problem::Note;
use weft_core::policy::{Action, ServiceAccountMatch, StringMatch};

/// Reads the lists of one policy and puts down what is wrong with them.
pub(crate) struct Reader<'a> {
    pub(crate) action: Action,
    pub(crate) policy: &'a Name,
    pub(crate) config: &'a IndexConfig,
    pub(crate) notes: &'a mut Vec<Note>,
}

/// A list as it is written, with the path of its field.
pub(crate) struct List<'a> {
    pub(crate) texts: Option<&'a Vec<String>>,
    pub(crate) field: String,
    pub(crate) sense: Sense,
}

/// Whether a list says what has to be, or what must not.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sense {
    /// Any of these. Written and empty it would match anything, which nobody means by it: refused.
    AnyOf,
    /// None of these. Empty it forbids nothing, which is no harm beside a list that says something.
    NoneOf,
}

impl Reader<'_> {
    pub(crate) fn error(&mut self, field: impl Into<String>, reason: impl Into<String>) {
        self.notes.push(Note::error(field, reason));
    }

    /// Notes fields that only a waypoint could judge. False if the alternative must never match for them.
    pub(crate) fn can_judge(&mut self, path: &str, fields: &[(&str, bool)]) -> bool {
        let reason = match self.action {
            Action::Allow => "needs a waypoint: this alternative allows nothing",
            Action::Deny => "needs a waypoint: denied without regard to it",
        };
        let written = fields.iter().filter(|(_, written)| *written);
        let notes: Vec<_> =
            written.map(|(field, _)| Note::warning(format!("{path}.{field}"), reason)).collect();
        let judged = notes.is_empty() || self.action == Action::Deny;
        self.notes.extend(notes);
        judged
    }

    pub(crate) fn principals(&mut self, list: List<'_>) -> Vec<StringMatch> {
        self.read(list, |reader, text| source::principals(text, reader.config))
    }

    pub(crate) fn strings(&mut self, list: List<'_>) -> Vec<StringMatch> {
        self.read(list, |_, text| source::string_match(text).map(|one| vec![one]))
    }

    pub(crate) fn accounts(&mut self, list: List<'_>) -> Vec<ServiceAccountMatch> {
        self.read(list, |reader, text| source::service_account(text, reader.policy).map(|one| vec![one]))
    }

    pub(crate) fn blocks(&mut self, list: List<'_>) -> Vec<IpNet> {
        self.read(list, |_, text| source::ip_block(text).map(|one| vec![one]))
    }

    pub(crate) fn ports(&mut self, list: List<'_>) -> Vec<u16> {
        self.read(list, |_, text| source::port(text).map(|one| vec![one]))
    }

    /// What may not stand together in one source.
    pub(crate) fn check_beside(&mut self, source: &Source, path: &str) {
        let beside = source.principals.is_some()
            || source.not_principals.is_some()
            || source.namespaces.is_some()
            || source.not_namespaces.is_some();
        if beside && (source.service_accounts.is_some() || source.not_service_accounts.is_some()) {
            let field = format!("{path}.serviceAccounts");
            self.error(field, "cannot stand beside principals or namespaces");
        }
    }

    pub(crate) fn read<T, E: Display>(
        &mut self,
        list: List<'_>,
        read: impl Fn(&Self, &str) -> Result<Vec<T>, E>,
    ) -> Vec<T> {
        let List { texts, field, sense } = list;
        if sense == Sense::AnyOf && texts.is_some_and(Vec::is_empty) {
            self.error(&field, "is an empty list; leave it out to match anything");
        }
        let mut found = Vec::new();
        for (index, text) in texts.into_iter().flatten().enumerate() {
            match read(self, text) {
                Ok(read) => found.extend(read),
                Err(reason) => self.error(format!("{field}[{index}]"), format!("{text:?} {reason}")),
            }
        }
        found
    }
}
