//! What all routes have in common.

use crate::check::Findings;
use crate::gateway_api::matching::{NO_HOSTNAME, is_hostname};
use crate::gateway_api::reference::ParentReference;
use crate::text::is_name;
use serde::{Deserialize, Serialize};

/// Whether a route is also attached to Gateways that call themselves default ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DefaultScope {
    /// To all of them.
    All,
    /// To none.
    None,
}

/// Most parents of a route.
const PARENTS_MAX: usize = 32;
/// Most host names of a route.
const HOSTNAMES_MAX: usize = 16;

/// Checks the parents of a route: those that are one object have to be different parts of it.
pub(crate) fn parents(found: &mut Findings, parents: &[ParentReference]) {
    found.count("parentRefs", parents, 0..=PARENTS_MAX);
    found.field("parentRefs", parents);
    for (index, parent) in parents.iter().enumerate() {
        for before in parents[..index].iter().filter(|before| is_same_object(before, parent)) {
            let parts = (parent.section_name.is_some(), parent.port.is_some());
            if (before.section_name.is_some(), before.port.is_some()) != parts {
                let reason =
                    "names a parent twice, by different fields: sectionName and port are for all or for none";
                found.at("parentRefs", |found| found.refuse(reason));
            }
        }
    }
    found.unique("parentRefs", parents, |parent| Some(parent.clone()));
}

fn is_same_object(one: &ParentReference, other: &ParentReference) -> bool {
    let key = |parent: &ParentReference| {
        (parent.group.clone(), parent.kind.clone(), parent.namespace.clone(), parent.name.clone())
    };
    key(one) == key(other)
}

/// Checks the host names of a route.
pub(crate) fn hostnames(found: &mut Findings, hostnames: &[String]) {
    found.count("hostnames", hostnames, 0..=HOSTNAMES_MAX);
    found.each("hostnames", hostnames, |found, hostname| {
        if !is_hostname(hostname) {
            found.refuse(NO_HOSTNAME);
        }
    });
}

/// Checks the name of a rule, which other resources call a section.
pub(crate) fn rule_name(found: &mut Findings, name: Option<&str>) {
    found.require("name", name.is_none_or(is_name), "is no name: a-z, 0-9, - and . are");
}
