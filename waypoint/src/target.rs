//! What one worker knows of somewhere that requests go: its endpoints and their load, who is left alone, and how much room
//! there is. It is brought up to date when a request meets a moment that it has not seen; what goes on in it goes on.

use crate::endpoints::{Endpoint, NoEndpoint, reach, state};
use crate::knowledge::Moment;
use crate::lines::Lines;
use crate::standing::{Standing, TargetName};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::Notify;
use weft_core::balance::{Chance, endpoint_port};
use weft_core::names::WorkloadUid;
use weft_core::service::{AppProtocol, LoadBalancingMode, Service};
use weft_core::workload::Workload;
use weft_l7::adaptive::{Adaptive, Limiter};
use weft_l7::balance::place::{Arrangement, Place, Spot};
use weft_l7::balance::{self, Ask, Balance, EndpointState, Member};
use weft_l7::destination::{Balancer, Destination, Settings};
use weft_l7::limit::Room;
use weft_l7::outlier::{self, Outcome, State, Watch};
use weft_l7::retry::budget::Budget;
use weft_l7::service::ServiceTraffic;
use weft_l7::target::ServiceTarget;

/// What this worker knows of it.
pub(crate) struct Target {
    name: TargetName,
    cores: u32,
    /// As many as may be asked at a time.
    pub(crate) room: Room,
    /// Told when a connection is free, or its room is.
    pub(crate) freed: Rc<Notify>,
    inner: RefCell<Inner>,
    used: Cell<Instant>,
}

struct Inner {
    basis: Basis,
    settings: Rc<Settings>,
    protocol: AppProtocol,
    balance: Balance<Endpoint>,
    watch: Option<Watch>,
    budget: Option<Budget>,
    limiter: Option<Rc<RefCell<Limiter>>>,
}

/// What it was made from.
struct Basis {
    moment: Arc<Moment>,
    near: Arc<Workload>,
    subject: Subject,
    traffic: Option<Arc<ServiceTraffic>>,
}

enum Subject {
    Service(Arc<Service>),
    Workload(Arc<Workload>),
}

/// What a target is made from and for.
#[derive(Clone, Copy)]
pub(crate) struct Making<'a> {
    /// What is known.
    pub(crate) moment: &'a Arc<Moment>,
    /// Whose endpoints should be near: this waypoint's own workload.
    pub(crate) near: &'a Arc<Workload>,
    /// How many workers share its limits.
    pub(crate) cores: u32,
    /// Whether a limit finds itself.
    pub(crate) adaptive: Option<Adaptive>,
}

impl Target {
    /// As it is now.
    ///
    /// # Errors
    /// If there is no such target.
    pub(crate) fn new(
        name: TargetName,
        making: Making<'_>,
        chance: &mut impl Chance,
    ) -> Result<Self, NoEndpoint> {
        let now = Instant::now();
        let basis = Basis::look_up(&name, making)?;
        let settings = basis.settings(&name)?;
        let mut inner = Inner {
            protocol: basis.protocol(&name),
            balance: Balance::new(&settings),
            watch: settings.outlier.clone().map(|words| Watch::new(words, now)),
            budget: settings.retry_budget.map(|words| Budget::new(words, now)),
            limiter: making.adaptive.map(|words| Rc::new(RefCell::new(Limiter::new(words, now)))),
            settings,
            basis,
        };
        inner.fill(&name, now, chance);
        Ok(Self {
            name,
            cores: making.cores,
            room: Room::new(&inner.settings.limits, making.cores),
            freed: Rc::default(),
            inner: RefCell::new(inner),
            used: Cell::new(now),
        })
    }

    /// Brings it up to date. What has not changed is not touched.
    ///
    /// # Errors
    /// If there is no such target any more.
    pub(crate) fn refresh(&self, making: Making<'_>, chance: &mut impl Chance) -> Result<(), NoEndpoint> {
        let mut inner = self.inner.borrow_mut();
        if Arc::ptr_eq(&inner.basis.moment, making.moment) {
            return Ok(());
        }
        let basis = Basis::look_up(&self.name, making)?;
        let same_traffic = match (&basis.traffic, &inner.basis.traffic) {
            (Some(one), Some(another)) => Arc::ptr_eq(one, another),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        let same_endpoints = basis.has_endpoints_of(&inner.basis, &self.name);
        inner.basis = basis;
        if same_traffic && same_endpoints {
            return Ok(());
        }
        let now = Instant::now();
        let new = inner.basis.settings(&self.name)?;
        inner.protocol = inner.basis.protocol(&self.name);
        let old = std::mem::replace(&mut inner.settings, new);
        let new = inner.settings.clone();
        if new.limits != old.limits {
            self.room.change(&new.limits, self.cores);
            self.freed.notify_waiters();
        }
        if new.outlier != old.outlier {
            inner.watch = new.outlier.clone().map(|words| Watch::new(words, now));
        }
        if new.retry_budget != old.retry_budget {
            inner.budget = new.retry_budget.map(|words| Budget::new(words, now));
        }
        let chooses_alike = new.balancer == old.balancer
            && new.warm_up == old.warm_up
            && new.locality.healthy_min == old.locality.healthy_min;
        // Who is ejected is kept in the balance, so a new watch needs a new one too.
        if !chooses_alike || new.outlier != old.outlier {
            let lines = inner.lines();
            inner.balance = Balance::new(&new);
            inner.fill_with(&self.name, lines, now, chance);
        } else {
            inner.fill(&self.name, now, chance);
        }
        Ok(())
    }

    /// What is said of it.
    pub(crate) fn settings(&self) -> Rc<Settings> {
        self.inner.borrow().settings.clone()
    }

    /// What its endpoints speak.
    pub(crate) fn protocol(&self) -> AppProtocol {
        self.inner.borrow().protocol
    }

    /// The endpoint of a request that asked for `addr`.
    ///
    /// # Errors
    /// [`NoEndpoint::Nobody`].
    pub(crate) fn choose(
        &self,
        ask: &Ask<'_>,
        addr: SocketAddr,
        chance: &mut impl Chance,
    ) -> Result<Rc<Member<Endpoint>>, NoEndpoint> {
        let now = Instant::now();
        self.used.set(now);
        let mut inner = self.inner.borrow_mut();
        let found = if inner.passes_through() {
            let asked = |member: &&Rc<Member<Endpoint>>| member.endpoint.to.addr == addr;
            inner.balance.members().find(asked).cloned()
        } else {
            inner.balance.choose(ask, now, chance)
        };
        found.ok_or(NoEndpoint::Nobody)
    }

    /// Whether a session belongs to one of its endpoints.
    pub(crate) fn has_session(&self, session: u64) -> bool {
        self.inner.borrow().balance.has_session(session)
    }

    /// A request comes, for the first time.
    pub(crate) fn count_request(&self, now: Instant) {
        if let Some(budget) = &mut self.inner.borrow_mut().budget {
            budget.request(now);
        }
    }

    /// Takes room for another try.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn retry_room(&self, now: Instant) -> Result<weft_l7::limit::Permit, weft_l7::retry::Stop> {
        let permit = self.room.retry().map_err(|_| weft_l7::retry::Stop::TooMany)?;
        match &mut self.inner.borrow_mut().budget {
            Some(budget) => budget.take(now).map(|()| permit),
            None => Ok(permit),
        }
    }

    /// The limit that finds itself, if there is one.
    pub(crate) fn limiter(&self) -> Option<Rc<RefCell<Limiter>>> {
        self.inner.borrow().limiter.clone()
    }

    /// Takes in how a request went, for who is left alone.
    pub(crate) fn heard(&self, endpoint: &WorkloadUid, outcome: Outcome, now: Instant) {
        let inner = &mut *self.inner.borrow_mut();
        let Some(watch) = &mut inner.watch else { return };
        let first = watch.on_result(endpoint, outcome, now);
        let due = if watch.next_look() <= now { watch.tick(now) } else { Vec::new() };
        for change in first.into_iter().chain(due) {
            obey(&mut inner.balance, &change);
        }
    }

    /// Who comes back, though nobody asks.
    pub(crate) fn tick(&self, now: Instant) {
        let inner = &mut *self.inner.borrow_mut();
        let idle = inner.settings.limits.idle;
        inner.balance.members().for_each(|member| member.endpoint.to.lines.close_idle(idle));
        let Some(watch) = &mut inner.watch else { return };
        for change in watch.tick(now) {
            obey(&mut inner.balance, &change);
        }
    }

    /// Closes a connection that idles, if there is one.
    pub(crate) fn close_one(&self) {
        let inner = self.inner.borrow();
        // Of any of them: which one does not matter to who waits.
        let _ = inner.balance.members().any(|member| member.endpoint.to.lines.close_one());
    }

    /// How its endpoints stand with this worker, by their names.
    pub(crate) fn standings(&self, now: Instant) -> Vec<Standing> {
        let inner = self.inner.borrow();
        let mut all: Vec<_> =
            inner.balance.members().map(|member| Standing::new(&self.name, member, now)).collect();
        all.sort_by(|a, b| a.workload.cmp(&b.workload));
        all
    }

    /// When it was last asked for an endpoint.
    pub(crate) fn used(&self) -> Instant {
        self.used.get()
    }
}

fn obey(balance: &mut Balance<Endpoint>, change: &outlier::Change) {
    match change.now {
        State::Ejected(cause, time) => {
            tracing::info!(endpoint = %change.endpoint, ?cause, ?time, "an endpoint is left alone");
            balance.eject(&change.endpoint, true);
        }
        State::Back => {
            tracing::info!(endpoint = %change.endpoint, "an endpoint is asked again");
            balance.eject(&change.endpoint, false);
        }
    }
}

impl Inner {
    fn passes_through(&self) -> bool {
        let by_service = match &self.basis.subject {
            Subject::Service(service) => service.load_balancing.mode == LoadBalancingMode::Passthrough,
            Subject::Workload(_) => false,
        };
        by_service || self.settings.balancer == Balancer::Passthrough
    }

    /// Connections outlive changes of their endpoint.
    fn lines(&self) -> HashMap<(WorkloadUid, SocketAddr), Rc<Lines>> {
        let key = |member: &Rc<Member<Endpoint>>| (member.endpoint.id.clone(), member.endpoint.to.addr);
        self.balance.members().map(|member| (key(member), member.endpoint.to.lines.clone())).collect()
    }

    fn fill(&mut self, name: &TargetName, now: Instant, chance: &mut impl Chance) {
        let lines = self.lines();
        self.fill_with(name, lines, now, chance);
    }

    fn fill_with(
        &mut self,
        name: &TargetName,
        mut lines: HashMap<(WorkloadUid, SocketAddr), Rc<Lines>>,
        now: Instant,
        chance: &mut impl Chance,
    ) {
        let endpoints = self.basis.endpoints(name, &self.settings, &mut lines);
        if let Some(watch) = &mut self.watch {
            let healthy = |one: &balance::Endpoint<Endpoint>| one.state == EndpointState::Serving;
            watch.update(endpoints.iter().map(|one| (one.id.clone(), healthy(one))));
        }
        self.balance.update(endpoints, now, chance);
    }
}

impl Basis {
    fn look_up(name: &TargetName, making: Making<'_>) -> Result<Self, NoEndpoint> {
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
    fn has_endpoints_of(&self, before: &Self, name: &TargetName) -> bool {
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

    fn destination(&self) -> Option<&Destination> {
        self.traffic.as_ref().map(|traffic| &traffic.said().destination)
    }

    fn settings(&self, name: &TargetName) -> Result<Rc<Settings>, NoEndpoint> {
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
        if settings.tls.is_some() {
            return Err(NoEndpoint::Tls);
        }
        Ok(Rc::new(settings))
    }

    fn protocol(&self, name: &TargetName) -> AppProtocol {
        let port = match (&self.subject, name) {
            (Subject::Service(service), TargetName::Service(target)) => service.port(target.port),
            _ => None,
        };
        port.map_or(AppProtocol::Unknown, |port| port.app_protocol)
    }

    fn endpoints(
        &self,
        name: &TargetName,
        settings: &Settings,
        lines: &mut HashMap<(WorkloadUid, SocketAddr), Rc<Lines>>,
    ) -> Vec<balance::Endpoint<Endpoint>> {
        let mut make = |workload: &Arc<Workload>, port: u16, state, spot| {
            // One that cannot be reached is none: others may do.
            let (addr, tunnel) = reach(workload, port).ok()?;
            let lines = lines.remove(&(workload.uid.clone(), addr)).unwrap_or_default();
            let to = Endpoint { workload: workload.clone(), addr, tunnel, lines };
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
        let subset = target.subset.as_ref().and_then(|name| self.destination()?.subsets.get(name));
        let labels = subset.map(|subset| &subset.labels);
        let carries = |workload: &&Arc<Workload>| {
            let wanted = labels.into_iter().flatten();
            wanted.into_iter().all(|(name, value)| workload.labels.get(name) == Some(value))
        };
        let all = self.moment.mesh.endpoints(&service.name).filter(carries);
        all.filter_map(|workload| {
            let port = endpoint_port(&service.name, service, target.port, workload)?;
            let spot = arrangement.spot(place(workload))?;
            make(workload, port, state(service, workload), spot)
        })
        .collect()
    }
}
