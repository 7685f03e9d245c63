//! Computes anew what a change has marked, and tells what is different.

use super::Index;
use crate::change::{Changed, Diff};
use crate::cluster::Cluster;
use crate::dirty::Dirty;
use crate::facts;
use crate::gateway_status;
use crate::name::Name;
use crate::policy::Target;
use crate::traffic::{Report, Seen};
use crate::{entries, peers, ranges, requests, telemetry, traffic, waypoint, workload};
use std::collections::BTreeSet;
use weft_control_api::gateway_api::status::Status;
use weft_control_api::kind::{Kind, ObjectKey};
use weft_core::names::{GatewayName, PolicyName, ServiceName};
use weft_core::policy::Policy;
use weft_core::workload::Workload;

impl Index {
    /// Gives the objects of which something else may be said now.
    pub(super) fn settle(&mut self, mut dirty: Dirty, diff: &mut Diff) -> BTreeSet<ObjectKey> {
        for name in &dirty.services {
            // Whether a waypoint stands before its hosts is part of what is said of a ServiceEntry.
            let claimants = self.cluster.entries.claimants(name);
            dirty.askers.extend(claimants.map(facts::service_entry::key));
        }
        let mut touched = dirty.askers.clone();
        for name in &dirty.services {
            let now = waypoint::told_service(&self.cluster, name);
            let key = facts::service::key(name, &self.cluster.config);
            self.services.set(&key, now, &mut diff.services);
            let entry = self.cluster.entries.owner(name).cloned().map(Target::Entry);
            for target in [Target::Service(name.clone())].into_iter().chain(entry) {
                dirty.requests.extend(self.cluster.authorizations.aimed_at(&target).cloned());
                dirty.telemetries.extend(self.cluster.telemetries.aimed_at(&target).cloned());
            }
            dirty.traffic.extend(self.said.leading_to(name));
        }
        if dirty.ranges {
            let now = ranges::told(&self.cluster);
            self.services.set(&ranges::key(&self.cluster.config), now, &mut diff.services);
        }
        self.settle_traffic(&mut dirty, diff);
        for name in &dirty.policies {
            let now = policy_of(&self.cluster, name);
            self.policies.set(name, now, &mut diff.policies);
        }
        for name in &dirty.pods {
            self.settle_pod(name, diff);
        }
        for name in &dirty.slices {
            self.settle_slice(name, diff);
        }
        for key in &dirty.entries {
            self.settle_entry(key, diff);
        }
        touched.extend(self.settle_reports(&dirty, diff));
        self.settle_gateways(&dirty, diff);
        for key in &dirty.askers {
            self.problems.set_beside_others(key, waypoint::notes(&self.cluster, key));
        }
        for name in &dirty.requests {
            touched.insert(self.settle_request_policy(name, diff));
        }
        for name in &dirty.telemetries {
            touched.insert(self.settle_telemetry(name, diff));
        }
        touched
    }

    /// What a route says depends on the ports of the services that it names, and who is told of it on the waypoints that
    /// stand before services.
    fn settle_traffic(&mut self, dirty: &mut Dirty, diff: &mut Diff) {
        let mut touched = BTreeSet::<ServiceName>::new();
        let changed: BTreeSet<Name> = dirty.services.union(&dirty.traffic).cloned().collect();
        for name in &changed {
            let key = facts::service::key(name, &self.cluster.config);
            let now = traffic::of_service(&self.cluster, &self.said, name);
            // Readers are told of what waypoints need to know, below.
            self.traffic.set(&key, now, &mut Changed::default());
            let facts = self.cluster.services.get(name);
            let gateway = facts.and_then(|facts| waypoint::of_service(&self.cluster, name, facts));
            let led_to = || self.traffic.get(&key).map(|said| said.services()).unwrap_or_default();
            let needs = gateway.map(|gateway| {
                let mut services: BTreeSet<ServiceName> = led_to().into_iter().cloned().collect();
                services.insert(key.clone());
                (waypoint::gateway_name(gateway), services)
            });
            touched.extend(self.audience.set(&key, needs));
            touched.insert(key);
            dirty.reports.extend(self.said.concerning(name));
        }
        for service in &touched {
            // Whether a waypoint knows what is said of a service is part of what is told of it.
            dirty
                .reports
                .extend(self.said.concerning(&facts::service::object(service, &self.cluster.config)));
            let said = self.traffic.get(service).cloned();
            let at = |gateway: &GatewayName| {
                Some((
                    gateway.clone(),
                    traffic::at_waypoint(&self.cluster, &self.said, gateway, said.as_ref()?),
                ))
            };
            let now = self.audience.of(service).filter_map(at).collect();
            self.told_traffic.set(service, now, &mut diff.traffic);
        }
    }

    /// What becomes of routes, and of what else is said of traffic.
    fn settle_reports(&mut self, dirty: &Dirty, diff: &mut Diff) -> BTreeSet<ObjectKey> {
        let mut seen = Seen::default();
        let asked = dirty.reports.iter().filter(|key| traffic::says(key.kind));
        let reports = asked.map(|key| {
            let refused = self.problems.refused(key);
            let asked = (key, refused.as_deref());
            (key, traffic::report(&self.cluster, &self.said, &self.audience, asked, &mut seen))
        });
        let reports: Vec<(&ObjectKey, Report)> = reports.collect();
        for (key, Report { notes, status }) in reports {
            self.problems.set_beside_others(key, notes);
            self.set_status(key, status, diff);
        }
        dirty.reports.clone()
    }

    /// What becomes of Gateways: their own objects, Services and instances decide it.
    fn settle_gateways(&mut self, dirty: &Dirty, diff: &mut Diff) {
        let all = dirty.askers.union(&dirty.reports);
        for key in all.filter(|key| key.kind == Kind::Gateway) {
            let name = Name::new(key.namespace.clone(), key.name.clone());
            let status = gateway_status::of(&self.cluster, &name, self.problems.refused(key));
            self.set_status(key, status.map(Status::Gateway), diff);
        }
    }

    fn set_status(&mut self, key: &ObjectKey, now: Option<Status>, diff: &mut Diff) {
        if self.statuses.get(key) == now.as_ref() {
            return;
        }
        match now.clone() {
            Some(now) => drop(self.statuses.insert(key.clone(), now)),
            None => drop(self.statuses.remove(key)),
        }
        diff.statuses.push((key.clone(), now));
    }

    fn settle_request_policy(&mut self, name: &Name, diff: &mut Diff) -> ObjectKey {
        let key = PolicyName::new(name.namespace.clone(), name.name.clone());
        let now = requests::at_waypoints(&self.cluster, name);
        self.told_requests.set(&key, now, &mut diff.requests);
        let key = ObjectKey::new(Kind::AuthorizationPolicy, name.namespace.clone(), name.name.clone());
        self.problems.set_beside_others(&key, requests::notes(&self.cluster, name));
        key
    }

    fn settle_telemetry(&mut self, name: &Name, diff: &mut Diff) -> ObjectKey {
        let key = PolicyName::new(name.namespace.clone(), name.name.clone());
        let now = telemetry::at_waypoints(&self.cluster, name);
        self.told_telemetries.set(&key, now, &mut diff.telemetries);
        let key = ObjectKey::new(Kind::Telemetry, name.namespace.clone(), name.name.clone());
        self.problems.set_beside_others(&key, telemetry::notes(&self.cluster, name));
        key
    }

    fn settle_pod(&mut self, name: &Name, diff: &mut Diff) {
        let uid = workload::pod_uid(&self.cluster.config.cluster, name);
        let pod = self.cluster.pods.get(name);
        let workload = pod.and_then(|pod| workload::of_pod(&self.cluster, &self.said, pod));
        let agent_pod = pod.and_then(|pod| workload::agent_pod(&self.cluster, pod));
        self.workloads.set(&uid, workload, &mut diff.workloads);
        self.agents.set(&uid, agent_pod, &mut diff.agent_pods);
    }

    fn settle_slice(&mut self, name: &Name, diff: &mut Diff) {
        let now = workload::of_slice(&self.cluster, name);
        let key = ObjectKey::new(Kind::EndpointSlice, name.namespace.clone(), name.name.clone());
        self.settle_loose(&key, now, diff);
    }

    fn settle_entry(&mut self, key: &ObjectKey, diff: &mut Diff) {
        let name = Name::new(key.namespace.clone(), key.name.clone());
        let now = match key.kind {
            Kind::ServiceEntry => entries::of_service_entry(&self.cluster, &self.said, &name),
            _ => entries::of_workload_entry(&self.cluster, &self.said, &name).into_iter().collect(),
        };
        self.settle_loose(key, now, diff);
    }

    /// The workloads of an object that are no pods.
    fn settle_loose(&mut self, key: &ObjectKey, now: Vec<Workload>, diff: &mut Diff) {
        let uids: Vec<_> = now.iter().map(|workload| workload.uid.clone()).collect();
        let kept: BTreeSet<_> = uids.iter().collect();
        for gone in self.loose.get(key).into_iter().flatten().filter(|uid| !kept.contains(uid)) {
            self.workloads.set(gone, None, &mut diff.workloads);
        }
        for workload in now {
            self.workloads.set(&workload.uid.clone(), Some(workload), &mut diff.workloads);
        }
        if uids.is_empty() {
            self.loose.remove(key);
        } else {
            self.loose.insert(key.clone(), uids);
        }
    }
}

/// The policy of a name: one that was written, or one that the index makes.
fn policy_of(cluster: &Cluster, name: &PolicyName) -> Option<Policy> {
    let object = Name::new(name.namespace.clone(), name.name.clone());
    if let Some(facts) = cluster.authorizations.get(&object) {
        return facts.told.clone();
    }
    let peer = peers::converted_object(name)?;
    peers::converted(cluster, &peer)
}
