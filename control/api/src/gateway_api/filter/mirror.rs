//! Requests that are also sent elsewhere, where nobody waits for the answer.

use crate::check::{Check, Findings, one_of};
use crate::gateway_api::reference::BackendObjectReference;
use serde::{Deserialize, Serialize};

/// Sends requests, or a part of them, to another backend as well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RequestMirror {
    /// Where they go.
    pub backend_ref: BackendObjectReference,
    /// How many of a hundred; all if neither this nor a fraction was written.
    pub percent: Option<u32>,
    /// How many, as a fraction.
    pub fraction: Option<Fraction>,
}

/// A part of a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fraction {
    /// How many.
    pub numerator: u32,
    /// Of how many; of a hundred if it was not written.
    #[serde(default = "hundred")]
    pub denominator: u32,
}

const fn hundred() -> u32 {
    100
}

impl Check for RequestMirror {
    fn check(&self, found: &mut Findings) {
        found.field("backendRef", &self.backend_ref);
        let set = [("percent", self.percent.is_some()), ("fraction", self.fraction.is_some())];
        if let Err(reason) = one_of(&set).at_most() {
            found.refuse(reason);
        }
        found.require("percent", self.percent.is_none_or(|percent| percent <= 100), "is more than 100");
        found.field("fraction", &self.fraction);
    }
}

impl Check for Fraction {
    fn check(&self, found: &mut Findings) {
        found.require("denominator", self.denominator > 0, "is zero");
        let reason = "is more than the denominator";
        found.require("numerator", self.numerator <= self.denominator, reason);
    }
}
