//! AuthorizationPolicies and PeerAuthentications.

use crate::cluster::Cluster;
use crate::cluster::policies::sought;
use crate::dirty::Dirty;
use crate::name::Name;
use crate::peers::converted_name;
use crate::policy::{PeerFacts, PolicyFacts, Reach, Target};
use weft_core::names::PolicyName;

impl Cluster {
    pub(crate) fn set_authorization(&mut self, name: &Name, now: Option<PolicyFacts>, dirty: &mut Dirty) {
        if self.authorizations.get(name) == now.as_ref() {
            return;
        }
        dirty.policies.insert(PolicyName::new(name.namespace.clone(), name.name.clone()));
        dirty.requests.insert(name.clone());
        let targets = |policy: Option<&PolicyFacts>| -> Vec<Target> {
            policy.into_iter().flat_map(PolicyFacts::targets).cloned().collect()
        };
        let aimed = [targets(self.authorizations.get(name)), targets(now.as_ref())].concat();
        aimed.iter().for_each(|target| self.mark_target(target, dirty));
        let reach = now.as_ref().map(|policy| policy.reach.clone());
        let old = self.authorizations.set(name, now).map(|policy| policy.reach);
        if old == reach {
            return;
        }
        for (within, selector) in old.iter().chain(&reach).filter_map(sought) {
            dirty.pods.extend(self.pods.select(within, selector));
        }
    }

    /// Marks the services for which a waypoint may have policy now, or may have had it.
    fn mark_target(&self, target: &Target, dirty: &mut Dirty) {
        match target {
            Target::Service(service) => dirty.services([service]),
            Target::Entry(entry) => dirty.services(self.entries.had_by(entry)),
            Target::Gateway(gateway) => self.mark_gateway(gateway, false, dirty),
            Target::Class(class) => {
                let of_class = self.gateways.iter().filter(|(_, facts)| facts.class == *class);
                of_class.for_each(|(gateway, _)| self.mark_gateway(gateway, false, dirty));
            }
        }
    }

    pub(crate) fn set_peer(&mut self, name: &Name, now: Option<PeerFacts>, dirty: &mut Dirty) {
        if self.peers.get(name) == now.as_ref() {
            return;
        }
        dirty.policies.insert(converted_name(name));
        let reach = now.as_ref().map(|peer| peer.reach.clone());
        let old = self.peers.set(name, now).map(|peer| peer.reach);
        for reach in old.iter().chain(&reach) {
            self.mark_peer(name, reach, dirty);
        }
    }

    /// Marks all pods that a PeerAuthentication concerns, and the others whose meaning it changes.
    fn mark_peer(&self, name: &Name, reach: &Reach, dirty: &mut Dirty) {
        match reach {
            Reach::Pods(within, selector) => dirty.pods.extend(self.pods.select(within, selector)),
            Reach::Namespace => {
                dirty.pods(self.pods.in_namespace(&name.namespace));
                let others = self.peers.in_namespace(&name.namespace);
                dirty.policies.extend(others.map(|(name, _)| converted_name(name)));
            }
            Reach::Mesh => {
                dirty.pods(self.pods.names());
                dirty.policies.extend(self.peers.names().map(converted_name));
            }
            Reach::Nothing => {}
        }
    }
}
