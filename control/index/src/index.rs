//! The index: objects in, core values out.

use crate::absorb::Dirty;
use crate::agents::Agents;
use crate::change::{Change, Diff};
use crate::cluster::Cluster;
use crate::config::IndexConfig;
use crate::facts::{self, pod::Life, refuses};
use crate::name::Name;
use crate::policy;
use crate::told::Told;
use crate::traffic::{self, Said};
use crate::{peers, workload};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use weft_control_api::kind::{Kind, ObjectKey};
use weft_control_api::object::Object;
use weft_control_api::problem::{Note, Origin, Problem};
use weft_control_api::refusal::Refusal;
use weft_core::enrolment::AgentPod;
use weft_core::identity::Identity;
use weft_core::names::{NodeName, PolicyName, ServiceName, WorkloadUid};
use weft_core::policy::Policy;
use weft_core::service::Service;
use weft_core::workload::Workload;
use weft_l7::traffic::Traffic;

/// Everything that the sources told, and what it means to the mesh.
#[derive(Debug)]
pub struct Index {
    cluster: Cluster,
    workloads: Told<WorkloadUid, Workload>,
    services: Told<ServiceName, Service>,
    policies: Told<PolicyName, Policy>,
    said: Said,
    traffic: Told<ServiceName, Traffic>,
    agents: Agents,
    /// Workloads that only a slice knows, by the slice.
    loose: HashMap<Name, Vec<WorkloadUid>>,
    problems: BTreeMap<ObjectKey, Vec<Problem>>,
}

impl Index {
    /// An index of nothing, but for the policies that are always there.
    pub fn new(config: IndexConfig) -> Self {
        let mut index = Self {
            cluster: Cluster::new(config),
            workloads: Told::default(),
            services: Told::default(),
            policies: Told::default(),
            said: Said::default(),
            traffic: Told::default(),
            agents: Agents::default(),
            loose: HashMap::new(),
            problems: BTreeMap::new(),
        };
        let strict = peers::static_strict(&index.cluster.config);
        let name = strict.name.clone();
        // Nobody has asked yet; the first reader finds it by iteration.
        index.policies.set(&name, Some(strict), &mut Diff::default().policies);
        index
    }

    /// Takes one change.
    pub fn apply(&mut self, change: Change) -> Diff {
        self.apply_all([change])
    }

    /// Takes changes that belong together, such as the first list of everything: what several of them concern
    /// is computed once.
    pub fn apply_all(&mut self, changes: impl IntoIterator<Item = Change>) -> Diff {
        let mut dirty = Dirty::default();
        let mut touched = BTreeMap::new();
        for change in changes {
            let key = change.key();
            let problems = self.take(&key, change, &mut dirty);
            touched.insert(key, problems);
        }
        let mut diff = self.settle(&dirty);
        for (key, problems) in touched {
            self.tell_problems(key, problems, &mut diff);
        }
        diff
    }

    fn tell_problems(&mut self, key: ObjectKey, problems: Vec<Problem>, diff: &mut Diff) {
        let old = self.problems.get(&key).map_or(&[][..], Vec::as_slice);
        if old == problems {
            return;
        }
        if problems.is_empty() {
            self.problems.remove(&key);
        } else {
            self.problems.insert(key.clone(), problems.clone());
        }
        diff.problems.push((key, problems));
    }

    fn take(&mut self, key: &ObjectKey, change: Change, dirty: &mut Dirty) -> Vec<Problem> {
        let located = |origin: &Origin, notes: Vec<Note>| {
            notes.into_iter().map(|note| origin.locate(Some(key.clone()), note)).collect()
        };
        match change {
            Change::Upsert { object, mut notes, origin } => {
                self.upsert(key, &object, &mut notes, dirty);
                located(&origin, notes)
            }
            Change::Refuse { refusal, origin } => {
                self.refuse(key, &refusal, dirty);
                located(&origin, refusal.notes)
            }
            Change::Delete(_) => {
                self.delete(key, dirty);
                Vec::new()
            }
        }
    }

    /// Takes an object in; one that its notes refuse leaves the last good version as it was. Policies read
    /// themselves as unusable then.
    fn upsert(&mut self, key: &ObjectKey, object: &Object, notes: &mut Vec<Note>, dirty: &mut Dirty) {
        let name = Name::new(key.namespace.clone(), key.name.clone());
        let cluster = &mut self.cluster;
        match object {
            Object::Namespace(one) => {
                let facts = facts::namespace::read(one, notes);
                cluster.set_namespace(&key.name, Some(facts), dirty);
            }
            Object::Node(one) => {
                let facts = facts::node::read(one, notes);
                if !refuses(notes) {
                    cluster.set_node(&NodeName::new(key.name.clone()), Some(facts), dirty);
                }
            }
            Object::Pod(one) => {
                let facts = facts::pod::read(one, &name, &cluster.config, notes);
                if !refuses(notes) {
                    cluster.set_pod(&name, facts, dirty);
                }
            }
            Object::Service(one) => {
                let facts = facts::service::read(one, &name, &cluster.config, notes);
                if !refuses(notes) {
                    cluster.set_service(&name, Some(facts), dirty);
                }
            }
            Object::EndpointSlice(one) => {
                let facts = facts::endpoint_slice::read(one, &name, notes);
                if !refuses(notes) {
                    cluster.set_slice(&name, Some(facts), dirty);
                }
            }
            // Its waypoint label will matter; nothing of it does now.
            Object::ServiceAccount(_) => {}
            Object::NetworkPolicy(one) => {
                let selector = facts::network_policy::read(one, notes);
                if !refuses(notes) {
                    cluster.set_network_policy(&name, Some(selector), dirty);
                }
            }
            Object::AuthorizationPolicy(one) => {
                let facts = policy::authorization::read(one, &name, &cluster.config, notes);
                cluster.set_authorization(&name, Some(facts), dirty);
            }
            Object::PeerAuthentication(one) => {
                let facts = policy::peer::read(one, &name, &cluster.config, notes);
                cluster.set_peer(&name, Some(facts), dirty);
            }
            Object::HttpRoute(_)
            | Object::ReferenceGrant(_)
            | Object::VirtualService(_)
            | Object::DestinationRule(_) => {
                if !refuses(notes) {
                    dirty.traffic.extend(self.said.take(&self.cluster, &name, object));
                }
                notes.push(not_enforced(object));
            }
            Object::Gateway(_)
            | Object::GatewayClass(_)
            | Object::GrpcRoute(_)
            | Object::TcpRoute(_)
            | Object::TlsRoute(_)
            | Object::BackendTlsPolicy(_)
            | Object::BackendTrafficPolicy(_)
            | Object::ServiceEntry(_)
            | Object::WorkloadEntry(_)
            | Object::Telemetry(_) => notes.push(not_enforced(object)),
        }
    }

    /// A policy that cannot be read denies; anything else stays as it was.
    fn refuse(&mut self, key: &ObjectKey, refusal: &Refusal, dirty: &mut Dirty) {
        let name = Name::new(key.namespace.clone(), key.name.clone());
        let cluster = &mut self.cluster;
        match key.kind {
            Kind::AuthorizationPolicy => {
                let facts = policy::refused::authorization(refusal, &name, &cluster.config);
                cluster.set_authorization(&name, Some(facts), dirty);
            }
            Kind::PeerAuthentication => {
                let facts = policy::refused::peer(refusal, &name, &cluster.config);
                cluster.set_peer(&name, Some(facts), dirty);
            }
            Kind::Namespace
            | Kind::Node
            | Kind::Pod
            | Kind::Service
            | Kind::EndpointSlice
            | Kind::ServiceAccount
            | Kind::NetworkPolicy
            | Kind::Gateway
            | Kind::GatewayClass
            | Kind::HttpRoute
            | Kind::GrpcRoute
            | Kind::TcpRoute
            | Kind::TlsRoute
            | Kind::ReferenceGrant
            | Kind::BackendTlsPolicy
            | Kind::BackendTrafficPolicy
            | Kind::VirtualService
            | Kind::DestinationRule
            | Kind::ServiceEntry
            | Kind::WorkloadEntry
            | Kind::Telemetry => {}
        }
    }

    fn delete(&mut self, key: &ObjectKey, dirty: &mut Dirty) {
        let name = Name::new(key.namespace.clone(), key.name.clone());
        let cluster = &mut self.cluster;
        match key.kind {
            Kind::Namespace => cluster.set_namespace(&key.name, None, dirty),
            Kind::Node => cluster.set_node(&NodeName::new(key.name.clone()), None, dirty),
            Kind::Pod => cluster.set_pod(&name, None, dirty),
            Kind::Service => cluster.set_service(&name, None, dirty),
            Kind::EndpointSlice => cluster.set_slice(&name, None, dirty),
            Kind::ServiceAccount => {}
            Kind::NetworkPolicy => cluster.set_network_policy(&name, None, dirty),
            Kind::AuthorizationPolicy => cluster.set_authorization(&name, None, dirty),
            Kind::PeerAuthentication => cluster.set_peer(&name, None, dirty),
            Kind::HttpRoute | Kind::ReferenceGrant | Kind::VirtualService | Kind::DestinationRule => {
                dirty.traffic.extend(self.said.forget(key.kind, &name));
            }
            Kind::Gateway
            | Kind::GatewayClass
            | Kind::GrpcRoute
            | Kind::TcpRoute
            | Kind::TlsRoute
            | Kind::BackendTlsPolicy
            | Kind::BackendTrafficPolicy
            | Kind::ServiceEntry
            | Kind::WorkloadEntry
            | Kind::Telemetry => {}
        }
    }

    /// Computes anew what is marked, and tells what is different.
    fn settle(&mut self, dirty: &Dirty) -> Diff {
        let mut diff = Diff::default();
        for name in &dirty.services {
            let now = self.cluster.services.get(name).map(|facts| facts.told.clone());
            let key = facts::service::key(name, &self.cluster.config);
            self.services.set(&key, now, &mut diff.services);
        }
        // What a route says depends on the ports of the services that it names.
        for name in dirty.services.union(&dirty.traffic) {
            let now = traffic::of_service(&self.cluster, &self.said, name);
            let key = facts::service::key(name, &self.cluster.config);
            self.traffic.set(&key, now, &mut diff.traffic);
        }
        for name in &dirty.policies {
            let now = policy_of(&self.cluster, name);
            self.policies.set(name, now, &mut diff.policies);
        }
        for name in &dirty.pods {
            self.settle_pod(name, &mut diff);
        }
        for name in &dirty.slices {
            self.settle_slice(name, &mut diff);
        }
        diff
    }

    fn settle_pod(&mut self, name: &Name, diff: &mut Diff) {
        let uid = workload::pod_uid(&self.cluster.config.cluster, name);
        let pod = self.cluster.pods.get(name);
        let workload = pod.and_then(|pod| workload::of_pod(&self.cluster, pod));
        let agent_pod = pod.and_then(|pod| workload::agent_pod(&self.cluster, pod));
        self.workloads.set(&uid, workload, &mut diff.workloads);
        self.agents.set(&uid, agent_pod, &mut diff.agent_pods);
    }

    fn settle_slice(&mut self, name: &Name, diff: &mut Diff) {
        let now = workload::of_slice(&self.cluster, name);
        let uids: Vec<_> = now.iter().map(|workload| workload.uid.clone()).collect();
        let kept: BTreeSet<_> = uids.iter().collect();
        for gone in self.loose.get(name).into_iter().flatten().filter(|uid| !kept.contains(uid)) {
            self.workloads.set(gone, None, &mut diff.workloads);
        }
        for workload in now {
            self.workloads.set(&workload.uid.clone(), Some(workload), &mut diff.workloads);
        }
        if uids.is_empty() {
            self.loose.remove(name);
        } else {
            self.loose.insert(name.clone(), uids);
        }
    }
}

/// Says that an object was read, and that nothing comes of it: no route is compiled yet.
fn not_enforced(object: &Object) -> Note {
    let (api_version, kind) = (object.api_version(), object.kind());
    Note::warning("kind", format!("{api_version} {kind} is not implemented: it has no effect"))
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

/// What the index holds now; a new reader starts from here.
impl Index {
    /// All workloads, in no order.
    pub fn workloads(&self) -> impl ExactSizeIterator<Item = &Arc<Workload>> {
        self.workloads.values()
    }

    /// The workload with this key.
    pub fn workload(&self, uid: &WorkloadUid) -> Option<&Arc<Workload>> {
        self.workloads.get(uid)
    }

    /// All services, in no order.
    pub fn services(&self) -> impl ExactSizeIterator<Item = &Arc<Service>> {
        self.services.values()
    }

    /// The service with this key.
    pub fn service(&self, name: &ServiceName) -> Option<&Arc<Service>> {
        self.services.get(name)
    }

    /// All policies, in no order.
    pub fn policies(&self) -> impl ExactSizeIterator<Item = &Arc<Policy>> {
        self.policies.values()
    }

    /// The policy with this key.
    pub fn policy(&self, name: &PolicyName) -> Option<&Arc<Policy>> {
        self.policies.get(name)
    }

    /// All that is said of services' traffic, in no order.
    pub fn traffic(&self) -> impl ExactSizeIterator<Item = &Arc<Traffic>> {
        self.traffic.values()
    }

    /// All pods that run on some node, as agents see them, in no order.
    pub fn agent_pods(&self) -> impl ExactSizeIterator<Item = &Arc<AgentPod>> {
        self.agents.all()
    }

    /// The pods of one node, in the order of their keys.
    pub fn agent_pods_on(&self, node: &NodeName) -> impl Iterator<Item = &Arc<AgentPod>> {
        self.agents.on_node(node)
    }

    /// True if an enrolled pod of this identity is bound to the node and is not over.
    pub fn has_enrolled_pod(&self, node: &NodeName, identity: &Identity) -> bool {
        *identity.trust_domain() == *self.config().trust_domain && self.agents.has_enrolled(node, identity)
    }

    /// The node of a living pod; `None` if there is no such pod, or another one by that name (another uid).
    pub fn node_of(&self, namespace: &str, name: &str, uid: &str) -> Option<&NodeName> {
        let pod = self.cluster.pods.get(&Name::new(namespace, name))?;
        let same = *pod.uid == *uid && pod.life == Life::Live && !pod.node.as_str().is_empty();
        same.then_some(&pod.node)
    }

    /// All that is wrong with objects, by object.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.problems.values().flatten()
    }

    /// What the index was told about the mesh.
    pub fn config(&self) -> &IndexConfig {
        &self.cluster.config
    }
}

#[cfg(test)]
mod tests;
