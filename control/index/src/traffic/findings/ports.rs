//! Ports of Services that Istio's resources name and that are not there, and ports that they leave open where there are
//! several.

use crate::cluster::Cluster;
use crate::facts::service::ServiceFacts;
use crate::name::Name;
use crate::traffic::hosts::Hosts;
use crate::traffic::virtual_service::{is_within_mesh, of_http, of_stream};
use std::collections::BTreeSet;
use weft_control_api::istio::destination::Destination;
use weft_control_api::istio::destination_rule::{DestinationRule, TrafficPolicy};
use weft_control_api::istio::virtual_service::VirtualService;
use weft_control_api::port::Port;
use weft_control_api::problem::Note;
use weft_core::service::{AppProtocol, ServicePort};

/// What a DestinationRule says of ports that its host does not have.
pub(super) fn of_destination_rule(cluster: &Cluster, name: &Name, rule: &DestinationRule) -> Vec<Note> {
    let Some(service) = Hosts { cluster }.name(&rule.spec.host, &name.namespace) else {
        return Vec::new();
    };
    let Some(facts) = known(cluster, &service) else {
        return Vec::new();
    };
    let own = rule.spec.traffic_policy.iter().map(|policy| ("spec.trafficPolicy".to_owned(), policy));
    let subsets = rule.spec.subsets.iter().enumerate().filter_map(|(number, subset)| {
        Some((format!("spec.subsets[{number}].trafficPolicy"), subset.traffic_policy.as_ref()?))
    });
    let of_policy = |(at, policy): (String, &TrafficPolicy)| {
        let ports = policy.port_level_settings.iter().enumerate();
        let ports = ports.map(|(number, one)| (number, one.port.number.get()));
        let missing = ports.filter(|(_, port)| facts.told.port(*port).is_none());
        let note = |(number, port)| {
            let reason = format!("Service {service} has no port {port}: these settings have no effect");
            Note::warning(format!("{at}.portLevelSettings[{number}].port.number"), reason)
        };
        missing.map(note).collect::<Vec<_>>()
    };
    own.chain(subsets).flat_map(of_policy).collect()
}

/// Destinations of a VirtualService that name no port though there are several: what was asked for is asked for there too,
/// whether it has that or not (Istio, `Destination.port`).
pub(super) fn of_virtual_service(cluster: &Cluster, name: &Name, one: &VirtualService) -> Vec<Note> {
    let hosts = one.spec.hosts.iter().filter_map(|host| Hosts { cluster }.name(host, &name.namespace));
    let hosts = hosts.filter(|host| known(cluster, host).is_some()).collect();
    let around = Around { cluster, name, hosts };
    let mut notes = Vec::new();
    for (number, route) in one.spec.http.iter().enumerate() {
        let matches = route.matches.iter().map(|one| (one.port, &*one.gateways)).collect::<Vec<_>>();
        notes.extend(around.notes(of_http(number, route), &around.asked(&matches, carries_requests)));
    }
    for (number, route) in one.spec.tls.iter().enumerate() {
        let matches = route.matches.iter().map(|one| (one.port, &*one.gateways)).collect::<Vec<_>>();
        let leads = of_stream(&format!("spec.tls[{number}]"), &route.route);
        notes.extend(around.notes(leads, &around.asked(&matches, carries_tls)));
    }
    for (number, route) in one.spec.tcp.iter().enumerate() {
        let matches = route.matches.iter().map(|one| (one.port, &*one.gateways)).collect::<Vec<_>>();
        let leads = of_stream(&format!("spec.tcp[{number}]"), &route.route);
        notes.extend(around.notes(leads, &around.asked(&matches, carries_bytes)));
    }
    notes
}

struct Around<'a> {
    cluster: &'a Cluster,
    name: &'a Name,
    /// The Services that the VirtualService is for.
    hosts: BTreeSet<Name>,
}

impl Around<'_> {
    /// The ports of the hosts at which a route with these matches takes something.
    fn asked(
        &self,
        matches: &[(Option<Port>, &[String])],
        carries: fn(AppProtocol) -> bool,
    ) -> BTreeSet<u16> {
        let takes = |port: &&ServicePort| {
            let is_its = |(wanted, gateways): &(Option<Port>, &[String])| {
                is_within_mesh(gateways) && wanted.is_none_or(|wanted| wanted.get() == port.service_port)
            };
            carries(port.app_protocol) && (matches.is_empty() || matches.iter().any(is_its))
        };
        let ports = self.hosts.iter().filter_map(|host| known(self.cluster, host));
        ports.flat_map(|facts| &facts.told.ports).filter(takes).map(|port| port.service_port).collect()
    }

    fn notes(&self, leads: Vec<(String, &Destination)>, asked: &BTreeSet<u16>) -> Vec<Note> {
        let open = leads.into_iter().filter(|(_, to)| to.port.is_none());
        open.filter_map(|(field, to)| self.note(&field, to, asked)).collect()
    }

    fn note(&self, field: &str, to: &Destination, asked: &BTreeSet<u16>) -> Option<Note> {
        let service = Hosts { cluster: self.cluster }.name(&to.host, &self.name.namespace)?;
        let facts = known(self.cluster, &service)?;
        // Of its only port there is nothing to say; and a host of the VirtualService has what was asked of it, if it is the
        // only one.
        if facts.told.ports.len() < 2 || self.hosts.len() == 1 && self.hosts.contains(&service) {
            return None;
        }
        let field = format!("{field}.port");
        let missing: Vec<String> =
            asked.iter().filter(|port| facts.told.port(**port).is_none()).map(ToString::to_string).collect();
        if missing.is_empty() {
            let reason = format!(
                "is not written, and Service {service} has several: the one that was asked for is meant; write it"
            );
            return Some(Note::warning(field, reason));
        }
        let reason = format!(
            "is not written, and Service {service} has several, but not {}, which was asked for: what comes there fails; \
             write the one that is meant",
            missing.join(" and ")
        );
        Some(Note::error(field, reason))
    }
}

/// A Service with ports of its own, which a name for another name does not have.
fn known<'a>(cluster: &'a Cluster, service: &Name) -> Option<&'a ServiceFacts> {
    cluster.services.get(service).filter(|facts| facts.told.external_name.is_none())
}

fn carries_requests(protocol: AppProtocol) -> bool {
    !matches!(protocol, AppProtocol::Tcp | AppProtocol::Tls)
}

fn carries_tls(protocol: AppProtocol) -> bool {
    matches!(protocol, AppProtocol::Tls | AppProtocol::Unknown)
}

fn carries_bytes(protocol: AppProtocol) -> bool {
    matches!(protocol, AppProtocol::Tcp | AppProtocol::Tls | AppProtocol::Unknown)
}
