//! Objects for tests, and an index that takes them.

use crate::change::{Change, Diff};
use crate::config::IndexConfig;
use crate::index::Index;
use serde_json::{Value, json};
use std::sync::Arc;
use weft_control_api::decode::{Decoded, decode};
use weft_control_api::kind::{Kind, ObjectKey};
use weft_control_api::problem::Origin;
use weft_core::names::{GatewayName, PolicyName, ServiceName, WorkloadUid};
use weft_core::policy::Policy;
use weft_core::service::Service;
use weft_core::workload::{GatewayAddr, GatewayDestination, PortPair, Workload};
use weft_l7::policy::Policy as RequestPolicy;
use weft_l7::traffic::Traffic;

/// An index and what the tests ask of it.
pub(super) struct World(pub(super) Index);

impl World {
    pub(super) fn new() -> Self {
        Self(Index::new(IndexConfig::default()))
    }

    /// One with all these objects in it.
    pub(super) fn of(objects: impl IntoIterator<Item = Value>) -> Self {
        let mut world = Self::new();
        world.0.apply_all(objects.into_iter().map(change));
        world
    }

    pub(super) fn put(&mut self, object: Value) -> Diff {
        self.0.apply(change(object))
    }

    pub(super) fn delete(&mut self, kind: Kind, namespace: &str, name: &str) -> Diff {
        self.0.apply(Change::Delete(ObjectKey::new(kind, namespace, name)))
    }

    /// The workload of a pod in namespace `shop`.
    pub(super) fn pod(&self, name: &str) -> Option<&Arc<Workload>> {
        self.0.workload(&WorkloadUid::new(format!("Kubernetes//Pod/shop/{name}")))
    }

    pub(super) fn service(&self, name: &str) -> &Arc<Service> {
        self.0.service(&service_name(name)).expect("the test made the service")
    }

    pub(super) fn policy(&self, name: &str) -> Option<&Arc<Policy>> {
        self.0.policy(&PolicyName::parse(name).expect("namespace/name"))
    }

    /// The Gateway before a service of namespace `shop`, by its service.
    pub(super) fn waypoint_of(&self, service: &str) -> Option<String> {
        named(self.service(service).waypoint.as_ref())
    }

    /// The Gateway before a pod of namespace `shop`, by its service.
    pub(super) fn waypoint_of_pod(&self, pod: &str) -> Option<String> {
        named(self.pod(pod).expect("the test made the pod").waypoint.as_ref())
    }

    /// What a waypoint of namespace `shop` is told of services' traffic, by their short names.
    pub(super) fn traffic_at(&self, gateway: &str) -> Vec<String> {
        let at = GatewayName::new("shop", gateway);
        let here = self.0.traffic().filter(|one| one.gateway == at);
        let mut names: Vec<_> = here
            .map(|one| one.said.service.hostname.split('.').next().unwrap_or_default().to_owned())
            .collect();
        names.sort_unstable();
        names
    }

    /// What a waypoint of namespace `shop` is told of a service's traffic.
    pub(super) fn traffic_of(&self, gateway: &str, service: &str) -> Option<Arc<Traffic>> {
        let at = GatewayName::new("shop", gateway);
        let mut here = self.0.traffic().filter(|one| one.gateway == at);
        here.find(|one| one.said.service == service_name(service)).map(|one| one.said.clone())
    }

    /// The policies for requests that a waypoint of namespace `shop` is told.
    pub(super) fn requests_at(&self, gateway: &str) -> Vec<RequestPolicy> {
        let at = GatewayName::new("shop", gateway);
        let here = self.0.requests().filter(|one| one.gateway == at);
        let mut policies: Vec<_> = here.map(|one| one.said.clone()).collect();
        policies.sort_by(|one, other| one.name.cmp(&other.name));
        policies
    }

    /// Names of the selector policies of a pod.
    pub(super) fn policies_of(&self, pod: &str) -> Vec<String> {
        self.pod(pod).expect("the test made the pod").policies.iter().map(ToString::to_string).collect()
    }

    /// Short names of the services of a pod, each with `service_port>target_port` pairs.
    pub(super) fn services_of(&self, pod: &str) -> Vec<String> {
        self.pod(pod).expect("the test made the pod").services.iter().map(served).collect()
    }

    /// What is wrong, one line each.
    pub(super) fn problems(&self) -> Vec<String> {
        self.0.problems().map(|problem| format!("{} {problem}", problem.severity.as_str())).collect()
    }
}

fn named(gateway: Option<&GatewayAddr>) -> Option<String> {
    let gateway = gateway?;
    assert_eq!(gateway.hbone_port, 15008);
    match &gateway.destination {
        GatewayDestination::Service(name) => Some(name.hostname.to_string()),
        GatewayDestination::Addr(addr) => panic!("an address: {addr}"),
    }
}

pub(super) fn served((name, ports): &(ServiceName, Vec<PortPair>)) -> String {
    let short = name.hostname.split('.').next().unwrap_or_default();
    let ports: Vec<_> =
        ports.iter().map(|pair| format!("{}>{}", pair.service_port, pair.target_port)).collect();
    format!("{short} {}", ports.join(","))
}

pub(super) fn service_name(name: &str) -> ServiceName {
    ServiceName::new("shop", format!("{name}.shop.svc.cluster.local"))
}

pub(super) fn change(value: Value) -> Change {
    let origin = Origin::unlined("test");
    match decode(&value) {
        Decoded::Object(object, notes) => Change::Upsert { object, notes, origin },
        Decoded::Refused(refusal) => Change::Refuse { refusal, origin },
        Decoded::Unplaced(notes) => panic!("no namespace: {notes:?}"),
        Decoded::Skipped(note) => panic!("not an object: {note:?}"),
    }
}

/// Lays `over` over `base`: mappings are merged, all else is replaced, and null removes.
pub(super) fn with(mut base: Value, over: Value) -> Value {
    match (&mut base, over) {
        (Value::Object(fields), Value::Object(over)) => {
            for (key, value) in over {
                match (fields.remove(&key), value) {
                    (_, Value::Null) => {}
                    (Some(old), value) => {
                        fields.insert(key, with(old, value));
                    }
                    (None, value) => {
                        fields.insert(key, value);
                    }
                }
            }
            base
        }
        (_, over) => over,
    }
}

pub(super) fn namespace(labels: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": labels}})
}

pub(super) fn meshed() -> Value {
    namespace(json!({"weft.dev/mesh": "enabled"}))
}

pub(super) fn node(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "annotations": {"weft.dev/tunnel-versions": "1"}, "labels": {
            "topology.kubernetes.io/region": "r", "topology.kubernetes.io/zone": "z",
            "topology.istio.io/subzone": "s",
        }},
        "status": {"addresses": [
            {"type": "Hostname", "address": name},
            {"type": "InternalIP", "address": "172.16.0.1"}, {"type": "InternalIP", "address": "fd00::1"},
        ]},
    })
}

/// A running pod of namespace `shop` with label `app: <name>` on node `n1`.
pub(super) fn pod(name: &str, ip: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop", "uid": format!("uid-{name}"), "labels": {"app": name}},
        "spec": {"nodeName": "n1", "serviceAccountName": name, "containers": [{
            "name": "app",
            "ports": [{"name": "web", "containerPort": 8080}, {"name": "dns", "containerPort": 53, "protocol": "UDP"}],
        }]},
        "status": {
            "phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}],
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    })
}

/// A service of namespace `shop` that selects pods by label `app: <name>`, port 80 to 8080.
pub(super) fn service(name: &str, ip: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "shop"},
        "spec": {
            "clusterIP": ip, "selector": {"app": name},
            "ports": [{"name": "http", "port": 80, "targetPort": 8080}],
        },
    })
}

/// A slice of a service of namespace `shop` with port `http` at 8080.
pub(super) fn slice(name: &str, service: &str, endpoints: Value) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": name, "namespace": "shop", "labels": {"kubernetes.io/service-name": service}},
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}], "endpoints": endpoints,
    })
}

pub(super) fn at_pod(pod: &str, ip: &str) -> Value {
    json!({"addresses": [ip], "targetRef": {"kind": "Pod", "name": pod, "namespace": "shop"}})
}

/// An AuthorizationPolicy of namespace `shop`.
pub(super) fn authorization(name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
        "metadata": {"name": name, "namespace": "shop"}, "spec": spec,
    })
}

/// A PeerAuthentication.
pub(super) fn peer(namespace: &str, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication",
        "metadata": {"name": name, "namespace": namespace}, "spec": spec,
    })
}

/// A Gateway of namespace `shop` that is a waypoint.
pub(super) fn waypoint(name: &str) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {
            "gatewayClassName": "weft-waypoint",
            "listeners": [{"name": "mesh", "port": 15008, "protocol": "HBONE"}],
        },
    })
}

/// An instance of a waypoint of namespace `shop`.
pub(super) fn instance(name: &str, gateway: &str, ip: &str) -> Value {
    let labels = json!({"gateway.networking.k8s.io/gateway-name": gateway, "app": null});
    with(pod(name, ip), json!({"metadata": {"labels": labels}}))
}

/// Labels of an object.
pub(super) fn labelled(object: Value, labels: Value) -> Value {
    with(object, json!({"metadata": {"labels": labels}}))
}

/// A service of namespace `shop` that a waypoint stands before.
pub(super) fn bound(name: &str, gateway: &str) -> Value {
    labelled(service(name, "10.1.0.1"), json!({ "weft.dev/waypoint": gateway }))
}

/// A route of Gateway API of namespace `shop`, attached to a Service.
pub(super) fn gateway_route(kind: &str, name: &str, service: &str, over: Value) -> Value {
    let parents = json!([{"group": "", "kind": "Service", "name": service}]);
    with(
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": kind,
            "metadata": {"name": name, "namespace": "shop"}, "spec": {"parentRefs": parents},
        }),
        over,
    )
}
