//! What matters of a Service.

use crate::config::IndexConfig;
use crate::facts::gateway::GATEWAY_NAME;
use crate::facts::waypoint::{self, Bypass, Use};
use crate::facts::{port, said};
use crate::name::Name;
use crate::selector::{Labels, Selector};
use ipnet::IpNet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use weft_control_api::k8s_openapi::api::core::v1::{Service, ServicePort as Port, ServiceSpec};
use weft_control_api::k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use weft_control_api::problem::Note;
use weft_core::names::ServiceName;
use weft_core::ports::TUNNEL;
use weft_core::service as core;

/// A service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServiceFacts {
    /// As discovery tells it, but for its waypoint.
    pub(crate) told: core::Service,
    /// What concerns its endpoints.
    pub(crate) backend: Backend,
    /// The waypoint that it asks for itself.
    pub(crate) waypoint: Option<Use>,
    /// What it says itself.
    pub(crate) bypass: Option<Bypass>,
    pub(crate) author: Author,
}

/// Who made a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Author {
    /// Somebody wrote it.
    Written,
    /// A ServiceEntry speaks of it.
    Entry,
    /// Nobody did: it stands for the instances of a waypoint.
    Waypoint,
}

/// What decides which pods serve it, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Backend {
    pub(crate) name: ServiceName,
    /// `None` for a service whose endpoints somebody else writes.
    pub(crate) selector: Option<Selector>,
    pub(crate) headless: bool,
    /// Whether endpoints that do not serve count (`publishNotReadyAddresses`).
    pub(crate) health: core::HealthPolicy,
    pub(crate) ports: Vec<BackendPort>,
}

/// A port and where pods serve it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BackendPort {
    pub(crate) service_port: u16,
    /// The name that joins it to an EndpointSlice's port; empty for none.
    pub(crate) name: Arc<str>,
    pub(crate) target: TargetPort,
}

/// Where pods serve a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TargetPort {
    Number(u16),
    /// The port that the pod's container gives this name.
    Named(Arc<str>),
}

/// The key of a service in discovery. A name with a dot, which no Service of Kubernetes has, is the host of a
/// ServiceEntry.
pub(crate) fn key(name: &Name, config: &IndexConfig) -> ServiceName {
    if name.name.contains('.') {
        return ServiceName::new(name.namespace.clone(), name.name.clone());
    }
    let hostname = format!("{}.{}.svc.{}", name.name, name.namespace, config.cluster_domain);
    ServiceName::new(name.namespace.clone(), hostname)
}

/// The service of a key.
pub(crate) fn object(key: &ServiceName, config: &IndexConfig) -> Name {
    let end = key.hostname.strip_suffix(&*config.cluster_domain).and_then(|rest| rest.strip_suffix(".svc."));
    let short = end.and_then(|rest| rest.strip_suffix(&*key.namespace)?.strip_suffix('.'));
    Name::new(key.namespace.clone(), short.unwrap_or(&key.hostname))
}

pub(crate) fn read(
    service: &Service,
    name: &Name,
    config: &IndexConfig,
    notes: &mut Vec<Note>,
) -> ServiceFacts {
    let no_spec = ServiceSpec::default();
    let spec = service.spec.as_ref().unwrap_or(&no_spec);
    let key = key(name, config);
    let external = is_external(spec, notes);
    let ports = if external { Vec::new() } else { backend_ports(spec, notes) };
    let selector = spec.selector.clone().filter(|labels: &Labels| !external && !labels.is_empty());
    let labels = service.metadata.labels.clone().unwrap_or_default();
    let told = core::Service {
        name: key.clone(),
        short_name: name.name.clone(),
        vips: if external { Vec::new() } else { vips(service, spec, config, notes) },
        ports: told_ports(spec, &ports),
        subject_alt_names: Vec::new(),
        waypoint: None,
        load_balancing: load_balancing(spec, notes),
        ip_families: ip_families(spec),
        session_affinity: session_affinity(spec, notes),
        external_name: external_name(spec, external, notes),
        canonical: true,
        guarded: false,
    };
    let headless = is_headless(spec);
    let (selector, health) = (selector.map(Selector::labels), told.load_balancing.health);
    ServiceFacts {
        told,
        backend: Backend { name: key, selector, headless, health, ports },
        waypoint: waypoint::read(&labels, &name.namespace, notes),
        bypass: said::read(&service.metadata, notes),
        author: Author::Written,
    }
}

/// The service of a waypoint for which nobody wrote one: its instances, at the tunnel's port.
pub(crate) fn of_waypoint(gateway: &Name, config: &IndexConfig) -> ServiceFacts {
    let key = key(gateway, config);
    let port = core::ServicePort {
        service_port: TUNNEL,
        target_port: TUNNEL,
        app_protocol: core::AppProtocol::Unknown,
    };
    let told = core::Service {
        name: key.clone(),
        short_name: gateway.name.clone(),
        vips: Vec::new(),
        ports: vec![port],
        subject_alt_names: Vec::new(),
        waypoint: None,
        load_balancing: core::LoadBalancing::default(),
        ip_families: core::IpFamilies::Automatic,
        session_affinity: None,
        external_name: None,
        canonical: true,
        guarded: false,
    };
    let backend = Backend {
        name: key,
        selector: Some(instances(gateway)),
        headless: true,
        health: core::HealthPolicy::OnlyHealthy,
        ports: vec![BackendPort {
            service_port: TUNNEL,
            name: "hbone".into(),
            target: TargetPort::Number(TUNNEL),
        }],
    };
    ServiceFacts { told, backend, waypoint: None, bypass: None, author: Author::Waypoint }
}

/// What selects the instances of a waypoint, in the namespace of its Gateway.
pub(crate) fn instances(gateway: &Name) -> Selector {
    Selector::labels([(GATEWAY_NAME.to_owned(), gateway.name.to_string())].into())
}

fn tcp_ports(spec: &ServiceSpec) -> impl Iterator<Item = (usize, &Port)> {
    let all = spec.ports.iter().flatten().enumerate();
    all.filter(|(_, port)| port::is_tcp(port.protocol.as_deref()))
}

fn backend_ports(spec: &ServiceSpec, notes: &mut Vec<Note>) -> Vec<BackendPort> {
    let mut found = Vec::new();
    for (index, one) in tcp_ports(spec) {
        let service_port = port::number(one.port, || format!("spec.ports[{index}].port"), notes);
        let field = || format!("spec.ports[{index}].targetPort");
        let target = match &one.target_port {
            None => TargetPort::Number(service_port),
            // Kubernetes reads an absent number as zero, and zero as absent.
            Some(IntOrString::Int(0)) => TargetPort::Number(service_port),
            Some(IntOrString::Int(number)) => TargetPort::Number(port::number(*number, field, notes)),
            Some(IntOrString::String(text)) => match text.parse::<u16>() {
                Ok(number) => TargetPort::Number(number),
                Err(_) => TargetPort::Named(text.as_str().into()),
            },
        };
        found.push(BackendPort {
            service_port,
            name: one.name.as_deref().unwrap_or_default().into(),
            target,
        });
    }
    found
}

fn told_ports(spec: &ServiceSpec, ports: &[BackendPort]) -> Vec<core::ServicePort> {
    let told = tcp_ports(spec).zip(ports).map(|((_, port), backend)| core::ServicePort {
        service_port: backend.service_port,
        target_port: match backend.target {
            TargetPort::Number(number) => number,
            TargetPort::Named(_) => 0,
        },
        app_protocol: port::app_protocol(port.app_protocol.as_deref(), port.name.as_deref()),
    });
    told.collect()
}

fn is_headless(spec: &ServiceSpec) -> bool {
    spec.cluster_ip.as_deref() == Some("None")
}

fn is_external(spec: &ServiceSpec, notes: &mut Vec<Note>) -> bool {
    match spec.type_.as_deref() {
        None | Some("" | "ClusterIP" | "NodePort" | "LoadBalancer") => false,
        Some("ExternalName") => true,
        Some(other) => {
            notes.push(Note::error("spec.type", format!("{other:?} is no type of a Service")));
            false
        }
    }
}

/// Its addresses: the cluster's own first, and those for clients outside. A headless one has none of either kind:
/// nothing stands for its pods, and kube-proxy passes it over as well.
fn vips(
    service: &Service,
    spec: &ServiceSpec,
    config: &IndexConfig,
    notes: &mut Vec<Note>,
) -> Vec<core::Vip> {
    if is_headless(spec) {
        return Vec::new();
    }
    let listed = spec.cluster_ips.iter().flatten().enumerate();
    let listed = listed.map(|(index, ip)| (format!("spec.clusterIPs[{index}]"), ip.as_str()));
    let single = spec.cluster_ip.as_deref().map(|ip| ("spec.clusterIP".to_owned(), ip));
    let external = spec.external_ips.iter().flatten().enumerate();
    let external = external.map(|(index, ip)| (format!("spec.externalIPs[{index}]"), ip.as_str()));
    let balancer = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress = balancer.and_then(|balancer| balancer.ingress.as_ref());
    let mut ours = Vec::new();
    for (index, one) in ingress.into_iter().flatten().enumerate() {
        let at = |field: &str| format!("status.loadBalancer.ingress[{index}].{field}");
        match one.ip_mode.as_deref() {
            None | Some("" | "VIP") => ours.extend(one.ip.as_deref().map(|ip| (at("ip"), ip))),
            // The balancer has to see what is for it, from within the cluster too (KEP-1860).
            Some("Proxy") => {}
            Some(other) => {
                notes.push(Note::error(at("ipMode"), format!("{other:?} is neither VIP nor Proxy")));
            }
        }
    }
    let mut found: Vec<core::Vip> = Vec::new();
    // Cluster IPs come first: discovery says how many of the addresses are ones.
    let given = listed.chain(single).map(|(field, text)| (field, text, core::VipKind::Cluster));
    let shared = external.chain(ours).map(|(field, text)| (field, text, core::VipKind::External));
    let all = given.chain(shared);
    for (field, text, kind) in all.filter(|(_, text, _)| !matches!(*text, "" | "None")) {
        let Ok(ip) = text.parse::<IpAddr>() else {
            notes.push(Note::error(field, format!("{text:?} is no address")));
            continue;
        };
        let range = IpNet::from(ip.to_canonical());
        if !found.iter().any(|known| known.range == range) {
            found.push(core::Vip { network: config.network.clone(), range, kind });
        }
    }
    found
}

fn load_balancing(spec: &ServiceSpec, notes: &mut Vec<Note>) -> core::LoadBalancing {
    use core::Scope::{Network, Node, Region, Subzone, Zone};
    let internal = spec.internal_traffic_policy.as_deref();
    if !matches!(internal, None | Some("" | "Cluster" | "Local")) {
        let reason = format!("{:?} is neither Cluster nor Local", internal.unwrap_or_default());
        notes.push(Note::error("spec.internalTrafficPolicy", reason));
    }
    if internal == Some("Local") && spec.external_ips.iter().flatten().next().is_some() {
        let reason = "Local holds here for what pods send to spec.externalIPs as well";
        notes.push(Note::warning("spec.internalTrafficPolicy", reason));
    }
    let (mode, preference) = match (internal, spec.traffic_distribution.as_deref()) {
        (Some("Local"), _) => (core::LoadBalancingMode::Strict, vec![Node]),
        (_, Some("PreferClose" | "PreferSameZone")) => {
            (core::LoadBalancingMode::Failover, vec![Network, Region, Zone])
        }
        (_, Some("PreferSameNode")) => {
            (core::LoadBalancingMode::Failover, vec![Network, Region, Zone, Subzone, Node])
        }
        (_, None | Some("")) => (core::LoadBalancingMode::Any, Vec::new()),
        (_, Some(other)) => {
            let reason = format!("{other:?} is not known; endpoints count alike");
            notes.push(Note::warning("spec.trafficDistribution", reason));
            (core::LoadBalancingMode::Any, Vec::new())
        }
    };
    let health = match spec.publish_not_ready_addresses {
        Some(true) => core::HealthPolicy::All,
        Some(false) | None => core::HealthPolicy::OnlyHealthy,
    };
    core::LoadBalancing { preference, mode, health }
}

fn ip_families(spec: &ServiceSpec) -> core::IpFamilies {
    let has = |family: &str| spec.ip_families.iter().flatten().any(|one| one == family);
    match (has("IPv4"), has("IPv6")) {
        (true, true) => core::IpFamilies::Dual,
        (true, false) => core::IpFamilies::V4,
        (false, true) => core::IpFamilies::V6,
        (false, false) => core::IpFamilies::Automatic,
    }
}

/// Kubernetes' default, three hours.
const AFFINITY_SECONDS: i32 = 10_800;

fn session_affinity(spec: &ServiceSpec, notes: &mut Vec<Note>) -> Option<Duration> {
    match spec.session_affinity.as_deref() {
        None | Some("" | "None") => return None,
        Some("ClientIP") => {}
        Some(other) => {
            notes
                .push(Note::error("spec.sessionAffinity", format!("{other:?} is neither ClientIP nor None")));
            return None;
        }
    }
    let config = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
    let seconds = config.and_then(|config| config.timeout_seconds).unwrap_or(AFFINITY_SECONDS);
    match u64::try_from(seconds) {
        Ok(seconds) if seconds > 0 => Some(Duration::from_secs(seconds)),
        _ => {
            let field = "spec.sessionAffinityConfig.clientIP.timeoutSeconds";
            notes.push(Note::error(field, format!("{seconds} is no time")));
            None
        }
    }
}

fn external_name(spec: &ServiceSpec, external: bool, notes: &mut Vec<Note>) -> Option<Arc<str>> {
    if !external {
        return None;
    }
    let name = spec.external_name.as_deref().map(|name| name.trim_end_matches('.'));
    if name.is_none_or(str::is_empty) {
        notes.push(Note::error("spec.externalName", "is missing"));
    }
    name.map(Into::into)
}
