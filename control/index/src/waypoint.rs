//! Which waypoint stands before a service or a pod, and whether anything may come past it.
//!
//! As in Istio, an object's own labels come before its namespace's, and `none` ends the search. A waypoint that cannot
//! stand there (no such Gateway, another class, a namespace that it does not allow) is told as a problem, and traffic
//! goes without it. Not so where policy is to be enforced there: that is never skipped, and what would come past it is
//! refused.

use crate::cluster::Cluster;
use crate::facts::gateway::{Allowed, GATEWAY_NAME, GatewayFacts, Takes, WaypointFacts};
use crate::facts::pod::PodFacts;
use crate::facts::said;
use crate::facts::service::{Author, ServiceFacts, key};
use crate::facts::service_entry::ServiceEntryFacts;
use crate::facts::waypoint::{Bypass, Use, Wanted};
use crate::name::Name;
use crate::policy::Target;
use crate::problems::More;
use std::sync::Arc;
use weft_control_api::kind::{Kind, ObjectKey};
use weft_control_api::problem::Note;
use weft_core::names::GatewayName;
use weft_core::policy::Enforcement;
use weft_core::ports::TUNNEL;
use weft_core::service::{LoadBalancingMode, Service};
use weft_core::workload::{GatewayAddr, GatewayDestination};

/// Why a waypoint that is asked for does not stand there.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Unbound {
    Missing,
    Foreign(Arc<str>),
    NotAllowed,
    TakesOther(Takes),
}

/// What is sent to a service, or to a workload by its own address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SentTo {
    Service,
    Workload,
}

/// A service as discovery tells it.
pub(crate) fn told_service(cluster: &Cluster, name: &Name) -> Option<Service> {
    let facts = cluster.services.get(name)?;
    let mut told = facts.told.clone();
    told.waypoint = of_service(cluster, name, facts).map(|gateway| addr(cluster, gateway));
    told.guarded = is_guarded(cluster, name, facts);
    Some(told)
}

/// The waypoint that stands before a service.
pub(crate) fn of_service<'a>(cluster: &'a Cluster, name: &Name, facts: &'a ServiceFacts) -> Option<&'a Name> {
    let wanted = wanted_by_service(cluster, name, facts)?;
    check(cluster, &wanted.gateway, &name.namespace, SentTo::Service).ok()?;
    Some(&wanted.gateway)
}

/// Whether a service asks for a waypoint that cannot stand before it.
pub(crate) fn is_broken(cluster: &Cluster, name: &Name, facts: &ServiceFacts) -> bool {
    let wanted = wanted_by_service(cluster, name, facts);
    let checked = wanted.map(|wanted| check(cluster, &wanted.gateway, &name.namespace, SentTo::Service));
    matches!(checked, Some(Err(Unbound::Missing | Unbound::Foreign(_) | Unbound::NotAllowed)))
}

fn wanted_by_service<'a>(cluster: &'a Cluster, name: &Name, facts: &'a ServiceFacts) -> Option<&'a Wanted> {
    // What stands for a waypoint is reached directly.
    let stands_for_one = facts.author == Author::Waypoint || cluster.waypoint(name).is_some();
    if stands_for_one { None } else { asked_by_service(cluster, name, facts) }
}

fn asked_by_service<'a>(cluster: &'a Cluster, name: &Name, facts: &'a ServiceFacts) -> Option<&'a Wanted> {
    // What is passed on to whatever address was asked for leaves a waypoint nothing to choose, and a name for another name
    // has no traffic of its own.
    let passed_on = facts.told.load_balancing.mode == LoadBalancingMode::Passthrough;
    if facts.told.external_name.is_some() || passed_on {
        return None;
    }
    wanted([facts.waypoint.as_ref(), by_namespace(cluster, &name.namespace)])
}

/// The waypoint that would stand before a service, had it not the name of a waypoint's Gateway: it counts as that one's
/// own, though it is not for its instances.
pub(crate) fn missed_by_name<'a>(
    cluster: &'a Cluster,
    name: &Name,
    facts: &'a ServiceFacts,
) -> Option<&'a Name> {
    cluster.waypoint(name)?;
    let selects_instances = facts.backend.selector.as_ref().is_some_and(|selector| {
        selector.equals().get(GATEWAY_NAME).is_some_and(|gateway| **gateway == *name.name)
    });
    let only_tunnels = facts.told.ports.iter().all(|port| port.service_port == TUNNEL);
    if facts.author != Author::Written || selects_instances || only_tunnels {
        return None;
    }
    let wanted = asked_by_service(cluster, name, facts)?;
    check(cluster, &wanted.gateway, &name.namespace, SentTo::Service).ok()?;
    Some(&wanted.gateway)
}

/// The waypoint that stands before a pod's own addresses.
pub(crate) fn of_pod(cluster: &Cluster, pod: &PodFacts) -> Option<GatewayAddr> {
    if is_instance(cluster, pod) {
        return None;
    }
    let account = Name::new(pod.name.namespace.clone(), pod.identity.service_account());
    let all =
        [pod.waypoint.as_ref(), cluster.accounts.get(&account), by_namespace(cluster, &pod.name.namespace)];
    let wanted = wanted(all)?;
    check(cluster, &wanted.gateway, &pod.name.namespace, SentTo::Workload).ok()?;
    Some(addr(cluster, &wanted.gateway))
}

fn by_namespace<'a>(cluster: &'a Cluster, namespace: &Arc<str>) -> Option<&'a Use> {
    cluster.namespaces.get(namespace)?.waypoint.as_ref()
}

/// The first that says something counts.
fn wanted<const N: usize>(said: [Option<&Use>; N]) -> Option<&Wanted> {
    match said.into_iter().flatten().next()? {
        Use::Nobody => None,
        Use::Gateway(wanted) => Some(wanted),
    }
}

fn addr(cluster: &Cluster, gateway: &Name) -> GatewayAddr {
    let destination = GatewayDestination::Service(key(gateway, &cluster.config));
    GatewayAddr { destination, hbone_port: TUNNEL }
}

/// Whether a pod is an instance of a waypoint: it ends tunnels itself, and is never captured.
pub(crate) fn is_instance(cluster: &Cluster, pod: &PodFacts) -> bool {
    gateway_of(cluster, pod).is_some()
}

/// The Gateway of the waypoint whose instance a pod is.
pub(crate) fn gateway_of(cluster: &Cluster, pod: &PodFacts) -> Option<GatewayName> {
    let gateway = Name::new(pod.name.namespace.clone(), pod.labels.get(GATEWAY_NAME)?.as_str());
    cluster.waypoint(&gateway)?;
    Some(gateway_name(&gateway))
}

pub(crate) fn gateway_name(gateway: &Name) -> GatewayName {
    GatewayName::new(gateway.namespace.clone(), gateway.name.clone())
}

/// What goes through a waypoint.
pub(crate) fn takes(cluster: &Cluster, class: &Arc<str>, waypoint: &WaypointFacts) -> Takes {
    waypoint.takes.or_else(|| cluster.classes.get(class).copied()).unwrap_or_default()
}

fn check(cluster: &Cluster, gateway: &Name, from: &Arc<str>, sent_to: SentTo) -> Result<(), Unbound> {
    let facts = cluster.gateways.get(gateway).ok_or(Unbound::Missing)?;
    let GatewayFacts { class, waypoint } = facts;
    let waypoint = waypoint.as_ref().ok_or_else(|| Unbound::Foreign(class.clone()))?;
    let own = *from == gateway.namespace;
    let labels = || cluster.namespaces.get(from).map(|facts| facts.labels.clone()).unwrap_or_default();
    // Objects of its own namespace need no leave, as in Istio.
    let allowed = own
        || match &waypoint.allowed {
            Allowed::Own | Allowed::Nobody => false,
            Allowed::All => true,
            Allowed::Labelled(selector) => selector.matches(&labels()),
        };
    let takes = takes(cluster, class, waypoint);
    let taken = match sent_to {
        SentTo::Service => takes.services(),
        SentTo::Workload => takes.workloads(),
    };
    match (allowed, taken) {
        (false, _) => Err(Unbound::NotAllowed),
        (true, false) => Err(Unbound::TakesOther(takes)),
        (true, true) => Ok(()),
    }
}

/// Whether a service's endpoints refuse what does not come from its waypoint: that has policy to enforce. A waypoint
/// that is asked for and not there has it too.
fn is_guarded(cluster: &Cluster, name: &Name, facts: &ServiceFacts) -> bool {
    let Some(wanted) = wanted_by_service(cluster, name, facts) else {
        return false;
    };
    let namespace = cluster.namespaces.get(&name.namespace).and_then(|facts| facts.bypass);
    // Of a headless service the addresses that clients ask for are those of its endpoints.
    if facts.backend.headless || said::for_pod(facts.bypass, namespace) == Bypass::Allow {
        return false;
    }
    let stands = of_service(cluster, name, facts).is_some() || is_broken(cluster, name, facts);
    stands && has_policy(cluster, &wanted.gateway, name)
}

fn has_policy(cluster: &Cluster, gateway: &Name, service: &Name) -> bool {
    let class = cluster.gateways.get(gateway).map(|facts| Target::Class(facts.class.clone()));
    let entry = cluster.entries.owner(service).cloned().map(Target::Entry);
    let targets =
        [Some(Target::Service(service.clone())), Some(Target::Gateway(gateway.clone())), class, entry];
    targets.into_iter().flatten().any(|target| {
        cluster.authorizations.aimed_at(&target).any(|name| {
            let policy = cluster.authorizations.get(name).and_then(|facts| facts.requests.as_ref());
            policy.is_some_and(|policy| policy.enforcement == Enforcement::Enforced)
        })
    })
}

/// What is wrong with the waypoint that an object's own labels ask for, or that a Gateway is.
pub(crate) fn notes(cluster: &Cluster, asker: &ObjectKey) -> Vec<Note> {
    if asker.kind == Kind::Gateway {
        let name = Name::new(asker.namespace.clone(), asker.name.clone());
        return of_gateway(cluster, &name).into_iter().collect();
    }
    let mut notes = match asker.kind {
        Kind::ServiceEntry => of_service_entry(cluster, asker),
        _ => Vec::new(),
    };
    let (namespace, sent_to) = match asker.kind {
        Kind::Namespace => (&asker.name, None),
        Kind::Service | Kind::ServiceEntry => (&asker.namespace, Some(SentTo::Service)),
        _ => (&asker.namespace, Some(SentTo::Workload)),
    };
    let Some(Use::Gateway(Wanted { gateway, label })) = own_wish(cluster, asker) else {
        return notes;
    };
    let why = match check(cluster, gateway, namespace, sent_to.unwrap_or(SentTo::Service)) {
        Ok(()) => return notes,
        // Of a namespace's services and pods those are bound that it takes.
        Err(Unbound::TakesOther(_)) if sent_to.is_none() => return notes,
        Err(Unbound::Missing) => format!("there is no Gateway {gateway}"),
        Err(Unbound::Foreign(class)) => format!("Gateway {gateway} is of class {class}, and no waypoint"),
        Err(Unbound::NotAllowed) => {
            format!("Gateway {gateway} does not allow namespace {namespace} (allowedRoutes of its listener)")
        }
        Err(Unbound::TakesOther(takes)) => {
            format!(
                "Gateway {gateway} is a waypoint for other traffic (istio.io/waypoint-for: {})",
                takes.word()
            )
        }
    };
    let field = format!("metadata.labels.{label}");
    notes.push(Note::warning(field, format!("{why}: traffic goes without a waypoint")));
    notes
}

fn of_service_entry(cluster: &Cluster, asker: &ObjectKey) -> Vec<Note> {
    let name = Name::new(asker.namespace.clone(), asker.name.clone());
    let Some(entry) = cluster.entries.services.get(&name) else {
        return Vec::new();
    };
    let mut notes = taken_hosts(cluster, &name, entry);
    notes.extend(looked_up_by_nobody(cluster, entry));
    notes
}

/// Names of endpoints are looked up by waypoints, and by nobody else.
fn looked_up_by_nobody(cluster: &Cluster, entry: &ServiceEntryFacts) -> Option<Note> {
    let bound = |(host, _): &(Name, ServiceFacts)| {
        // The one of this host may be another entry's.
        let facts = cluster.services.get(host);
        facts.is_none_or(|facts| of_service(cluster, host, facts).is_some())
    };
    let reason = "has names looked up, which waypoints do, and none stands before it: what is sent there is refused; bind \
                  it with the label weft.dev/waypoint";
    let unbound = entry.has_names() && !entry.services.iter().all(bound);
    unbound.then(|| Note::warning("spec.resolution", reason))
}

/// Hosts of a ServiceEntry that an older one of its namespace has.
fn taken_hosts(cluster: &Cluster, name: &Name, entry: &ServiceEntryFacts) -> Vec<Note> {
    let note = |(number, (host, _)): (usize, &(Name, ServiceFacts))| {
        let owner = cluster.entries.owner(host).filter(|owner| *owner != name)?;
        let reason =
            format!("is a host of ServiceEntry {owner}, which is older: this one has no effect for it");
        Some(Note::warning(format!("spec.hosts[{number}]"), reason))
    };
    entry.services.iter().enumerate().filter_map(note).collect()
}

/// A Service of the Gateway's name that does not serve tunnels leaves the waypoint out of reach.
fn of_gateway(cluster: &Cluster, name: &Name) -> Option<Note> {
    cluster.waypoint(name)?;
    let ports = &cluster.services.get(name)?.told.ports;
    let reason = "Service of the same name has no port 15008: nobody reaches the waypoint; add it, or delete that Service";
    ports.iter().all(|port| port.service_port != TUNNEL).then(|| Note::warning("metadata.name", reason))
}

/// Whether something may be said of an object that depends on others.
pub(crate) fn more(cluster: &Cluster, key: &ObjectKey) -> More {
    let name = Name::new(key.namespace.clone(), key.name.clone());
    let maybe = match key.kind {
        Kind::AuthorizationPolicy => {
            cluster.authorizations.get(&name).is_some_and(|policy| policy.requests.is_some())
        }
        Kind::Gateway => cluster.waypoint(&name).is_some(),
        Kind::ServiceEntry | Kind::Telemetry => true,
        _ => own_wish(cluster, key).is_some(),
    };
    if maybe { More::Maybe } else { More::Never }
}

/// What an object's own labels say.
fn own_wish<'a>(cluster: &'a Cluster, asker: &ObjectKey) -> Option<&'a Use> {
    let name = Name::new(asker.namespace.clone(), asker.name.clone());
    match asker.kind {
        Kind::Namespace => by_namespace(cluster, &asker.name),
        Kind::ServiceAccount => cluster.accounts.get(&name),
        Kind::Pod => cluster.pods.get(&name)?.waypoint.as_ref(),
        Kind::Service => cluster.services.get(&name)?.waypoint.as_ref(),
        Kind::ServiceEntry => cluster.entries.services.get(&name)?.waypoint.as_ref(),
        _ => None,
    }
}
