//! What goes into the index, and what comes out of a change.

use crate::agent::AgentPodKey;
use std::sync::Arc;
use weft_control_api::gateway_api::status::Status;
use weft_control_api::kind::ObjectKey;
use weft_control_api::object::Object;
use weft_control_api::problem::{Note, Origin, Problem};
use weft_control_api::refusal::Refusal;
use weft_core::enrolment::AgentPod;
use weft_core::names::{GatewayName, PolicyName, ServiceName, WorkloadUid};
use weft_core::policy::Policy;
use weft_core::service::Service;
use weft_core::workload::Workload;
use weft_l7::policy::Policy as RequestPolicy;
use weft_l7::telemetry::Telemetry;
use weft_l7::traffic::Traffic;

/// One object changed at its source.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// It is there, or is different now.
    Upsert {
        /// The object.
        object: Object,
        /// Remarks from reading it.
        notes: Vec<Note>,
        /// Where it comes from.
        origin: Origin,
    },
    /// It is there and cannot be read. A policy denies from now on; anything else stays as it was.
    Refuse {
        /// What is known of it.
        refusal: Refusal,
        /// Where it comes from.
        origin: Origin,
    },
    /// It is gone.
    Delete(ObjectKey),
}

impl Change {
    /// The object that changed.
    pub fn key(&self) -> ObjectKey {
        match self {
            Self::Upsert { object, .. } => object.key(),
            Self::Refuse { refusal, .. } => refusal.key.clone(),
            Self::Delete(key) => key.clone(),
        }
    }
}

/// The core values that a change brought about.
///
/// A reader that cannot take the whole at once takes policies first and gives them up last: a workload that
/// names a policy nobody knows is denied everything.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Diff {
    /// Workloads.
    pub workloads: Changed<WorkloadUid, Workload>,
    /// Services.
    pub services: Changed<ServiceName, Service>,
    /// Policies, also those that the index makes of PeerAuthentications.
    pub policies: Changed<PolicyName, Policy>,
    /// What is said of services' traffic, for each waypoint that needs to know.
    pub traffic: Changed<AtWaypoint<ServiceName>, AtWaypoint<Arc<Traffic>>>,
    /// Policies for requests, for each waypoint that enforces them.
    pub requests: Changed<AtWaypoint<PolicyName>, AtWaypoint<RequestPolicy>>,
    /// What is traced, counted and logged, for each waypoint that it is for.
    pub telemetries: Changed<AtWaypoint<PolicyName>, AtWaypoint<Telemetry>>,
    /// Pods, as their nodes' agents see them.
    pub agent_pods: Changed<AgentPodKey, AgentPod>,
    /// Objects whose problems changed, with all that they have now; none if they are mended or gone.
    pub problems: Vec<(ObjectKey, Vec<Problem>)>,
    /// Routes and Gateways whose status changed, with what it is now; none if they are gone.
    pub statuses: Vec<(ObjectKey, Option<Status>)>,
}

/// Something that the instances of one waypoint are told, and nobody else.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AtWaypoint<T> {
    /// The waypoint's Gateway.
    pub gateway: GatewayName,
    /// What is told.
    pub said: T,
}

/// What changed among values of one kind.
#[derive(Debug, Clone, PartialEq)]
pub struct Changed<K, V> {
    /// New or different.
    pub upserted: Vec<Arc<V>>,
    /// Gone.
    pub removed: Vec<K>,
}

impl<K, V> Default for Changed<K, V> {
    fn default() -> Self {
        Self { upserted: Vec::new(), removed: Vec::new() }
    }
}

impl<K, V> Changed<K, V> {
    /// True if nothing changed.
    pub fn is_empty(&self) -> bool {
        self.upserted.is_empty() && self.removed.is_empty()
    }
}

impl Diff {
    /// True if nothing changed.
    pub fn is_empty(&self) -> bool {
        let Self {
            workloads,
            services,
            policies,
            traffic,
            requests,
            telemetries,
            agent_pods,
            problems,
            statuses,
        } = self;
        workloads.is_empty()
            && services.is_empty()
            && policies.is_empty()
            && traffic.is_empty()
            && requests.is_empty()
            && telemetries.is_empty()
            && agent_pods.is_empty()
            && problems.is_empty()
            && statuses.is_empty()
    }
}
