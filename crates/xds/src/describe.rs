//! What a client of the control plane says of itself on its administrative socket: its certificates, the policies that it
//! goes by, and how far it has heard. All of them say it alike, so that `weft` reads it alike.

use crate::leaves::Leaves;
use crate::view::{Sync, TypeSync};
use serde::Serialize;
use std::time::SystemTime;
use weft_core::names::PolicyName;
use weft_core::policy::{Action, Enforcement};

/// A certificate as `weft certificates` shows it. The key is never part of it.
#[derive(Debug, Serialize)]
pub struct CertificateRow {
    identity: String,
    serial: String,
    valid: bool,
    age_seconds: u64,
    expires_in_seconds: u64,
}

/// Discovery as `weft status` shows it.
#[derive(Debug, Serialize)]
pub struct DiscoveryRow {
    in_sync: bool,
    connected_for_seconds: Option<u64>,
    failures: u32,
    last_error: Option<String>,
    types: Vec<TypeRow>,
}

/// A policy as `weft policies` shows it; rows stand in the order of names.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct PolicyRow {
    namespace: String,
    name: String,
    scope: String,
    action: String,
    dry_run: bool,
    rules: usize,
    /// Why it cannot be understood; it denies then.
    unusable: Option<String>,
}

/// What a policy's rules are.
#[derive(Debug, Clone, Copy)]
pub enum Rules<'a> {
    /// So many.
    Understood(usize),
    /// Not understood, and why.
    Unusable(&'a str),
}

impl PolicyRow {
    /// Of a policy for connections or for requests. What it applies to is in words.
    pub fn new(
        name: &PolicyName,
        scope: String,
        (action, enforcement): (Action, Enforcement),
        rules: Rules<'_>,
    ) -> Self {
        let (rules, unusable) = match rules {
            Rules::Understood(count) => (count, None),
            Rules::Unusable(why) => (0, Some(why.to_owned())),
        };
        Self {
            namespace: name.namespace.to_string(),
            name: name.name.to_string(),
            scope,
            action: format!("{action:?}").to_uppercase(),
            dry_run: enforcement == Enforcement::DryRun,
            rules,
            unusable,
        }
    }
}

#[derive(Debug, Serialize)]
struct TypeRow {
    type_url: &'static str,
    state: String,
    resources: usize,
    rejected: Vec<String>,
}

/// The certificates that are held, by identity.
pub fn certificates(leaves: &Leaves) -> Vec<CertificateRow> {
    let now = SystemTime::now();
    let seconds = |from: SystemTime, to: SystemTime| to.duration_since(from).unwrap_or_default().as_secs();
    let mut rows: Vec<_> = leaves
        .table()
        .iter()
        .map(|leaf| CertificateRow {
            identity: leaf.identity().to_string(),
            serial: leaf.serial().iter().map(|byte| format!("{byte:02x}")).collect(),
            valid: leaf.not_before() <= now && now < leaf.not_after(),
            age_seconds: seconds(leaf.not_before(), now),
            expires_in_seconds: seconds(now, leaf.not_after()),
        })
        .collect();
    rows.sort_by(|a, b| a.identity.cmp(&b.identity));
    rows
}

/// How far discovery has been heard.
pub fn discovery(sync: &Sync) -> DiscoveryRow {
    let age = |since: SystemTime| since.elapsed().unwrap_or_default().as_secs();
    DiscoveryRow {
        in_sync: sync.is_in_sync(),
        connected_for_seconds: sync.connected_since.map(age),
        failures: sync.failures,
        last_error: sync.last_error.as_ref().map(ToString::to_string),
        types: sync.types.iter().map(of_type).collect(),
    }
}

fn of_type(one: &TypeSync) -> TypeRow {
    TypeRow {
        type_url: one.type_url,
        state: format!("{:?}", one.state).to_lowercase(),
        resources: one.resources,
        rejected: one.rejected.iter().map(|rejected| format!("{rejected:?}")).collect(),
    }
}
