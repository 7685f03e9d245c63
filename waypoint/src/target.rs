//! What one worker knows of somewhere that requests go: its endpoints and their load, who is left alone, and how much room
//! there is. It is brought up to date when a request meets a moment that it has not seen; what goes on in it goes on.

mod basis;

use crate::commons::{Common, Commons};
use crate::dynamic::Name;
use crate::endpoints::NoEndpoint;
use crate::knowledge::Moment;
use crate::lines::Upstream;
use crate::origin::Origin;
use crate::outliers::{Ejected, Outliers};
use crate::standing::{Standing, TargetName};
use basis::{Basis, KeptLines};
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::Notify;
use weft_core::balance::Chance;
use weft_core::service::AppProtocol;
use weft_core::workload::Workload;
use weft_l7::adaptive::{Adaptive, Limiter};
use weft_l7::balance::key::{self, KeySource, Keyed};
use weft_l7::balance::{self, Ask, Balance, EndpointState, Member};
use weft_l7::destination::{Balancer, Settings};
use weft_l7::limit::{Permit, Room};
use weft_l7::outlier::Outcome;
use weft_l7::retry::Stop;
use weft_l7::retry::budget::{self, Budget};
use weft_l7::target::ServiceTarget;

/// What this worker knows of it.
pub(crate) struct Target {
    name: TargetName,
    /// What clients ask for, where endpoints follow from it.
    asked: Option<Name>,
    common: Arc<Common>,
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
    origin: Option<Rc<Origin>>,
    protocol: AppProtocol,
    balance: Balance<Upstream>,
    outliers: Option<Arc<Outliers>>,
    /// So many changes of who is left alone are in the balance; `None` if it has to be told anew.
    obeyed: Option<u64>,
    /// When somebody should look at the outliers again.
    next_look: Instant,
    budget: Option<Arc<Budget>>,
    limiter: Option<Rc<RefCell<Limiter>>>,
}

/// What a target is made from and for.
#[derive(Clone, Copy)]
pub(crate) struct Making<'a> {
    /// What is known.
    pub(crate) moment: &'a Arc<Moment>,
    /// Whose endpoints should be near: this waypoint's own workload.
    pub(crate) near: &'a Arc<Workload>,
    /// What all workers hold in common.
    pub(crate) commons: &'a Commons,
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
        Self::make(name, None, making, chance)
    }

    /// What a name stands for, of a service that stands for many names.
    ///
    /// # Errors
    /// If there is no such target, or nobody knows what the name stands for.
    pub(crate) fn named(
        target: ServiceTarget,
        asked: Name,
        making: Making<'_>,
        chance: &mut impl Chance,
    ) -> Result<Self, NoEndpoint> {
        let name = TargetName::Named(target, asked.host().clone());
        Self::make(name, Some(asked), making, chance)
    }

    fn make(
        name: TargetName,
        asked: Option<Name>,
        making: Making<'_>,
        chance: &mut impl Chance,
    ) -> Result<Self, NoEndpoint> {
        let now = Instant::now();
        let basis = Basis::look_up(&name, asked.as_ref(), making)?;
        let settings = basis.settings(&name)?;
        let common = making.commons.of(&name);
        let mut inner = Inner {
            origin: basis.origin(&settings)?,
            protocol: basis.protocol(&name),
            balance: Balance::new(&settings),
            outliers: settings.outlier.as_ref().map(|words| common.outliers(words, now)),
            obeyed: None,
            next_look: now,
            budget: settings.retry_budget.as_ref().map(|words| common.budget(words, now)),
            limiter: making.adaptive.map(|words| Rc::new(RefCell::new(Limiter::new(words, now)))),
            settings,
            basis,
        };
        inner.fill(&name, now, chance);
        Ok(Self {
            room: Room::new(&inner.settings.limits, common.taken.clone()),
            name,
            asked,
            common,
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
        if inner.basis.is_of(making.moment, self.asked.as_ref()) {
            return Ok(());
        }
        let basis = Basis::look_up(&self.name, self.asked.as_ref(), making)?;
        let same_traffic = basis.has_traffic_of(&inner.basis);
        let same_endpoints = basis.has_endpoints_of(&inner.basis);
        inner.basis = basis;
        if same_traffic && same_endpoints {
            return Ok(());
        }
        let now = Instant::now();
        let new = inner.basis.settings(&self.name)?;
        let same_tls = new.tls == inner.settings.tls;
        if !same_tls {
            inner.origin = inner.basis.origin(&new)?;
        }
        inner.protocol = inner.basis.protocol(&self.name);
        let old = std::mem::replace(&mut inner.settings, new);
        let new = inner.settings.clone();
        if new.limits != old.limits {
            self.room.change(&new.limits);
            inner.close(self.room.surplus());
            self.freed.notify_waiters();
        }
        if new.outlier != old.outlier {
            inner.outliers = new.outlier.as_ref().map(|words| self.common.outliers(words, now));
            inner.next_look = now;
        }
        if new.retry_budget != old.retry_budget {
            inner.budget = new.retry_budget.as_ref().map(|words| self.common.budget(words, now));
        }
        let chooses_alike = new.balancer == old.balancer
            && new.warm_up == old.warm_up
            && new.locality.healthy_min == old.locality.healthy_min;
        if !chooses_alike || !same_tls {
            // What was opened in plain text, or for another name, is of no more use.
            let lines = if same_tls { inner.lines() } else { KeptLines::new() };
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

    /// What makes a request or a connection the same to its balancer, if that hashes.
    pub(crate) fn keyed(&self, from: KeySource<'_>, chance: &mut impl Chance) -> Keyed {
        match &self.inner.borrow().settings.balancer {
            Balancer::RingHash { key: how, .. } | Balancer::Maglev { key: how, .. } => {
                key::of(how, from, chance)
            }
            Balancer::PeakEwma
            | Balancer::LeastRequest
            | Balancer::RoundRobin
            | Balancer::Random
            | Balancer::Passthrough => Keyed::default(),
        }
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
    ) -> Result<Rc<Member<Upstream>>, NoEndpoint> {
        let now = Instant::now();
        self.used.set(now);
        let mut inner = self.inner.borrow_mut();
        inner.look(now);
        inner.obey();
        let asked = |member: &&Rc<Member<Upstream>>| member.endpoint.to.endpoint.addr == addr;
        let found = if inner.basis.passes_through(&inner.settings) {
            inner.balance.members().find(asked).cloned()
        } else {
            None
        };
        let found = found.or_else(|| inner.balance.choose(ask, now, chance));
        found.ok_or_else(|| inner.basis.nobody())
    }

    /// Whether a session belongs to one of its endpoints.
    pub(crate) fn has_session(&self, session: u64) -> bool {
        let mut inner = self.inner.borrow_mut();
        inner.obey();
        inner.balance.has_session(session)
    }

    /// A request comes, for the first time.
    pub(crate) fn count_request(&self, now: Instant) {
        if let Some(budget) = &self.inner.borrow().budget {
            budget.request(now);
        }
    }

    /// Takes room for another try.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn retry_room(&self, now: Instant) -> Result<Permit, Stop> {
        budget::take(self.inner.borrow().budget.as_deref(), &self.room, now)
    }

    /// The limit that finds itself, if there is one.
    pub(crate) fn limiter(&self) -> Option<Rc<RefCell<Limiter>>> {
        self.inner.borrow().limiter.clone()
    }

    /// Takes in how a request went, for who is left alone.
    pub(crate) fn heard(&self, member: &Member<Upstream>, outcome: Outcome, now: Instant) {
        let Some(fare) = &member.endpoint.to.fare else { return };
        if let Some(outliers) = &self.inner.borrow().outliers {
            outliers.heard(&member.endpoint.id, fare, outcome, now);
        }
    }

    /// Who comes back, though nobody asks.
    pub(crate) fn tick(&self, now: Instant) {
        let inner = &mut *self.inner.borrow_mut();
        let limits = &inner.settings.limits;
        inner.balance.members().for_each(|member| member.endpoint.to.lines.close_idle(limits));
        inner.close(self.room.surplus());
        inner.look(now);
    }

    /// Closes a connection that idles, if there is one.
    pub(crate) fn close_one(&self) {
        self.inner.borrow().close(1);
    }

    /// How its endpoints stand with this worker, by their names.
    pub(crate) fn standings(&self, now: Instant) -> Vec<Standing> {
        let mut inner = self.inner.borrow_mut();
        inner.obey();
        let mut all: Vec<_> =
            inner.balance.members().map(|member| Standing::new(&self.name, member, now)).collect();
        all.sort_by(|a, b| a.workload.cmp(&b.workload));
        all
    }

    /// Clients ask for its name: others make way first.
    pub(crate) fn touch(&self) {
        self.asked.iter().for_each(Name::touch);
    }

    /// Whether nobody looks its name up any more, because it had to make way for others.
    pub(crate) fn is_forgotten(&self) -> bool {
        self.asked.as_ref().is_some_and(Name::is_forgotten)
    }

    /// When it was last asked for an endpoint.
    pub(crate) fn used(&self) -> Instant {
        self.used.get()
    }
}

impl Inner {
    /// Looks at the outliers, if no worker has within their interval.
    fn look(&mut self, now: Instant) {
        if let Some(outliers) = self.outliers.as_ref().filter(|_| self.next_look <= now) {
            self.next_look = outliers.look(now);
        }
    }

    /// Leaves those alone who are to be, whichever worker has found it so.
    fn obey(&mut self) {
        let changes = self.outliers.as_ref().map_or(0, |outliers| outliers.changes());
        if self.obeyed == Some(changes) {
            return;
        }
        let Ejected { changes, endpoints } =
            self.outliers.as_ref().map(|outliers| outliers.ejected()).unwrap_or_default();
        self.balance.leave_alone(|id| endpoints.contains(id));
        self.obeyed = Some(changes);
    }

    /// Connections outlive changes of their endpoint.
    fn lines(&self) -> KeptLines {
        let key =
            |member: &Rc<Member<Upstream>>| (member.endpoint.id.clone(), member.endpoint.to.endpoint.addr);
        self.balance.members().map(|member| (key(member), member.endpoint.to.lines.clone())).collect()
    }

    /// Closes so many connections, as far as that many idle.
    fn close(&self, many: u32) {
        let mut left = many;
        // Of any endpoint: which one does not matter to who waits for room.
        for member in self.balance.members() {
            while left > 0 && member.endpoint.to.lines.close_one() {
                left -= 1;
            }
        }
    }

    fn fill(&mut self, name: &TargetName, now: Instant, chance: &mut impl Chance) {
        let lines = self.lines();
        self.fill_with(name, lines, now, chance);
    }

    fn fill_with(&mut self, name: &TargetName, mut lines: KeptLines, now: Instant, chance: &mut impl Chance) {
        let mut endpoints = self.basis.endpoints(name, &self.settings, self.origin.as_ref(), &mut lines);
        if let Some(outliers) = &self.outliers {
            let healthy = |one: &balance::Endpoint<Upstream>| one.state == EndpointState::Serving;
            let list = endpoints.iter().map(|one| (one.id.clone(), healthy(one)));
            let mut fares = outliers.update(self.basis.edition(), list);
            endpoints.iter_mut().for_each(|one| one.to.fare = fares.remove(&one.id));
        }
        self.balance.update(endpoints, now, chance);
        // Who is new here may be left alone already.
        self.obeyed = None;
    }
}
