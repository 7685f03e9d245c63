//! What becomes of Gateway API's objects, in the words that their `status` has: per parent of a route, and of a Gateway.
//!
//! Times are the writer's to add: a condition says what holds, not since when.

use crate::gateway_api::reference::ParentReference;
use serde::Serialize;

/// The controller that writes these (`controllerName`).
pub const CONTROLLER: &str = "weft.dev/waypoint";

/// The status of one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Status {
    /// Of a route.
    Route(RouteStatus),
    /// Of a Gateway.
    Gateway(GatewayStatus),
    /// Of a policy.
    Policy(PolicyStatus),
}

/// What became of a route (`RouteStatus`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RouteStatus {
    /// By what it is attached to.
    pub parents: Vec<RouteParentStatus>,
}

/// What became of a route at one parent (`RouteParentStatus`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteParentStatus {
    /// The parent, as the route names it.
    pub parent_ref: ParentReference,
    /// Who says so.
    pub controller_name: &'static str,
    /// What holds.
    pub conditions: Vec<Condition>,
}

/// What became of a policy (`PolicyStatus`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PolicyStatus {
    /// By what it applies to.
    pub ancestors: Vec<PolicyAncestorStatus>,
}

/// What became of a policy at one of the objects that it applies to (`PolicyAncestorStatus`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyAncestorStatus {
    /// The object: in a mesh the Service.
    pub ancestor_ref: ParentReference,
    /// Who says so.
    pub controller_name: &'static str,
    /// What holds.
    pub conditions: Vec<Condition>,
}

/// What became of a Gateway (`GatewayStatus`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct GatewayStatus {
    /// Where it is reached.
    pub addresses: Vec<GatewayAddress>,
    /// What holds.
    pub conditions: Vec<Condition>,
    /// By listener.
    pub listeners: Vec<ListenerStatus>,
}

/// Where a Gateway is reached (`GatewayStatusAddress`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GatewayAddress {
    /// What it is.
    #[serde(rename = "type")]
    pub kind: AddressType,
    /// The address.
    pub value: String,
}

/// What an address is (`AddressType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum AddressType {
    /// Of IP.
    #[serde(rename = "IPAddress")]
    Ip,
    /// A name.
    Hostname,
}

/// What became of a listener (`ListenerStatus`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerStatus {
    /// Its name.
    pub name: String,
    /// Routes of these kinds may be attached to it. None to that of a waypoint: they are attached to Services.
    pub supported_kinds: Vec<&'static str>,
    /// How many routes are.
    pub attached_routes: u32,
    /// What holds.
    pub conditions: Vec<Condition>,
}

/// Something that holds or does not (`metav1.Condition`, without its time).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What.
    #[serde(rename = "type")]
    pub kind: ConditionType,
    /// Whether.
    pub status: Holds,
    /// Why, for programs.
    pub reason: Reason,
    /// Why, for people.
    pub message: String,
    /// Of which version of the object; `None` where versions are not counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// What a condition is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum ConditionType {
    /// It is taken.
    Accepted,
    /// Everything that it names is there and may be named.
    ResolvedRefs,
    /// Something runs that does it.
    Programmed,
}

/// Whether it holds (`metav1.ConditionStatus`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Holds {
    /// It does.
    True,
    /// It does not.
    False,
}

/// Why a condition is as it is (`RouteConditionReason`, `GatewayConditionReason`, `PolicyConditionReason`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Reason {
    /// It is taken.
    Accepted,
    /// Everything is there.
    ResolvedRefs,
    /// It runs.
    Programmed,
    /// There is no such parent, or no such port of it.
    NoMatchingParent,
    /// The parent takes no routes.
    NotAllowedByListeners,
    /// It says something that is not supported here.
    UnsupportedValue,
    /// A more specific kind of route is at the same port (GEP-1294), or an older policy is for the same object.
    Conflicted,
    /// What a policy is for is not there.
    TargetNotFound,
    /// A reference to authorities leads to none.
    #[serde(rename = "InvalidCACertificateRef")]
    InvalidCaCertificateRef,
    /// None of the references to authorities leads to any.
    #[serde(rename = "NoValidCACertificate")]
    NoValidCaCertificate,
    /// No waypoint stands before the parent. This one is Weft's own.
    NoWaypoint,
    /// It names what is no backend.
    InvalidKind,
    /// It names something of another namespace that has not allowed it.
    RefNotPermitted,
    /// It names a Service or a port that is not there.
    BackendNotFound,
    /// It contradicts itself, or says what no waypoint has a use for.
    Invalid,
    /// Nothing is there yet that would do it.
    Pending,
}

impl Condition {
    /// One that holds.
    pub fn holds(kind: ConditionType, reason: Reason, message: impl Into<String>) -> Self {
        Self { kind, status: Holds::True, reason, message: message.into(), observed_generation: None }
    }

    /// One that does not.
    pub fn fails(kind: ConditionType, reason: Reason, message: impl Into<String>) -> Self {
        Self { kind, status: Holds::False, reason, message: message.into(), observed_generation: None }
    }

    /// Of this version of the object.
    #[must_use]
    pub fn of(self, generation: Option<i64>) -> Self {
        Self { observed_generation: generation, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn it_is_written_as_gateway_api_has_it() {
        let parent = json!({"group": "", "kind": "Service", "name": "web", "port": 80});
        let parent_ref: ParentReference = serde_json::from_value(parent).expect("a parent");
        let accepted = Condition::fails(ConditionType::Accepted, Reason::NoMatchingParent, "is not there");
        let route = Status::Route(RouteStatus {
            parents: vec![RouteParentStatus {
                parent_ref,
                controller_name: CONTROLLER,
                conditions: vec![accepted.of(Some(3))],
            }],
        });
        assert_eq!(
            serde_json::to_value(&route).expect("statuses are JSON"),
            json!({"parents": [{
                "parentRef": {
                    "group": "", "kind": "Service", "name": "web", "port": 80,
                    "namespace": null, "sectionName": null,
                },
                "controllerName": "weft.dev/waypoint",
                "conditions": [{
                    "type": "Accepted", "status": "False", "reason": "NoMatchingParent",
                    "message": "is not there", "observedGeneration": 3,
                }],
            }]})
        );
        let address = GatewayAddress { kind: AddressType::Ip, value: "10.0.0.1".into() };
        let gateway = Status::Gateway(GatewayStatus { addresses: vec![address], ..GatewayStatus::default() });
        assert_eq!(
            serde_json::to_value(&gateway).expect("statuses are JSON"),
            json!({"addresses": [{"type": "IPAddress", "value": "10.0.0.1"}], "conditions": [], "listeners": []})
        );
    }
}
