//! Routes for connections whose bytes are not looked at: TLS by its name, TCP by its addresses.

use crate::check::{Check, Findings};
use crate::istio::destination::Destination;
use crate::istio::names::{NO_WILDCARD_HOST, gateways, is_wildcard_host, labels};
use crate::port::Port;
use crate::text::{is_label, is_range};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Which TLS connections, and where they go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TlsRoute {
    /// Any of these has to match.
    #[serde(rename = "match")]
    pub matches: Vec<TlsMatchAttributes>,
    /// Where they go, each destination taking its share.
    #[serde(default)]
    pub route: Vec<RouteDestination>,
}

/// Which connections, and where they go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TcpRoute {
    /// Any of these has to match; if it is empty, every connection does.
    #[serde(rename = "match", default)]
    pub matches: Vec<L4MatchAttributes>,
    /// Where they go, each destination taking its share.
    #[serde(default)]
    pub route: Vec<RouteDestination>,
}

/// All parts that are there have to match.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TlsMatchAttributes {
    /// Names that the client says (SNI), any of these; they belong to hosts of the VirtualService.
    pub sni_hosts: Vec<String>,
    /// Addresses that the connection was made to.
    #[serde(default)]
    pub destination_subnets: Vec<String>,
    /// The port that it was made to.
    pub port: Option<Port>,
    /// Labels of the client's pod.
    #[serde(default)]
    pub source_labels: BTreeMap<String, String>,
    /// Gateways, in place of those of the VirtualService.
    #[serde(default)]
    pub gateways: Vec<String>,
    /// The client's namespace.
    pub source_namespace: Option<String>,
}

/// All parts that are there have to match.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct L4MatchAttributes {
    /// Addresses that the connection was made to.
    #[serde(default)]
    pub destination_subnets: Vec<String>,
    /// The port that it was made to.
    pub port: Option<Port>,
    /// Addresses of the client (deprecated).
    pub source_subnet: Option<String>,
    /// Labels of the client's pod.
    #[serde(default)]
    pub source_labels: BTreeMap<String, String>,
    /// Gateways, in place of those of the VirtualService.
    #[serde(default)]
    pub gateways: Vec<String>,
    /// The client's namespace.
    pub source_namespace: Option<String>,
}

/// A destination that takes a share of connections.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RouteDestination {
    /// Where they go.
    pub destination: Destination,
    /// Its share, in proportion to the sum of all. Zero if it was not written, which is everything if it is alone.
    #[serde(default)]
    pub weight: u32,
}

impl Check for TlsRoute {
    fn check(&self, found: &mut Findings) {
        found.require("match", !self.matches.is_empty(), "is empty");
        found.field("match", &self.matches[..]);
        destinations(found, &self.route);
    }
}

impl Check for TcpRoute {
    fn check(&self, found: &mut Findings) {
        found.field("match", &self.matches[..]);
        destinations(found, &self.route);
    }
}

fn destinations(found: &mut Findings, route: &[RouteDestination]) {
    found.require("route", !route.is_empty(), "is empty or missing");
    found.each("route", route, |found, one| found.field("destination", &one.destination));
    let weights: Vec<u32> = route.iter().map(|one| one.weight).collect();
    super::check::weights(found, &weights);
}

impl Check for TlsMatchAttributes {
    fn check(&self, found: &mut Findings) {
        found.require("sniHosts", !self.sni_hosts.is_empty(), "is empty");
        found.each("sniHosts", &self.sni_hosts, |found, host| {
            if !is_wildcard_host(host) {
                found.refuse(NO_WILDCARD_HOST);
            }
        });
        source(found, &self.source_labels, self.source_namespace.as_deref());
        subnets(found, &self.destination_subnets);
        gateways(found, &self.gateways);
    }
}

impl Check for L4MatchAttributes {
    fn check(&self, found: &mut Findings) {
        source(found, &self.source_labels, self.source_namespace.as_deref());
        subnets(found, &self.destination_subnets);
        let subnet = self.source_subnet.as_deref().is_none_or(is_range);
        found.require("sourceSubnet", subnet, NO_RANGE);
        gateways(found, &self.gateways);
    }
}

/// Why a text is no range of addresses.
const NO_RANGE: &str = "is no address or range: 10.0.0.0/8 is";

fn subnets(found: &mut Findings, subnets: &[String]) {
    found.each("destinationSubnets", subnets, |found, subnet| {
        if !is_range(subnet) {
            found.refuse(NO_RANGE);
        }
    });
}

fn source(found: &mut Findings, source_labels: &BTreeMap<String, String>, namespace: Option<&str>) {
    labels(found, "sourceLabels", source_labels);
    found.require("sourceNamespace", namespace.is_none_or(is_label), "is no namespace");
}
