//! Telemetries by name and by what they name.

use crate::cluster::pods::{link, unlink};
use crate::name::Name;
use crate::policy::Target;
use crate::policy::telemetry::{Aim, TelemetryFacts};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Telemetries {
    all: BTreeMap<Name, TelemetryFacts>,
    wide: BTreeSet<Name>,
    by_target: HashMap<Target, BTreeSet<Name>>,
}

impl Telemetries {
    pub(crate) fn get(&self, name: &Name) -> Option<&TelemetryFacts> {
        self.all.get(name)
    }

    /// Puts one in; `None` takes it out.
    pub(crate) fn set(&mut self, name: &Name, now: Option<TelemetryFacts>) {
        self.wide.remove(name);
        if let Some(old) = self.all.remove(name) {
            old.aim.targets().for_each(|target| unlink(&mut self.by_target, target, name));
        }
        let Some(now) = now else {
            return;
        };
        if matches!(now.aim, Aim::Wide) {
            self.wide.insert(name.clone());
        }
        now.aim.targets().for_each(|target| link(&mut self.by_target, target.clone(), name));
        self.all.insert(name.clone(), now);
    }

    /// Those that name this target.
    pub(crate) fn aimed_at(&self, target: &Target) -> impl Iterator<Item = &Name> {
        self.by_target.get(target).into_iter().flatten()
    }

    /// Those that name nothing.
    pub(crate) fn wide(&self) -> impl Iterator<Item = &Name> {
        self.wide.iter()
    }

    /// Those that count where this one would: of one reach, and with something in common that they are for.
    pub(crate) fn rivals<'a>(&'a self, name: &Name, facts: &'a TelemetryFacts) -> BTreeSet<&'a Name> {
        let mut rivals: BTreeSet<&Name> = match &facts.aim {
            Aim::Wide => {
                let same = |other: &&Name| self.get(other).is_some_and(|other| other.home == facts.home);
                self.wide().filter(same).collect()
            }
            Aim::Targets(_) => facts.aim.targets().flat_map(|target| self.aimed_at(target)).collect(),
        };
        rivals.remove(name);
        rivals
    }
}
