//! Where traffic is sent to: a service, a subset of its endpoints, a port.

use crate::check::{Check, Findings};
use crate::istio::names::{NO_HOST, is_wildcard_host};
use crate::port::Port;
use crate::text::is_label;
use serde::{Deserialize, Serialize};

/// A service, or a part of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Destination {
    /// The service: its name within the namespace, or its whole name.
    pub host: String,
    /// A subset that a DestinationRule names; all endpoints if there is none.
    pub subset: Option<String>,
    /// The port. If there is none: the service's only one, or the one that the request was sent to.
    pub port: Option<PortSelector>,
}

/// A port by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PortSelector {
    /// The number.
    pub number: Port,
}

impl Check for Destination {
    fn check(&self, found: &mut Findings) {
        let host = self.host != "*" && is_wildcard_host(&self.host);
        found.require("host", host, NO_HOST);
        found.require("subset", self.subset.as_deref().is_none_or(is_label), "is no name of a subset");
    }
}
