//! What a target was made from, and what follows from it: its endpoints, what they speak, and what is said of them.

use super::{Making, TargetName};
use crate::dynamic::{Addresses, Name, Told};
use crate::endpoints::{Endpoint, NoEndpoint, reach, state};
use crate::knowledge::{Edition, Moment};
use crate::lines::{Lines, Upstream};
use crate::origin::Origin;
use crate::outside::{self, Odd};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use weft_core::balance::endpoint_port;
use weft_core::names::WorkloadUid;
use weft_core::service::{AppProtocol, LoadBalancingMode, Service};
use weft_core::workload::Workload;
use weft_l7::balance::place::{Arrangement, Place, Spot, subset};
use weft_l7::balance::{self, EndpointState};
use weft_l7::destination::{Balancer, Destination, Settings};
use weft_l7::service::ServiceTraffic;
use weft_l7::target::ServiceTarget;

/// Connections by their endpoint and its address.
pub(super) type KeptLines = HashMap<(WorkloadUid, SocketAddr), Rc<Lines>>;

/// What it was made from.
pub(super) struct Basis {
    moment: Arc<Moment>,
    near: Arc<Workload>,
    subject: Subject,
    traffic: Option<Arc<ServiceTraffic>>,
    /// What the name stands for that was asked for, where endpoints follow from it.
    named: Option<Named>,
}

/// What a name stands for.
enum Subject {
    Service(Arc<Service>),
    Workload(Arc<Workload>),
}

/// What a name stands for that clients ask for.
struct Named {
    host: Arc<str>,
    addresses: Arc<Addresses>,
    endpoints: Vec<Arc<Workload>>,
    left_out: Vec<Odd>,
}

impl Named {
    fn look_up(target: &ServiceTarget, asked: &Name, moment: &Moment) -> Result<Self, NoEndpoint> {
        let addresses = addresses_of(asked)?;
        let pattern = outside::pattern(&moment.mesh, &target.service).ok_or(NoEndpoint::Nobody)?;
        let (endpoints, left_out) = outside::all_endpoints(&moment.mesh, pattern, &addresses.all);
        Ok(Self { host: asked.host().clone(), addresses, endpoints, left_out })
    }
}

/// The addresses of a name that clients ask for.
fn addresses_of(asked: &Name) -> Result<Arc<Addresses>, NoEndpoint> {
    let unresolved = |why: Arc<str>| NoEndpoint::Unresolved { name: asked.host().clone(), why };
    match asked.now() {
        Told::Addresses(addresses) => Ok(addresses),
        Told::Failed(why) => Err(unresolved(why)),
        Told::Nothing => Err(unresolved(NOT_YET.into())),
    }
}

impl Basis {
    /// What is known under a name; `asked` is what clients ask for, where endpoints follow from it.
    ///
    /// # Errors
    /// If nothing is.
    pub(super) fn look_up(
        name: &TargetName,
        asked: Option<&Name>,
        making: Making<'_>,
    ) -> Result<Self, NoEndpoint> {
        let Making { moment, near, .. } = making;
        let (subject, traffic) = match name {
            TargetName::Service(target) | TargetName::Named(target, _) => {
                let service = moment.mesh.service(&target.service);
                let service = service.ok_or_else(|| NoEndpoint::NoService(target.service.clone()))?;
                if service.port(target.port).is_none() {
                    return Err(NoEndpoint::NoPort(target.port));
                }
                (Subject::Service(service.clone()), moment.traffic(&target.service).cloned())
            }
            TargetName::Workload(uid, _) => {
                let workload = moment.mesh.workload(uid).ok_or(NoEndpoint::Nobody)?;
                (Subject::Workload(workload.clone()), None)
            }
        };
        let named = match (name, asked) {
            (TargetName::Named(target, _), Some(asked)) => Some(Named::look_up(target, asked, moment)?),
            _ => None,
        };
        Ok(Self { moment: moment.clone(), near: near.clone(), subject, traffic, named })
    }

    /// Whether it is still what is known at a moment, and what the name stands for.
    pub(super) fn is_of(&self, moment: &Arc<Moment>, asked: Option<&Name>) -> bool {
        let same_name = || match (&self.named, asked.map(Name::now)) {
            (Some(named), Some(Told::Addresses(now))) => Arc::ptr_eq(&named.addresses, &now),
            (named, _) => named.is_none(),
        };
        Arc::ptr_eq(&self.moment, moment) && same_name()
    }

    /// Which of several its endpoints are of.
    pub(super) fn edition(&self) -> Edition {
        self.moment.edition().with_asked(self.named.as_ref().map_or(0, |named| named.addresses.edition))
    }

    /// Whether nothing that endpoints follow from has changed.
    pub(super) fn has_endpoints_of(&self, before: &Self) -> bool {
        let same = match (&self.subject, &before.subject) {
            (Subject::Service(one), Subject::Service(another)) => {
                Arc::ptr_eq(one, another)
                    && match (&self.named, &before.named) {
                        (Some(one), Some(another)) => one.endpoints == another.endpoints,
                        (None, None) => self.moment.mesh.shares_endpoints(&before.moment.mesh, &one.name),
                        (Some(_), None) | (None, Some(_)) => false,
                    }
            }
            (Subject::Workload(one), Subject::Workload(another)) => Arc::ptr_eq(one, another),
            _ => false,
        };
        same && Arc::ptr_eq(&self.near, &before.near)
    }

    /// Why it has no endpoint.
    pub(super) fn nobody(&self) -> NoEndpoint {
        let Some(named) = &self.named else { return NoEndpoint::Nobody };
        if named.addresses.all.is_empty() {
            let why = "a DNS server says that it stands for none".into();
            return NoEndpoint::Unresolved { name: named.host.clone(), why };
        }
        match named.left_out.first() {
            Some(odd) if named.endpoints.is_empty() => NoEndpoint::LeftOut(odd.to_string().into()),
            _ => NoEndpoint::Nobody,
        }
    }

    /// Whether what is said of it is the same.
    pub(super) fn has_traffic_of(&self, before: &Self) -> bool {
        match (&self.traffic, &before.traffic) {
            (Some(one), Some(another)) => Arc::ptr_eq(one, another),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    /// Whether a client's own choice of an address counts more than any balancer.
    pub(super) fn passes_through(&self, settings: &Settings) -> bool {
        let by_service = match &self.subject {
            Subject::Service(service) => service.load_balancing.mode == LoadBalancingMode::Passthrough,
            Subject::Workload(_) => false,
        };
        by_service || settings.balancer == Balancer::Passthrough
    }

    fn destination(&self) -> Option<&Destination> {
        self.traffic.as_ref().map(|traffic| &traffic.said().destination)
    }

    /// What is said of it.
    ///
    /// # Errors
    /// If it names a part of a service that nobody describes, or wants what is not done.
    pub(super) fn settings(&self, name: &TargetName) -> Result<Rc<Settings>, NoEndpoint> {
        let settings = match (name, self.destination()) {
            (
                TargetName::Service(ServiceTarget { port, subset, .. })
                | TargetName::Named(ServiceTarget { port, subset, .. }, _),
                Some(destination),
            ) => {
                let missing = || NoEndpoint::NoSubset(subset.clone().unwrap_or_default());
                destination.settings(*port, subset.as_deref()).ok_or_else(missing)?.clone()
            }
            (
                TargetName::Service(ServiceTarget { subset: Some(subset), .. })
                | TargetName::Named(ServiceTarget { subset: Some(subset), .. }, _),
                None,
            ) => {
                return Err(NoEndpoint::NoSubset(subset.clone()));
            }
            (TargetName::Service(_) | TargetName::Named(..) | TargetName::Workload(..), _) => {
                Settings::default()
            }
        };
        Ok(Rc::new(settings))
    }

    /// TLS of its endpoints' own, as it is said.
    ///
    /// # Errors
    /// [`NoEndpoint::Tls`], if it cannot be begun so.
    pub(super) fn origin(&self, settings: &Settings) -> Result<Option<Rc<Origin>>, NoEndpoint> {
        let name = match (&self.named, &self.subject) {
            (Some(named), _) => &named.host,
            (None, Subject::Service(service)) => &service.name.hostname,
            // Nothing is said of a workload by itself.
            (None, Subject::Workload(workload)) => &workload.hostname,
        };
        let origin = settings.tls.as_ref().map(|words| Origin::new(words, name).map(Rc::new));
        origin.transpose().map_err(NoEndpoint::Tls)
    }

    /// What its endpoints speak.
    pub(super) fn protocol(&self, name: &TargetName) -> AppProtocol {
        let port = match (&self.subject, name) {
            (Subject::Service(service), TargetName::Service(target) | TargetName::Named(target, _)) => {
                service.port(target.port)
            }
            _ => None,
        };
        port.map_or(AppProtocol::Unknown, |port| port.app_protocol)
    }

    /// The endpoints; `lines` are those of the ones before, which outlive changes.
    pub(super) fn endpoints(
        &self,
        name: &TargetName,
        settings: &Settings,
        origin: Option<&Rc<Origin>>,
        lines: &mut KeptLines,
    ) -> Vec<balance::Endpoint<Upstream>> {
        let mut make = |workload: &Arc<Workload>, port: u16, state, spot| {
            // One that cannot be reached is none: others may do.
            let (addr, tunnel) = reach(workload, port).ok()?;
            let lines = lines.remove(&(workload.uid.clone(), addr)).unwrap_or_default();
            let (origin, keep_alive) = (origin.cloned(), settings.limits.keep_alive);
            let endpoint = Endpoint { workload: workload.clone(), addr, tunnel, origin, keep_alive };
            let to = Upstream { endpoint, lines, fare: None };
            Some(balance::Endpoint { id: workload.uid.clone(), weight: workload.weight, state, spot, to })
        };
        let (service, target) = match (&self.subject, name) {
            (Subject::Workload(workload), TargetName::Workload(_, port)) => {
                // Who asks for one endpoint has chosen it, whatever discovery thinks of it.
                let one = make(workload, *port, EndpointState::Serving, Spot::default());
                return one.map(|one| balance::Endpoint { weight: 1, ..one }).into_iter().collect();
            }
            (Subject::Service(service), TargetName::Service(target) | TargetName::Named(target, _)) => {
                (service, target)
            }
            _ => return Vec::new(),
        };
        let place = |workload| Place { workload, labels: &workload.labels };
        let arrangement = Arrangement::new(&settings.locality, &service.load_balancing, place(&self.near));
        let all: Vec<&Arc<Workload>> = match &self.named {
            Some(named) => named.endpoints.iter().collect(),
            None => self.moment.mesh.endpoints(&service.name).collect(),
        };
        let part = target.subset.as_ref().and_then(|name| self.destination()?.subsets.get(name));
        let all = match part {
            Some(part) => subset(all, |workload| &workload.labels, part),
            None => all,
        };
        all.into_iter()
            .filter_map(|workload| {
                let port = endpoint_port(&service.name, service, target.port, workload)?;
                let spot = arrangement.spot(place(workload))?;
                make(workload, port, state(service, workload), spot)
            })
            .collect()
    }
}

/// What is said of a name that nobody has answered for.
const NOT_YET: &str = "no DNS server has answered yet";
