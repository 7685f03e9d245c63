//! Everything that one worker sends requests to.

use crate::dynamic::{DynamicNames, NAMES_MAX, Name, Told};
use crate::endpoints::NoEndpoint;
use crate::standing::{Standing, TargetName};
use crate::target::{Making, Target};
use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::Hash;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use weft_core::balance::Chance;
use weft_core::names::WorkloadUid;
use weft_l7::target::ServiceTarget;

/// What nobody has asked for in so long is forgotten: its load says nothing any more.
const IDLE: Duration = Duration::from_secs(300);

type Known<K> = RefCell<HashMap<K, Rc<Target>>>;

/// All targets of one worker.
#[derive(Default)]
pub(crate) struct Targets {
    services: Known<ServiceTarget>,
    /// By what clients ask for: no more of them than names are kept.
    named: Known<(ServiceTarget, Arc<str>)>,
    workloads: Known<(WorkloadUid, u16)>,
}

/// Where a request goes, as far as that is known.
pub(crate) enum Placed {
    /// To an endpoint of this.
    Here(Rc<Target>),
    /// To whatever this name stands for, which is being looked up.
    Awaits(Name),
}

impl Placed {
    /// The target.
    ///
    /// # Errors
    /// [`NoEndpoint::Unresolved`], if its name is still being looked up.
    pub(crate) fn by_now(self) -> Result<Rc<Target>, NoEndpoint> {
        match self {
            Self::Here(target) => Ok(target),
            Self::Awaits(name) => {
                let why = "no DNS server has answered in time".into();
                Err(NoEndpoint::Unresolved { name: name.host().clone(), why })
            }
        }
    }
}

impl Targets {
    /// A part of a service as it is now.
    ///
    /// # Errors
    /// If there is none.
    pub(crate) fn service(
        &self,
        target: &ServiceTarget,
        making: Making<'_>,
        chance: &mut impl Chance,
    ) -> Result<Rc<Target>, NoEndpoint> {
        find(&self.services, target, making, chance, |target| TargetName::Service(target.clone()))
    }

    /// What a name stands for, of a service that stands for many names.
    ///
    /// # Errors
    /// If there is no such service, or the name stands for nothing.
    pub(crate) fn named(
        &self,
        (target, name): (&ServiceTarget, Arc<str>),
        names: &DynamicNames,
        making: Making<'_>,
        chance: &mut impl Chance,
    ) -> Result<Placed, NoEndpoint> {
        let key = (target.clone(), name);
        if let Some(known) = refreshed(&self.named, &key, making, chance)
            .filter(|known| !known.as_ref().is_ok_and(|known| known.is_forgotten()))
        {
            return known.map(|known| {
                known.touch();
                Placed::Here(known)
            });
        }
        let asked = names.ask(&key.1);
        if matches!(asked.now(), Told::Nothing) {
            return Ok(Placed::Awaits(asked));
        }
        let made = Rc::new(Target::named(target.clone(), asked, making, chance)?);
        let mut all = self.named.borrow_mut();
        if all.len() >= NAMES_MAX && !all.contains_key(&key) {
            let oldest = all.iter().min_by_key(|(_, target)| target.used()).map(|(key, _)| key.clone());
            oldest.into_iter().for_each(|oldest| drop(all.remove(&oldest)));
        }
        all.insert(key, made.clone());
        Ok(Placed::Here(made))
    }

    /// A workload's own port.
    ///
    /// # Errors
    /// If there is no such workload.
    pub(crate) fn workload(
        &self,
        target: &(WorkloadUid, u16),
        making: Making<'_>,
        chance: &mut impl Chance,
    ) -> Result<Rc<Target>, NoEndpoint> {
        find(&self.workloads, target, making, chance, |(uid, port)| TargetName::Workload(uid.clone(), *port))
    }

    /// How all endpoints stand that requests were sent to.
    pub(crate) fn standings(&self, now: Instant) -> Vec<Standing> {
        let (services, workloads) = (self.services.borrow(), self.workloads.borrow());
        let named = self.named.borrow();
        let all = services.values().chain(named.values()).chain(workloads.values());
        all.flat_map(|target| target.standings(now)).collect()
    }

    /// What is due from time to time: endpoints come back, idle connections are closed.
    pub(crate) fn tick(&self, now: Instant) {
        let keeps = |target: &Rc<Target>| {
            target.tick(now);
            Rc::strong_count(target) > 1 || now.saturating_duration_since(target.used()) < IDLE
        };
        self.services.borrow_mut().retain(|_, target| keeps(target));
        self.named.borrow_mut().retain(|_, target| !target.is_forgotten() && keeps(target));
        self.workloads.borrow_mut().retain(|_, target| keeps(target));
    }
}

fn find<K: Clone + Eq + Hash>(
    all: &Known<K>,
    key: &K,
    making: Making<'_>,
    chance: &mut impl Chance,
    name: impl FnOnce(&K) -> TargetName,
) -> Result<Rc<Target>, NoEndpoint> {
    if let Some(known) = refreshed(all, key, making, chance) {
        return known;
    }
    let target = Rc::new(Target::new(name(key), making, chance)?);
    all.borrow_mut().insert(key.clone(), target.clone());
    Ok(target)
}

/// What is known already, brought up to date; `None` if nothing is. One that is not there any more is forgotten.
fn refreshed<K: Eq + Hash>(
    all: &Known<K>,
    key: &K,
    making: Making<'_>,
    chance: &mut impl Chance,
) -> Option<Result<Rc<Target>, NoEndpoint>> {
    let target = all.borrow().get(key).cloned()?;
    Some(match target.refresh(making, chance) {
        Ok(()) => Ok(target),
        Err(error) => {
            all.borrow_mut().remove(key);
            Err(error)
        }
    })
}
