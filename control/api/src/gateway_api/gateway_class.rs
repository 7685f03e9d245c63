//! `GatewayClass`: who looks after the Gateways of a class.

use crate::check::{Check, Findings};
use crate::gateway_api::reference::ObjectReference;
use crate::resource::Resource;
use serde::{Deserialize, Serialize};

/// One GatewayClass. It lives in no namespace.
pub type GatewayClass = Resource<GatewayClassSpec>;

/// Who looks after its Gateways.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GatewayClassSpec {
    /// The controller, a domain and a path.
    pub controller_name: String,
    /// More for the controller, in another object.
    pub parameters_ref: Option<ObjectReference>,
    /// For people.
    pub description: Option<String>,
}

/// Longest description.
const DESCRIPTION_BYTES_MAX: usize = 64;

impl Check for GatewayClassSpec {
    fn check(&self, found: &mut Findings) {
        let parts = self.controller_name.split_once('/');
        let name = parts.is_some_and(|(domain, path)| crate::text::is_name(domain) && !path.is_empty());
        found.require("controllerName", name, "is no controller: a domain, / and a path is");
        found.field("parametersRef", &self.parameters_ref);
        let description = self.description.as_deref().is_none_or(|text| text.len() <= DESCRIPTION_BYTES_MAX);
        found.require("description", description, "is longer than 64 bytes");
    }
}
