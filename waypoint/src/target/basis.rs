//! What a target was made from, and what follows from it: its endpoints, what they speak, and what is said of them.

use super::{Making, TargetName};
use crate::endpoints::{Endpoint, NoEndpoint, reach, state};
use crate::knowledge::Moment;
use crate::lines::{Lines, Upstream};
use crate::origin::Origin;
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
    pub(super) moment: Arc<Moment>,
    near: Arc<Workload>,
    subject: Subject,
    traffic: Option<Arc<ServiceTraffic>>,
}

/// What a name stands for.
enum Subject {
    Service(Arc<Service>),
    Workload(Arc<Workload>),
}

impl Basis {
    /// What is known under a name.
    ///
    /// # Errors
    /// If nothing is.
    pub(super) fn look_up(name: &TargetName, making: Making<'_>) -> Result<Self, NoEndpoint> {
        let Making { moment, near, .. } = making;
        let (subject, traffic) = match name {
            TargetName::Service(target) => {
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
        Ok(Self { moment: moment.clone(), near: near.clone(), subject, traffic })
    }

    /// Whether nothing that endpoints follow from has changed.
    pub(super) fn has_endpoints_of(&self, before: &Self, name: &TargetName) -> bool {
        let same = match (&self.subject, &before.subject, name) {
            (Subject::Service(one), Subject::Service(another), TargetName::Service(target)) => {
                Arc::ptr_eq(one, another)
                    && self.moment.mesh.shares_endpoints(&before.moment.mesh, &target.service)
            }
            (Subject::Workload(one), Subject::Workload(another), _) => Arc::ptr_eq(one, another),
            _ => false,
        };
        same && Arc::ptr_eq(&self.near, &before.near)
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
            (TargetName::Service(ServiceTarget { port, subset, .. }), Some(destination)) => {
                let missing = || NoEndpoint::NoSubset(subset.clone().unwrap_or_default());
                destination.settings(*port, subset.as_deref()).ok_or_else(missing)?.clone()
            }
            (TargetName::Service(ServiceTarget { subset: Some(subset), .. }), None) => {
                return Err(NoEndpoint::NoSubset(subset.clone()));
            }
            (TargetName::Service(_) | TargetName::Workload(..), _) => Settings::default(),
        };
        Ok(Rc::new(settings))
    }

    /// TLS of its endpoints' own, as it is said.
    ///
    /// # Errors
    /// [`NoEndpoint::Tls`], if it cannot be begun so.
    pub(super) fn origin(&self, settings: &Settings) -> Result<Option<Rc<Origin>>, NoEndpoint> {
        let name = match &self.subject {
            Subject::Service(service) => &service.name.hostname,
            // Nothing is said of a workload by itself.
            Subject::Workload(workload) => &workload.hostname,
        };
        let origin = settings.tls.as_ref().map(|words| Origin::new(words, name).map(Rc::new));
        origin.transpose().map_err(NoEndpoint::Tls)
    }

    /// What its endpoints speak.
    pub(super) fn protocol(&self, name: &TargetName) -> AppProtocol {
        let port = match (&self.subject, name) {
            (Subject::Service(service), TargetName::Service(target)) => service.port(target.port),
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
            (Subject::Service(service), TargetName::Service(target)) => (service, target),
            _ => return Vec::new(),
        };
        let place = |workload| Place { workload, labels: &workload.labels };
        let arrangement = Arrangement::new(&settings.locality, &service.load_balancing, place(&self.near));
        let all: Vec<&Arc<Workload>> = self.moment.mesh.endpoints(&service.name).collect();
        let named = target.subset.as_ref().and_then(|name| self.destination()?.subsets.get(name));
        let all = match named {
            Some(named) => subset(all, |workload| &workload.labels, named),
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
