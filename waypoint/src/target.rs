//! What one worker knows of somewhere that requests go: its endpoints and their load, who is left alone, and how much room
//! there is. It is brought up to date when a request meets a moment that it has not seen; what goes on in it goes on.

mod basis;

use crate::endpoints::NoEndpoint;
use crate::knowledge::Moment;
use crate::lines::Upstream;
use crate::origin::Origin;
use crate::rooms::Rooms;
use crate::standing::{Standing, TargetName};
use basis::{Basis, KeptLines};
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::Notify;
use weft_core::balance::Chance;
use weft_core::names::WorkloadUid;
use weft_core::service::AppProtocol;
use weft_core::workload::Workload;
use weft_l7::adaptive::{Adaptive, Limiter};
use weft_l7::balance::key::{self, KeySource, Keyed};
use weft_l7::balance::{self, Ask, Balance, EndpointState, Member};
use weft_l7::destination::{Balancer, Settings};
use weft_l7::limit::Room;
use weft_l7::outlier::{self, Outcome, State, Watch};
use weft_l7::retry::budget::Budget;

/// What this worker knows of it.
pub(crate) struct Target {
    name: TargetName,
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
    watch: Option<Watch>,
    budget: Option<Budget>,
    limiter: Option<Rc<RefCell<Limiter>>>,
}

/// What a target is made from and for.
#[derive(Clone, Copy)]
pub(crate) struct Making<'a> {
    /// What is known.
    pub(crate) moment: &'a Arc<Moment>,
    /// Whose endpoints should be near: this waypoint's own workload.
    pub(crate) near: &'a Arc<Workload>,
    /// What all workers have taken of its room.
    pub(crate) rooms: &'a Rooms,
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
            origin: basis.origin(&settings)?,
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
            room: Room::new(&inner.settings.limits, making.rooms.of(&name)),
            name,
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
        let same_traffic = basis.has_traffic_of(&inner.basis);
        let same_endpoints = basis.has_endpoints_of(&inner.basis, &self.name);
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
            inner.watch = new.outlier.clone().map(|words| Watch::new(words, now));
        }
        if new.retry_budget != old.retry_budget {
            inner.budget = new.retry_budget.map(|words| Budget::new(words, now));
        }
        let chooses_alike = new.balancer == old.balancer
            && new.warm_up == old.warm_up
            && new.locality.healthy_min == old.locality.healthy_min;
        // Who is ejected is kept in the balance, so a new watch needs a new one too.
        if !chooses_alike || new.outlier != old.outlier || !same_tls {
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
        let asked = |member: &&Rc<Member<Upstream>>| member.endpoint.to.endpoint.addr == addr;
        let found = if inner.basis.passes_through(&inner.settings) {
            inner.balance.members().find(asked).cloned()
        } else {
            None
        };
        let found = found.or_else(|| inner.balance.choose(ask, now, chance));
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
        let limits = &inner.settings.limits;
        inner.balance.members().for_each(|member| member.endpoint.to.lines.close_idle(limits));
        inner.close(self.room.surplus());
        let Some(watch) = &mut inner.watch else { return };
        for change in watch.tick(now) {
            obey(&mut inner.balance, &change);
        }
    }

    /// Closes a connection that idles, if there is one.
    pub(crate) fn close_one(&self) {
        self.inner.borrow().close(1);
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

fn obey(balance: &mut Balance<Upstream>, change: &outlier::Change) {
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
        let endpoints = self.basis.endpoints(name, &self.settings, self.origin.as_ref(), &mut lines);
        if let Some(watch) = &mut self.watch {
            let healthy = |one: &balance::Endpoint<Upstream>| one.state == EndpointState::Serving;
            watch.update(endpoints.iter().map(|one| (one.id.clone(), healthy(one))));
        }
        self.balance.update(endpoints, now, chance);
    }
}
