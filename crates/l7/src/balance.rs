//! Which of a service's endpoints gets a request. One core's view: its own estimates of load, nothing locked.
//!
//! Endpoints stand in levels (near ones first), a level in groups (shares by place), a group in pools (the healthy ones,
//! and all of them for a panic). Building takes O(n log n) and happens when discovery says something new, not when an
//! endpoint is ejected: those are passed over. A choice takes O(1) or O(log n) as the balancer's module says; only when
//! nearly nobody may be asked a list is looked through.

pub mod hash;
pub mod key;
pub mod level;
pub mod load;
pub mod maglev;
pub mod place;
pub mod ring;
pub mod session;
pub mod warm;

mod draw;
mod pool;
mod turns;

use crate::destination::{Balancer, Settings, WarmUp};
use crate::share::Share;
use level::{Asked, LevelHealth, LevelShare};
use load::{InFlight, Load};
use place::Spot;
use pool::{Pool, Seek};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::time::Instant;
use weft_core::balance::Chance;
use weft_core::names::WorkloadUid;

/// An endpoint, as discovery has it.
#[derive(Debug, Clone)]
pub struct Endpoint<T> {
    /// Which it is.
    pub id: WorkloadUid,
    /// Its share, relative to the others of its group. With zero it gets nothing but its sessions.
    pub weight: u32,
    /// Whether it takes requests.
    pub state: EndpointState,
    /// Where it stands.
    pub spot: Spot,
    /// What the caller needs to get there.
    pub to: T,
}

/// Whether an endpoint takes requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndpointState {
    /// It does.
    Serving,
    /// It does not, unless in a panic.
    Unhealthy,
    /// It is on its way out: it keeps what is in flight and its sessions, and gets nothing new unless all are leaving.
    Leaving,
}

/// An endpoint and its load.
#[derive(Debug)]
pub struct Member<T> {
    /// What discovery says.
    pub endpoint: Endpoint<T>,
    /// What this core has seen of it.
    pub load: Rc<Load>,
}

impl<T> Member<T> {
    /// A request goes there; it counts until what this gives back is dropped.
    pub fn begin(&self, now: Instant) -> InFlight {
        InFlight::new(self.load.clone(), now)
    }
}

/// What an endpoint is chosen for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ask<'a> {
    /// What makes requests the same ([`key::of`]), for balancers that hash.
    pub key: Option<u64>,
    /// The endpoint of the session ([`session::read`]).
    pub session: Option<u64>,
    /// They have failed this request. If there is nobody else, they may be asked again.
    pub exclude: &'a [WorkloadUid],
    /// Where else to look before that.
    pub reach: Reach,
}

/// How far a try goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Reach {
    /// To the level that was chosen.
    #[default]
    OneLevel,
    /// To the others too, the nearest first (Istio's `retryRemoteLocalities`).
    AllLevels,
}

/// A service's endpoints on one core.
#[derive(Debug)]
pub struct Balance<T> {
    balancer: Balancer,
    warm_up: Option<WarmUp>,
    healthy_min: Share,
    members: HashMap<WorkloadUid, Rc<Member<T>>>,
    sessions: HashMap<u64, Rc<Member<T>>>,
    levels: Vec<Level<T>>,
    shares: Vec<LevelShare>,
}

#[derive(Debug)]
struct Level<T> {
    groups: Vec<Group<T>>,
}

#[derive(Debug)]
struct Group<T> {
    weight: u32,
    healthy: Pool<T>,
    /// If there are others.
    everybody: Option<Pool<T>>,
    health: LevelHealth,
}

impl<T> Balance<T> {
    /// Nobody yet.
    pub fn new(settings: &Settings) -> Self {
        Self {
            balancer: settings.balancer.clone(),
            warm_up: settings.warm_up,
            healthy_min: settings.locality.healthy_min.unwrap_or(Share::NONE),
            members: HashMap::new(),
            sessions: HashMap::new(),
            levels: Vec::new(),
            shares: Vec::new(),
        }
    }

    /// These are the endpoints now. Load, ejections and warm-up of those that stay go on; those of the first list are not
    /// new, because before it there was nobody who had more.
    pub fn update(&mut self, endpoints: Vec<Endpoint<T>>, now: Instant, chance: &mut impl Chance) {
        let new_since = (!self.members.is_empty()).then_some(now);
        let before = std::mem::take(&mut self.members);
        for endpoint in endpoints {
            let load = match before.get(&endpoint.id) {
                None => Rc::new(Load::new(new_since)),
                Some(member) => {
                    let was_away = member.endpoint.state == EndpointState::Unhealthy;
                    if was_away && endpoint.state == EndpointState::Serving {
                        member.load.renew(now);
                    }
                    member.load.clone()
                }
            };
            self.members.insert(endpoint.id.clone(), Rc::new(Member { endpoint, load }));
        }
        self.sessions =
            self.members.values().map(|one| (session::mark(&one.endpoint.id), one.clone())).collect();
        self.build(chance);
    }

    /// Leaves those endpoints alone, and no others. What goes on there goes on. O(n), and nothing is built.
    pub fn leave_alone(&mut self, is_ejected: impl Fn(&WorkloadUid) -> bool) {
        for (id, member) in &self.members {
            member.load.set_ejected(is_ejected(id));
        }
        for level in &mut self.levels {
            level.groups.iter_mut().for_each(Group::count);
        }
        self.share();
    }

    /// The endpoint of a request. `None` if nobody may be asked.
    pub fn choose(&mut self, ask: &Ask<'_>, now: Instant, chance: &mut impl Chance) -> Option<Rc<Member<T>>> {
        if let Some(member) = self.of_session(ask) {
            return Some(member);
        }
        let hashed = matches!(self.balancer, Balancer::RingHash { .. } | Balancer::Maglev { .. });
        match ask.key.filter(|_| hashed) {
            None => self.choose_freely(ask, now, chance),
            // Level and group follow from the key too, or requests that are the same would be spread over them.
            Some(key) => self.choose_freely(ask, now, &mut of_key(key)),
        }
    }

    /// Whether a session belongs here. A rule with several backends asks each of them before it goes by weight: a session
    /// counts more (Gateway API, GEP-1619, "Traffic splitting").
    pub fn has_session(&self, session: u64) -> bool {
        self.of_session(&Ask { session: Some(session), ..Ask::default() }).is_some()
    }

    /// The endpoints, in no order.
    pub fn members(&self) -> impl Iterator<Item = &Rc<Member<T>>> {
        self.members.values()
    }

    fn of_session(&self, ask: &Ask<'_>) -> Option<Rc<Member<T>>> {
        let member = self.sessions.get(&ask.session?)?;
        let alive = member.endpoint.state != EndpointState::Unhealthy && !member.load.is_ejected();
        (alive && !ask.exclude.contains(&member.endpoint.id)).then(|| member.clone())
    }

    fn choose_freely(
        &mut self,
        ask: &Ask<'_>,
        now: Instant,
        chance: &mut impl Chance,
    ) -> Option<Rc<Member<T>>> {
        let first = level::choose(&self.shares, chance)?;
        let others = match ask.reach {
            Reach::OneLevel => 0,
            Reach::AllLevels => self.levels.len(),
        };
        let places = std::iter::once(first).chain((0..others).filter(|place| *place != first));
        for place in places {
            if let Some(found) = self.choose_in(place, ask, ask.exclude, now, chance) {
                return Some(found);
            }
        }
        let again = !ask.exclude.is_empty();
        again.then(|| self.choose_in(first, ask, &[], now, chance)).flatten()
    }

    fn choose_in(
        &mut self,
        level: usize,
        ask: &Ask<'_>,
        exclude: &[WorkloadUid],
        now: Instant,
        chance: &mut impl Chance,
    ) -> Option<Rc<Member<T>>> {
        let asked = self.shares.get(level)?.asked;
        let seek = Seek { key: ask.key, exclude, warm_up: self.warm_up.as_ref(), asked, now };
        let groups = &mut self.levels.get_mut(level)?.groups;
        let first = group(groups, asked, chance);
        let mut places = std::iter::once(first).chain((0..groups.len()).filter(|place| *place != first));
        places.find_map(|place| groups.get_mut(place)?.pool(asked).pick(&seek, chance).cloned())
    }

    fn build(&mut self, chance: &mut impl Chance) {
        let counts = |member: &&Rc<Member<T>>| member.endpoint.weight > 0;
        let serves = |member: &Rc<Member<T>>| member.endpoint.state == EndpointState::Serving;
        let any_serves = self.members.values().filter(counts).any(serves);
        let mut lists: BTreeMap<(u32, u32), Vec<Rc<Member<T>>>> = BTreeMap::new();
        for member in self.members.values().filter(counts) {
            if !any_serves || member.endpoint.state != EndpointState::Leaving {
                let Spot { level, group, .. } = member.endpoint.spot;
                lists.entry((level, group)).or_default().push(member.clone());
            }
        }
        let mut levels: BTreeMap<u32, Level<T>> = BTreeMap::new();
        for ((level, _), members) in lists {
            let group = Group::new(members, &self.balancer, chance);
            levels.entry(level).or_insert_with(|| Level { groups: Vec::new() }).groups.push(group);
        }
        self.levels = levels.into_values().collect();
        self.share();
    }

    fn share(&mut self) {
        let health: Vec<LevelHealth> = self.levels.iter().map(Level::health).collect();
        self.shares = level::shares(&health, self.healthy_min);
    }
}

impl<T> Level<T> {
    fn health(&self) -> LevelHealth {
        let sum = |of: fn(&LevelHealth) -> u32| self.groups.iter().map(|group| of(&group.health)).sum();
        LevelHealth { healthy: sum(|health| health.healthy), total: sum(|health| health.total) }
    }
}

impl<T> Group<T> {
    fn new(members: Vec<Rc<Member<T>>>, balancer: &Balancer, chance: &mut impl Chance) -> Self {
        let weight = members.first().map_or(0, |member| member.endpoint.spot.group_weight);
        let is_healthy = |member: &&Rc<Member<T>>| member.endpoint.state != EndpointState::Unhealthy;
        let healthy: Vec<_> = members.iter().filter(is_healthy).cloned().collect();
        let total = u32::try_from(members.len()).unwrap_or(u32::MAX);
        let some_are_not = healthy.len() < members.len();
        let mut group = Self {
            weight,
            healthy: Pool::new(healthy, balancer, chance),
            everybody: some_are_not.then(|| Pool::new(members, balancer, chance)),
            health: LevelHealth { healthy: 0, total },
        };
        group.count();
        group
    }

    fn count(&mut self) {
        let healthy = self.healthy.members().iter().filter(|member| !member.load.is_ejected()).count();
        self.health.healthy = u32::try_from(healthy).unwrap_or(u32::MAX);
    }

    fn pool(&mut self, asked: Asked) -> &mut Pool<T> {
        match (asked, &mut self.everybody) {
            (Asked::Everybody, Some(pool)) => pool,
            (Asked::Everybody, None) | (Asked::Healthy, _) => &mut self.healthy,
        }
    }
}

/// The group of a request: by weight, of which an unhealthy group keeps only as much as it is available.
fn group<T>(groups: &[Group<T>], asked: Asked, chance: &mut impl Chance) -> usize {
    let weight = |group: &Group<T>| {
        let available = match asked {
            Asked::Healthy => level::availability(group.health),
            Asked::Everybody => 1,
        };
        // No sum of weights times a million is beyond u64 while there are fewer than four thousand groups of the
        // greatest weight.
        u64::from(group.weight) * available
    };
    let total: u64 = if groups.len() < 2 { 0 } else { groups.iter().map(weight).sum() };
    let mut left = if total == 0 { return 0 } else { chance.below(total) };
    let found = groups.iter().position(|group| match left.checked_sub(weight(group)) {
        Some(rest) => {
            left = rest;
            false
        }
        None => true,
    });
    found.unwrap_or(0)
}

/// Numbers that follow from a key.
fn of_key(key: u64) -> impl Chance {
    let mut number = 0;
    move |bound: u64| {
        number += 1;
        hash::mix(key.wrapping_add(hash::mix(number))) % bound
    }
}

#[cfg(test)]
mod tests;
