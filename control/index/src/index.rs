//! The index: objects in, core values out.

mod settle;

use crate::agents::Agents;
use crate::change::{AtWaypoint, Change, Diff};
use crate::cluster::Cluster;
use crate::config::IndexConfig;
use crate::dirty::Dirty;
use crate::facts::{self, pod::Life, refuses};
use crate::findings;
use crate::name::Name;
use crate::overview;
use crate::policy;
use crate::problems::{More, Problems};
use crate::told::{AtWaypoints, Told};
use crate::traffic::{Audience, Said};
use crate::{peers, traffic, waypoint};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use weft_control_api::gateway_api::status::Status;
use weft_control_api::kind::{Kind, ObjectKey};
use weft_control_api::object::Object;
use weft_control_api::problem::{Note, Problem};
use weft_control_api::refusal::Refusal;
use weft_core::enrolment::AgentPod;
use weft_core::identity::Identity;
use weft_core::names::{GatewayName, NodeName, PolicyName, ServiceName, WorkloadUid};
use weft_core::policy::Policy;
use weft_core::service::Service;
use weft_core::workload::Workload;
use weft_l7::policy::Policy as RequestPolicy;
use weft_l7::telemetry::Telemetry;
use weft_l7::telemetry::effective::in_force;
use weft_l7::traffic::Traffic;

/// Everything that the sources told, and what it means to the mesh.
#[derive(Debug)]
pub struct Index {
    cluster: Cluster,
    workloads: Told<WorkloadUid, Workload>,
    services: Told<ServiceName, Service>,
    policies: Told<PolicyName, Policy>,
    said: Said,
    /// What is said of services' traffic, whether a waypoint needs to know it or not.
    traffic: Told<ServiceName, Traffic>,
    audience: Audience,
    told_traffic: AtWaypoints<ServiceName, Arc<Traffic>>,
    told_requests: AtWaypoints<PolicyName, RequestPolicy>,
    told_telemetries: AtWaypoints<PolicyName, Telemetry>,
    agents: Agents,
    /// Workloads that are no pods, by the object that speaks of them: a slice or an entry.
    loose: HashMap<ObjectKey, Vec<WorkloadUid>>,
    problems: Problems,
    /// What becomes of Gateway API's objects.
    statuses: BTreeMap<ObjectKey, Status>,
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
            audience: Audience::default(),
            told_traffic: AtWaypoints::default(),
            told_requests: AtWaypoints::default(),
            told_telemetries: AtWaypoints::default(),
            agents: Agents::default(),
            loose: HashMap::new(),
            problems: Problems::default(),
            statuses: BTreeMap::new(),
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
        let (mut dirty, mut diff) = (Dirty::default(), Diff::default());
        let mut touched = BTreeSet::new();
        for change in changes {
            let key = change.key();
            dirty.reports.insert(key.clone());
            self.take(&key, change, &mut dirty, &mut diff);
            touched.insert(key);
        }
        touched.extend(self.settle(dirty, &mut diff));
        self.problems.tell(&touched, &mut diff);
        diff
    }

    fn take(&mut self, key: &ObjectKey, change: Change, dirty: &mut Dirty, diff: &mut Diff) {
        match change {
            Change::Upsert { object, mut notes, origin } => {
                self.upsert(key, &object, &mut notes, dirty);
                self.problems.set_own(key, origin, notes, more(&self.cluster, key));
            }
            Change::Refuse { refusal, origin } => {
                self.refuse(key, &refusal, dirty);
                self.problems.set_own(key, origin, refusal.notes, More::Maybe);
            }
            Change::Delete(_) => {
                self.delete(key, dirty);
                self.problems.forget(key, diff);
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
                let facts = facts::namespace::read(one, &key.name, notes);
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
            Object::ServiceAccount(one) => {
                let labels = one.metadata.labels.clone().unwrap_or_default();
                let waypoint = facts::waypoint::read(&labels, &key.namespace, notes);
                cluster.set_account(&name, waypoint, dirty);
            }
            Object::Secret(one) => {
                let facts = facts::credential::of_secret(one);
                cluster.secrets.insert(name.clone(), facts);
                self.said.mark_naming(&name, dirty);
            }
            Object::ConfigMap(one) => {
                let facts = facts::credential::of_config_map(one);
                cluster.config_maps.insert(name.clone(), facts);
                self.said.mark_naming(&name, dirty);
            }
            Object::NetworkPolicy(one) => {
                let selector = facts::network_policy::read(one, notes);
                cluster.set_network_policy(&name, Some(selector), dirty);
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
            | Object::GrpcRoute(_)
            | Object::TcpRoute(_)
            | Object::TlsRoute(_)
            | Object::ReferenceGrant(_)
            | Object::BackendTrafficPolicy(_)
            | Object::BackendTlsPolicy(_)
            | Object::VirtualService(_)
            | Object::DestinationRule(_) => {
                traffic::unsupported(object, &cluster.config.cluster_domain, notes);
                if !refuses(notes) {
                    self.said.take(&self.cluster, &name, object, dirty);
                }
            }
            Object::Gateway(one) => {
                let facts = facts::gateway::read(one, notes);
                if !refuses(notes) {
                    cluster.set_gateway(&name, Some(facts), dirty);
                }
            }
            Object::GatewayClass(one) => {
                let takes = facts::gateway::read_class(one, notes);
                if !refuses(notes) {
                    cluster.set_class(&key.name, takes, dirty);
                }
            }
            Object::ServiceEntry(one) => {
                let facts = facts::service_entry::read(one, &name, &cluster.config, notes);
                if !refuses(notes) {
                    cluster.set_service_entry(&name, Some(facts), dirty);
                }
            }
            Object::WorkloadEntry(one) => {
                let facts = {
                    let at = ("spec", facts::workload_entry::ByName::No);
                    facts::workload_entry::read(&one.spec, at, &cluster.config, notes)
                };
                if !refuses(notes) {
                    cluster.set_workload_entry(&name, facts, dirty);
                }
            }
            Object::Telemetry(one) => {
                let facts = policy::telemetry::read(one, &name, &cluster.config, notes);
                if !refuses(notes) {
                    cluster.set_telemetry(&name, Some(facts), dirty);
                }
            }
        }
    }

    /// A policy that cannot be read denies, and one for the network plugin selects its whole namespace; anything else
    /// stays as it was.
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
            Kind::NetworkPolicy => {
                let everything = facts::network_policy::unreadable();
                cluster.set_network_policy(&name, Some(everything), dirty);
            }
            Kind::Namespace
            | Kind::Node
            | Kind::Pod
            | Kind::Service
            | Kind::EndpointSlice
            | Kind::ServiceAccount
            | Kind::Secret
            | Kind::ConfigMap
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
            Kind::ServiceAccount => cluster.set_account(&name, None, dirty),
            Kind::Secret => {
                cluster.secrets.remove(&name);
                self.said.mark_naming(&name, dirty);
            }
            Kind::ConfigMap => {
                cluster.config_maps.remove(&name);
                self.said.mark_naming(&name, dirty);
            }
            Kind::NetworkPolicy => cluster.set_network_policy(&name, None, dirty),
            Kind::AuthorizationPolicy => cluster.set_authorization(&name, None, dirty),
            Kind::PeerAuthentication => cluster.set_peer(&name, None, dirty),
            Kind::HttpRoute
            | Kind::GrpcRoute
            | Kind::TcpRoute
            | Kind::TlsRoute
            | Kind::ReferenceGrant
            | Kind::BackendTrafficPolicy
            | Kind::BackendTlsPolicy
            | Kind::VirtualService
            | Kind::DestinationRule => self.said.forget(&self.cluster, key.kind, &name, dirty),
            Kind::Gateway => cluster.set_gateway(&name, None, dirty),
            Kind::GatewayClass => cluster.set_class(&key.name, None, dirty),
            Kind::ServiceEntry => cluster.set_service_entry(&name, None, dirty),
            Kind::WorkloadEntry => cluster.set_workload_entry(&name, None, dirty),
            Kind::Telemetry => cluster.set_telemetry(&name, None, dirty),
        }
    }
}

/// Whether something may be said of an object that depends on others.
fn more(cluster: &Cluster, key: &ObjectKey) -> More {
    if traffic::says(key.kind) { More::Maybe } else { waypoint::more(cluster, key) }
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

    /// All that waypoints are told of services' traffic, in no order.
    pub fn traffic(&self) -> impl Iterator<Item = &Arc<AtWaypoint<Arc<Traffic>>>> {
        self.told_traffic.values()
    }

    /// All policies for requests that waypoints are told, in no order.
    pub fn requests(&self) -> impl Iterator<Item = &Arc<AtWaypoint<RequestPolicy>>> {
        self.told_requests.values()
    }

    /// All Telemetries that waypoints are told, in no order.
    pub fn telemetries(&self) -> impl Iterator<Item = &Arc<AtWaypoint<Telemetry>>> {
        self.told_telemetries.values()
    }

    /// The Telemetries that hold at a waypoint, the widest first, then by name; not those that have an older one before them.
    pub fn telemetries_at(&self, gateway: &GatewayName) -> Vec<&Telemetry> {
        let here = self.telemetries().filter(|one| one.gateway == *gateway);
        in_force(&here.map(|one| &one.said).collect::<Vec<_>>())
    }

    /// The Gateway of the waypoint whose instance a living pod is, and who the pod is; `None` if it is no instance.
    pub fn waypoint_of(&self, namespace: &str, name: &str) -> Option<(GatewayName, &Identity)> {
        let pod = self.cluster.pods.get(&Name::new(namespace, name))?;
        let gateway = waypoint::gateway_of(&self.cluster, pod).filter(|_| pod.life == Life::Live)?;
        Some((gateway, &pod.identity))
    }

    /// All waypoints, by name.
    pub fn waypoints(&self) -> Vec<overview::Waypoint> {
        overview::waypoints(&self.cluster)
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

    /// True if an object speaks of a pod by that name, whatever has become of the pod, and even if the object cannot be
    /// read.
    pub fn speaks_of_pod(&self, namespace: &str, name: &str) -> bool {
        let key = ObjectKey { kind: Kind::Pod, namespace: namespace.into(), name: name.into() };
        self.cluster.pods.get(&Name::new(namespace, name)).is_some() || self.problems.knows(&key)
    }

    /// All that is wrong with objects, by object.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.problems.all()
    }

    /// What becomes of routes and Gateways, as their `status` says it.
    pub fn statuses(&self) -> impl Iterator<Item = (&ObjectKey, &Status)> {
        self.statuses.iter()
    }

    /// What becomes of a route or a Gateway.
    pub fn status(&self, key: &ObjectKey) -> Option<&Status> {
        self.statuses.get(key)
    }

    /// What is wrong with objects beside each other, looked for now: O(everything), and rules of one service each with
    /// each. What [`Index::problems`] says already is not said again.
    pub fn findings(&self) -> Vec<(ObjectKey, Note)> {
        findings::all(&findings::Held {
            cluster: &self.cluster,
            said: &self.said,
            traffic: self.traffic.values().collect(),
            workloads: self.workloads.values().collect(),
            services: self.services.values().collect(),
            policies: self.policies.values().collect(),
        })
    }

    /// What the index was told about the mesh.
    pub fn config(&self) -> &IndexConfig {
        &self.cluster.config
    }
}

#[cfg(test)]
mod tests;
