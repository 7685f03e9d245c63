//! What a ServiceEntry may not say: the rules of its CRD, and those that Istio's admission adds for one object alone.

use super::{PROTOCOLS, Resolution, ServiceEntrySpec, ServicePort};
use crate::check::{Check, Findings, one_of};
use crate::istio::names::{NO_WILDCARD_HOST, export_to, is_wildcard_host, labels};
use crate::istio::workload_entry::{UNIX_SCHEME, WorkloadEntrySpec};
use crate::text::{is_address, is_label, is_range};

/// Most hosts, addresses and ports.
const ITEMS_MAX: usize = 256;
/// Most endpoints.
const ENDPOINTS_MAX: usize = 4096;

impl Check for ServiceEntrySpec {
    fn check(&self, found: &mut Findings) {
        self.check_hosts(found);
        self.check_addresses(found);
        found.count("ports", &self.ports, 0..=ITEMS_MAX);
        found.field("ports", &self.ports[..]);
        found.unique("ports", &self.ports, |port| Some(port.number));
        found.unique("ports", &self.ports, |port| Some(port.name.to_ascii_lowercase()));
        self.check_endpoints(found);
        export_to(found, &self.export_to);
        let both = [
            ("endpoints", !self.endpoints.is_empty()),
            ("workloadSelector", self.workload_selector.is_some()),
        ];
        if let Err(reason) = one_of(&both).at_most() {
            found.refuse(reason);
        }
        if let Some(selector) = &self.workload_selector {
            found.at("workloadSelector", |found| {
                found.require("labels", !selector.labels.is_empty(), "is empty, and would select everything");
                labels(found, "labels", &selector.labels);
            });
        }
    }
}

impl ServiceEntrySpec {
    fn check_hosts(&self, found: &mut Findings) {
        found.count("hosts", &self.hosts, 1..=ITEMS_MAX);
        found.unique("hosts", &self.hosts, |host| Some(host.to_ascii_lowercase()));
        let looked_up = matches!(self.resolution, Resolution::Dns | Resolution::DnsRoundRobin);
        let nameless = looked_up && self.endpoints.is_empty() && self.workload_selector.is_none();
        found.each("hosts", &self.hosts, |found, host| {
            let star = host.starts_with('*');
            if !is_wildcard_host(host) {
                found.refuse(NO_WILDCARD_HOST);
            } else if host == "*" {
                found.refuse("is every host, which no service has");
            } else if star && nameless {
                found.refuse("begins with *, which DNS cannot look up without endpoints");
            } else if !star && self.resolution == Resolution::DynamicDns {
                found.refuse("does not begin with *, which DYNAMIC_DNS is for");
            }
        });
    }

    fn check_addresses(&self, found: &mut Findings) {
        found.count("addresses", &self.addresses, 0..=ITEMS_MAX);
        let ranges = matches!(self.resolution, Resolution::None | Resolution::Static);
        found.each("addresses", &self.addresses, |found, address| {
            if !is_range(address) {
                found.refuse("is no address or range: 10.0.0.0/8 is");
            } else if address.contains('/') && !ranges {
                found.refuse("is a range, which only the resolutions NONE and STATIC may have");
            }
        });
    }

    fn check_endpoints(&self, found: &mut Findings) {
        found.count("endpoints", &self.endpoints, 0..=ENDPOINTS_MAX);
        found.field("endpoints", &self.endpoints[..]);
        found.each("endpoints", &self.endpoints, |found, endpoint| self.check_endpoint(found, endpoint));
        let listed = self.endpoints.len();
        match self.resolution {
            Resolution::None => {
                found.require("endpoints", listed == 0, "is not for the resolution NONE, which has none");
            }
            Resolution::Static if listed == 0 && self.workload_selector.is_none() => {
                found.warn("has the resolution STATIC and no endpoints, so nothing can be reached");
            }
            Resolution::DnsRoundRobin => {
                found.require(
                    "endpoints",
                    listed <= 1,
                    "has more than one, and DNS_ROUND_ROBIN looks up one name",
                );
            }
            Resolution::DynamicDns if listed > 0 => {
                found.at("endpoints", |found| {
                    found.warn("is not looked at, as DYNAMIC_DNS asks for the host itself");
                });
            }
            Resolution::Static | Resolution::Dns | Resolution::DynamicDns => {}
        }
    }

    fn check_endpoint(&self, found: &mut Findings, endpoint: &WorkloadEntrySpec) {
        let address = endpoint.address.as_deref().unwrap_or_default();
        let socket = address.starts_with(UNIX_SCHEME);
        match self.resolution {
            Resolution::Static => {
                let known = address.is_empty() || socket || is_address(address);
                found.require("address", known, "is no address, and STATIC looks nothing up");
            }
            Resolution::Dns | Resolution::DnsRoundRobin => {
                found.require("address", !socket, "is a socket, which DNS cannot look up");
            }
            Resolution::None | Resolution::DynamicDns => {}
        }
        found.require(
            "address",
            !socket || self.ports.len() == 1,
            "is a socket, which needs a service of one port",
        );
        for name in endpoint.ports.keys() {
            let there = self.ports.iter().any(|port| port.name == *name);
            let reason = format!("names {name:?}, which is no port of the service");
            found.require("ports", there, &reason);
        }
    }
}

impl Check for ServicePort {
    fn check(&self, found: &mut Findings) {
        found.require("name", is_label(&self.name), "is no name of a port: a-z, 0-9 and - are");
        let known = |protocol: &str| {
            protocol.is_empty() || PROTOCOLS.iter().any(|one| one.eq_ignore_ascii_case(protocol))
        };
        let protocol = self.protocol.as_deref().is_none_or(known);
        found.require("protocol", protocol, "is no protocol: HTTP, HTTPS, GRPC, HTTP2, TCP and TLS are");
    }
}
