//! Everything that one worker sends requests to.

use crate::endpoints::NoEndpoint;
use crate::standing::{Standing, TargetName};
use crate::target::{Making, Target};
use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::Hash;
use std::rc::Rc;
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
    workloads: Known<(WorkloadUid, u16)>,
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
        services.values().chain(workloads.values()).flat_map(|target| target.standings(now)).collect()
    }

    /// What is due from time to time: endpoints come back, idle connections are closed.
    pub(crate) fn tick(&self, now: Instant) {
        let keeps = |target: &Rc<Target>| {
            target.tick(now);
            Rc::strong_count(target) > 1 || now.saturating_duration_since(target.used()) < IDLE
        };
        self.services.borrow_mut().retain(|_, target| keeps(target));
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
    let known = all.borrow().get(key).cloned();
    if let Some(target) = known {
        return match target.refresh(making, chance) {
            Ok(()) => Ok(target),
            Err(error) => {
                all.borrow_mut().remove(key);
                Err(error)
            }
        };
    }
    let target = Rc::new(Target::new(name(key), making, chance)?);
    all.borrow_mut().insert(key.clone(), target.clone());
    Ok(target)
}
