//! `ReferenceGrant`: which objects of other namespaces may name objects of this one.

use crate::check::{Check, Findings};
use crate::resource::Resource;
use crate::text::is_name;
use serde::{Deserialize, Serialize};

/// One ReferenceGrant.
pub type ReferenceGrant = Resource<ReferenceGrantSpec>;

/// Who may name what. Any of `from` may name any of `to`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReferenceGrantSpec {
    /// Objects that may name.
    pub from: Vec<ReferenceGrantFrom>,
    /// Objects that may be named, all of the grant's namespace.
    pub to: Vec<ReferenceGrantTo>,
}

/// All objects of a kind and a namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReferenceGrantFrom {
    /// The API group; empty for the core group.
    pub group: String,
    /// The kind.
    pub kind: String,
    /// The namespace.
    pub namespace: String,
}

/// Objects of a kind.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReferenceGrantTo {
    /// The API group; empty for the core group.
    pub group: String,
    /// The kind.
    pub kind: String,
    /// The name; all of the kind if there is none.
    pub name: Option<String>,
}

/// Most items of each side.
const ITEMS_MAX: usize = 16;

impl Check for ReferenceGrantSpec {
    fn check(&self, found: &mut Findings) {
        found.count("from", &self.from, 1..=ITEMS_MAX);
        found.each("from", &self.from, |found, from| {
            found.require("kind", !from.kind.is_empty(), "is empty");
            found.require("namespace", is_name(&from.namespace), "is no name: a-z, 0-9, - and . are");
        });
        found.count("to", &self.to, 1..=ITEMS_MAX);
        found.each("to", &self.to, |found, to| {
            found.require("kind", !to.kind.is_empty(), "is empty");
            let name = to.name.as_deref().is_none_or(is_name);
            found.require("name", name, "is no name: a-z, 0-9, - and . are");
        });
    }
}
