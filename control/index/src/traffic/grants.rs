//! ReferenceGrants: which routes may name services of another namespace.

use crate::name::Name;
use std::collections::HashMap;
use std::sync::Arc;
use weft_control_api::gateway_api::reference_grant::ReferenceGrantSpec;
use weft_control_api::kind::GATEWAY_GROUP;

/// All grants, by the namespace that gives them.
#[derive(Debug, Default)]
pub(crate) struct Grants(HashMap<Arc<str>, HashMap<Arc<str>, ReferenceGrantSpec>>);

impl Grants {
    /// Takes a grant, or forgets it.
    pub(crate) fn set(&mut self, name: &Name, grant: Option<ReferenceGrantSpec>) {
        let of_namespace = self.0.entry(name.namespace.clone()).or_default();
        match grant {
            Some(grant) => drop(of_namespace.insert(name.name.clone(), grant)),
            None => drop(of_namespace.remove(&name.name)),
        }
        if of_namespace.is_empty() {
            self.0.remove(&name.namespace);
        }
    }

    /// Whether routes of a kind and namespace may name a service of another namespace.
    pub(crate) fn allow(&self, kind: &str, from: &str, to: &str, service: &str) -> bool {
        let grants = self.0.get(to).into_iter().flat_map(HashMap::values);
        grants.into_iter().any(|grant| {
            let who = |one: &weft_control_api::gateway_api::reference_grant::ReferenceGrantFrom| {
                one.group == GATEWAY_GROUP && one.kind == kind && one.namespace == from
            };
            let what = |one: &weft_control_api::gateway_api::reference_grant::ReferenceGrantTo| {
                one.group.is_empty()
                    && one.kind == "Service"
                    && one.name.as_deref().is_none_or(|name| name == service)
            };
            grant.from.iter().any(who) && grant.to.iter().any(what)
        })
    }
}
