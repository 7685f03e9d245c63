//! What matters of a ServiceEntry: the services that it makes, one for each of its hosts.

use crate::config::IndexConfig;
use crate::facts::created;
use crate::facts::port;
use crate::facts::said;
use crate::facts::service::{Author, Backend, BackendPort, ServiceFacts, TargetPort};
use crate::facts::waypoint::{self, Use};
use crate::facts::workload_entry::{self, ByName, EntryFacts};
use crate::name::Name;
use crate::selector::Selector;
use ipnet::IpNet;
use std::net::IpAddr;
use std::sync::Arc;
use weft_control_api::istio::service_entry::{Location, Resolution, ServiceEntry, ServiceEntrySpec};
use weft_control_api::kind::{Kind, ObjectKey};
use weft_control_api::problem::Note;
use weft_core::names::ServiceName;
use weft_core::service as core;

/// A ServiceEntry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServiceEntryFacts {
    /// Of several entries for one host of a namespace the oldest has it.
    pub(crate) created: i64,
    /// The waypoint that it asks for itself.
    pub(crate) waypoint: Option<Use>,
    /// By host.
    pub(crate) services: Vec<(Name, ServiceFacts)>,
    pub(crate) endpoints: Vec<EntryFacts>,
    /// Hosts that are their own endpoints, which waypoints look up; one with a star stands for each name that is asked for.
    pub(crate) looked_up: Vec<(Name, EntryFacts)>,
}

impl ServiceEntryFacts {
    /// Whether a waypoint has to look something up.
    pub(crate) fn has_names(&self) -> bool {
        !self.looked_up.is_empty() || self.endpoints.iter().any(|one| one.place.addr().is_none())
    }
}

/// The object of that name.
pub(crate) fn key(name: &Name) -> ObjectKey {
    ObjectKey::new(Kind::ServiceEntry, name.namespace.clone(), name.name.clone())
}

/// Reads a ServiceEntry. An error among the notes refuses it.
pub(crate) fn read(
    entry: &ServiceEntry,
    name: &Name,
    config: &IndexConfig,
    notes: &mut Vec<Note>,
) -> ServiceEntryFacts {
    let spec = &entry.spec;
    let labels = entry.metadata.labels.clone().unwrap_or_default();
    let waypoint = waypoint::read(&labels, &name.namespace, notes);
    refuse_what_cannot_be_done(spec, waypoint.as_ref(), config, notes);
    let looks_up = matches!(spec.resolution, Resolution::Dns | Resolution::DnsRoundRobin);
    let by_name = if looks_up { ByName::Yes } else { ByName::No };
    let dynamic = spec.resolution == Resolution::DynamicDns;
    // Those are not looked at, as the reader has said.
    let endpoints = spec.endpoints.iter().enumerate().filter(|_| !dynamic);
    let endpoints = endpoints.filter_map(|(number, one)| {
        workload_entry::read(one, (&format!("spec.endpoints[{number}]"), by_name), config, notes)
    });
    let endpoints: Vec<EntryFacts> = endpoints.collect();
    let bypass = said::read(&entry.metadata, notes);
    let service = |host: &String| {
        let host = Name::new(name.namespace.clone(), host.to_ascii_lowercase());
        let facts = ServiceFacts {
            told: told(spec, &host, config),
            backend: backend(spec, &host),
            waypoint: waypoint.clone(),
            bypass,
            author: Author::Entry,
        };
        (host, facts)
    };
    let services: Vec<(Name, ServiceFacts)> = spec.hosts.iter().map(service).collect();
    let by_hosts = dynamic || looks_up && spec.endpoints.is_empty() && spec.workload_selector.is_none();
    let hosts = services.iter().filter(|_| by_hosts).map(|(host, _)| host);
    let looked_up = hosts.map(|host| (host.clone(), EntryFacts::of_host(&host.name))).collect();
    ServiceEntryFacts { created: created(&entry.metadata), services, waypoint, endpoints, looked_up }
}

fn refuse_what_cannot_be_done(
    spec: &ServiceEntrySpec,
    waypoint: Option<&Use>,
    config: &IndexConfig,
    notes: &mut Vec<Note>,
) {
    let mut refuse = |field: String, reason: &str| notes.push(Note::error(field, reason));
    let own = format!(".svc.{}", config.cluster_domain);
    for (number, host) in spec.hosts.iter().enumerate() {
        let field = format!("spec.hosts[{number}]");
        if !host.contains('.') {
            refuse(field, "has no dot: a whole host name is needed, as short ones are those of Services");
        } else if host.to_ascii_lowercase().ends_with(&own) {
            refuse(field, "is a name that Services of Kubernetes have");
        } else if host.starts_with('*') && !host.starts_with("*.") {
            refuse(field, "is not supported: * stands for whole labels only, as in *.example.com");
        }
    }
    if spec.export_to.iter().any(|one| one != "*") {
        refuse("spec.exportTo".into(), "is not supported but for *: a service is for all namespaces");
    }
    match spec.resolution {
        Resolution::Static => {}
        Resolution::None if spec.addresses.is_empty() => {
            refuse(
                "spec.addresses".into(),
                "is empty, and without it nobody knows what the resolution NONE is for: write addresses, or the resolution \
                 DNS, or for *.example.com DYNAMIC_DNS",
            );
        }
        Resolution::None if matches!(waypoint, Some(Use::Gateway(_))) => {
            let reason =
                "is NONE, and a waypoint cannot stand before that: it has no endpoints to choose from";
            refuse("spec.resolution".into(), reason);
        }
        Resolution::None => {}
        Resolution::Dns | Resolution::DnsRoundRobin => {}
        Resolution::DynamicDns => refuse_what_says_no_name(spec, &mut refuse),
    }
}

/// With DYNAMIC_DNS a waypoint takes the name from each request or handshake, and looks it up outside the mesh.
fn refuse_what_says_no_name(spec: &ServiceEntrySpec, refuse: &mut impl FnMut(String, &str)) {
    if spec.location == Location::MeshInternal {
        refuse("spec.location".into(), "is MESH_INTERNAL, and DYNAMIC_DNS is for names outside the mesh");
    }
    if spec.workload_selector.is_some() {
        refuse("spec.workloadSelector".into(), "is not for DYNAMIC_DNS, which asks for the host itself");
    }
    for (number, port) in spec.ports.iter().enumerate() {
        if port::app_protocol(port.protocol.as_deref(), Some(&port.name)) == core::AppProtocol::Tcp {
            let reason = "is plain TCP, which says no name that DYNAMIC_DNS could look up: HTTP, HTTP2, GRPC, HTTPS and TLS do";
            refuse(format!("spec.ports[{number}].protocol"), reason);
        }
    }
}

fn told(spec: &ServiceEntrySpec, host: &Name, config: &IndexConfig) -> core::Service {
    let port = |port: &weft_control_api::istio::service_entry::ServicePort| core::ServicePort {
        service_port: port.number.get(),
        target_port: port.target_port.unwrap_or(port.number).get(),
        app_protocol: port::app_protocol(port.protocol.as_deref(), Some(&port.name)),
    };
    let mode = match spec.resolution {
        Resolution::None => core::LoadBalancingMode::Passthrough,
        _ => core::LoadBalancingMode::Any,
    };
    let vip = |range| core::Vip { network: config.network.clone(), range, kind: core::VipKind::External };
    core::Service {
        name: ServiceName::new(host.namespace.clone(), host.name.clone()),
        short_name: host.name.clone(),
        vips: spec.addresses.iter().filter_map(|text| range(text)).map(vip).collect(),
        ports: spec.ports.iter().map(port).collect(),
        subject_alt_names: spec.subject_alt_names.iter().map(|name| Arc::from(name.as_str())).collect(),
        waypoint: None,
        load_balancing: core::LoadBalancing { mode, ..core::LoadBalancing::default() },
        ip_families: core::IpFamilies::Automatic,
        session_affinity: None,
        external_name: None,
        canonical: true,
        guarded: false,
    }
}

/// An address, or a range of them. That it is one was checked when it was read.
fn range(text: &str) -> Option<IpNet> {
    let single = || text.parse::<IpAddr>().ok().map(|ip| IpNet::from(ip.to_canonical()));
    text.parse::<IpNet>().ok().or_else(single)
}

fn backend(spec: &ServiceEntrySpec, host: &Name) -> Backend {
    let port = |port: &weft_control_api::istio::service_entry::ServicePort| BackendPort {
        service_port: port.number.get(),
        name: port.name.as_str().into(),
        target: TargetPort::Number(port.target_port.unwrap_or(port.number).get()),
    };
    Backend {
        name: ServiceName::new(host.namespace.clone(), host.name.clone()),
        selector: spec.workload_selector.as_ref().map(|one| Selector::labels(one.labels.clone())),
        headless: false,
        health: core::HealthPolicy::OnlyHealthy,
        ports: spec.ports.iter().map(port).collect(),
    }
}
