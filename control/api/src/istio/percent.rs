//! Parts of a hundred.

use crate::check::{Check, Findings};
use serde::{Deserialize, Serialize};

/// A part of a hundred, as fine as a hundredth of one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Percent {
    /// 0 to 100; nothing if it was not written.
    #[serde(default)]
    pub value: f64,
}

impl Check for Percent {
    fn check(&self, found: &mut Findings) {
        found.require("value", is_percent(self.value), NO_PERCENT);
    }
}

pub(crate) fn is_percent(value: f64) -> bool {
    (0.0..=100.0).contains(&value)
}

/// Why a number is no percentage.
pub(crate) const NO_PERCENT: &str = "is no percentage: 0 to 100 are";
