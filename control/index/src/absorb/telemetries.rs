//! Telemetries.

use crate::cluster::Cluster;
use crate::dirty::Dirty;
use crate::name::Name;
use crate::policy::telemetry::TelemetryFacts;

impl Cluster {
    pub(crate) fn set_telemetry(&mut self, name: &Name, now: Option<TelemetryFacts>, dirty: &mut Dirty) {
        if self.telemetries.get(name) == now.as_ref() {
            return;
        }
        dirty.telemetries.insert(name.clone());
        // Of those that are for the same the oldest counts, and the others say so.
        self.mark_rivals(name, dirty);
        self.telemetries.set(name, now);
        self.mark_rivals(name, dirty);
    }

    fn mark_rivals(&self, name: &Name, dirty: &mut Dirty) {
        let facts = self.telemetries.get(name);
        let rivals = facts.into_iter().flat_map(|facts| self.telemetries.rivals(name, facts));
        dirty.telemetries.extend(rivals.cloned());
    }
}
