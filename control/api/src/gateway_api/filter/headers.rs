//! Headers that are set, added, or taken away.

use crate::check::{Check, Findings};
use crate::text::{is_header_name, is_header_value};
use serde::{Deserialize, Serialize};

/// Changes of headers, in this order: set, add, remove.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HeaderModifier {
    /// Headers that have only this value from now on.
    #[serde(default)]
    pub set: Vec<Header>,
    /// Values that headers have besides those that they have.
    #[serde(default)]
    pub add: Vec<Header>,
    /// Names of headers that are taken away.
    #[serde(default)]
    pub remove: Vec<String>,
}

/// A header and its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Header {
    /// The name, in any case.
    pub name: String,
    /// The value.
    pub value: String,
}

/// Most headers of each of the three.
const HEADERS_MAX: usize = 16;
/// Longest value.
const VALUE_BYTES_MAX: usize = 4096;

impl Check for HeaderModifier {
    fn check(&self, found: &mut Findings) {
        for (key, headers) in [("set", &self.set), ("add", &self.add)] {
            found.count(key, headers, 0..=HEADERS_MAX);
            found.field(key, &headers[..]);
            found.unique(key, headers, |header| Some(header.name.to_ascii_lowercase()));
        }
        found.count("remove", &self.remove, 0..=HEADERS_MAX);
        found.each("remove", &self.remove, |found, name| {
            if !is_header_name(name) {
                found.refuse("is no name of a header");
            }
        });
        found.unique("remove", &self.remove, |name| Some(name.to_ascii_lowercase()));
    }
}

impl Check for Header {
    fn check(&self, found: &mut Findings) {
        found.require("name", is_header_name(&self.name), "is no name of a header");
        let value = (1..=VALUE_BYTES_MAX).contains(&self.value.len());
        found.require("value", value, "is empty or longer than 4096 bytes");
        found.require("value", is_header_value(&self.value), "has a byte that no header may have");
    }
}
