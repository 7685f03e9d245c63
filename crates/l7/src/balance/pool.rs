//! Endpoints among which a choice is made by one balancer.

use super::draw::Draw;
use super::level::Asked;
use super::load::Load;
use super::maglev::Maglev;
use super::ring::Ring;
use super::turns::Turns;
use super::{Member, warm};
use crate::destination::{Balancer, WarmUp};
use std::rc::Rc;
use std::time::Instant;
use weft_core::balance::Chance;
use weft_core::names::WorkloadUid;

/// Draws before the whole list is looked through: while half of the members will do, one choice in 65 536 gets there.
const DRAWS_MAX: usize = 16;
/// Draws for the second of two choices: without one the first is good enough.
const SECOND_DRAWS_MAX: usize = 4;

/// Members, none of weight zero, and how one is chosen.
#[derive(Debug)]
pub(super) struct Pool<T> {
    members: Vec<Rc<Member<T>>>,
    picker: Picker,
}

#[derive(Debug)]
enum Picker {
    /// The better one of two.
    Two(Draw, Better),
    One(Draw),
    Turns(Turns),
    Ring(Ring),
    Maglev(Maglev),
}

/// What makes one endpoint better than another.
#[derive(Debug, Clone, Copy)]
enum Better {
    Faster,
    LessBusy,
}

/// What is looked for.
pub(super) struct Seek<'a> {
    pub(super) key: Option<u64>,
    /// These were asked already.
    pub(super) exclude: &'a [WorkloadUid],
    pub(super) warm_up: Option<&'a WarmUp>,
    pub(super) asked: Asked,
    pub(super) now: Instant,
}

impl Seek<'_> {
    fn fits<T>(&self, member: &Member<T>) -> bool {
        (self.asked == Asked::Everybody || !member.load.is_ejected())
            && !self.exclude.contains(&member.endpoint.id)
    }

    /// Whether a new endpoint takes this one. Where all are new, each is as often passed over as the others.
    fn is_warm(&self, load: &Load, chance: &mut impl Chance) -> bool {
        let Some((warm_up, age)) = self.warm_up.zip(load.age(self.now)) else { return true };
        let part = warm::part(warm_up, age);
        part >= 1.0 || (chance.below(1 << 32) as f64) < part * (1_u64 << 32) as f64
    }
}

impl<T> Pool<T> {
    /// Members in an order of their own, so that every core and every waypoint has the same ring and table.
    pub(super) fn new(
        mut members: Vec<Rc<Member<T>>>,
        balancer: &Balancer,
        chance: &mut impl Chance,
    ) -> Self {
        members.sort_by(|a, b| a.endpoint.id.cmp(&b.endpoint.id));
        let named: Vec<(&str, u32)> =
            members.iter().map(|member| (member.endpoint.id.as_str(), member.endpoint.weight)).collect();
        let weights: Vec<u32> = named.iter().map(|(_, weight)| *weight).collect();
        let picker = match balancer {
            Balancer::PeakEwma => Picker::Two(Draw::new(&weights), Better::Faster),
            Balancer::LeastRequest => Picker::Two(Draw::new(&weights), Better::LessBusy),
            Balancer::RoundRobin => Picker::Turns(Turns::new(&weights, chance)),
            Balancer::Random | Balancer::Passthrough => Picker::One(Draw::new(&weights)),
            Balancer::RingHash { points_min, .. } => Picker::Ring(Ring::new(&named, *points_min)),
            Balancer::Maglev { entries, .. } => Picker::Maglev(Maglev::new(&named, *entries)),
        };
        Self { members, picker }
    }

    pub(super) fn members(&self) -> &[Rc<Member<T>>] {
        &self.members
    }

    pub(super) fn pick(&mut self, seek: &Seek<'_>, chance: &mut impl Chance) -> Option<&Rc<Member<T>>> {
        let Self { members, picker } = self;
        // Most often the first will do; what costs more is only looking for what is not there.
        if !members.iter().any(|member| seek.fits(member)) {
            return None;
        }
        let place = match picker {
            Picker::One(draw) => drawn(members, draw, seek, chance),
            Picker::Two(draw, better) => two(members, draw, *better, seek, chance),
            Picker::Turns(turns) => turn(members, turns, seek, chance),
            Picker::Ring(ring) => {
                let key = seek.key.unwrap_or_else(|| chance.below(u64::MAX));
                ring.find(key, |place| seek.fits(&members[place]))
            }
            Picker::Maglev(maglev) => {
                let key = seek.key.unwrap_or_else(|| chance.below(u64::MAX));
                maglev.find(key, |place| seek.fits(&members[place]))
            }
        };
        members.get(place?)
    }
}

/// One by weight.
fn drawn<T>(
    members: &[Rc<Member<T>>],
    draw: &Draw,
    seek: &Seek<'_>,
    chance: &mut impl Chance,
) -> Option<usize> {
    for _ in 0..DRAWS_MAX {
        let place = draw.one(chance)?;
        if seek.fits(&members[place]) && seek.is_warm(&members[place].load, chance) {
            return Some(place);
        }
    }
    look_through(members, seek, chance)
}

/// The better one of two. Where weights differ both are drawn by them, perhaps the same one twice: each then gets its
/// share, and load only corrects it. Where they do not, the two are never the same, so that of two endpoints the worse one
/// gets nothing while the other is better.
fn two<T>(
    members: &[Rc<Member<T>>],
    draw: &Draw,
    better: Better,
    seek: &Seek<'_>,
    chance: &mut impl Chance,
) -> Option<usize> {
    let first = drawn(members, draw, seek, chance)?;
    let fitting = (0..SECOND_DRAWS_MAX).find_map(|_| {
        let place = if draw.is_even() { draw.another(first, chance) } else { draw.one(chance) };
        place.filter(|place| seek.fits(&members[*place]))
    });
    let Some(second) = fitting.filter(|place| seek.is_warm(&members[*place].load, chance)) else {
        return Some(first);
    };
    let cost = |place: usize| {
        let Member { endpoint, load, .. } = &*members[place];
        let crowd = draw.crowd(endpoint.weight);
        match better {
            Better::Faster => load.cost(crowd, seek.now),
            Better::LessBusy => f64::from(load.in_flight()) * crowd,
        }
    };
    Some(if cost(second) < cost(first) { second } else { first })
}

/// Whose turn it is, of those that will do.
fn turn<T>(
    members: &[Rc<Member<T>>],
    turns: &mut Turns,
    seek: &Seek<'_>,
    chance: &mut impl Chance,
) -> Option<usize> {
    for _ in 0..turns.len() {
        let place = turns.next()?;
        if seek.fits(&members[place]) && seek.is_warm(&members[place].load, chance) {
            return Some(place);
        }
    }
    look_through(members, seek, chance)
}

/// One by weight of those that will do, however few they are, in one pass.
fn look_through<T>(members: &[Rc<Member<T>>], seek: &Seek<'_>, chance: &mut impl Chance) -> Option<usize> {
    let (mut total, mut chosen) = (0, None);
    for (place, member) in members.iter().enumerate().filter(|(_, member)| seek.fits(member)) {
        let weight = u64::from(member.endpoint.weight);
        total += weight;
        if chance.below(total) < weight {
            chosen = Some(place);
        }
    }
    chosen
}
