//! Changes that belong together: streams see all of them or none.

use crate::state::{Entry, Form, Key, Kind};
use std::collections::BTreeMap;
use std::sync::Arc;
use weft_core::enrolment::AgentPod;
use weft_core::names::{GatewayName, Network, NetworkAddr, NodeName, PolicyName, ServiceName, WorkloadUid};
use weft_core::policy::{Policy, PolicyScope};
use weft_core::service::Service;
use weft_core::workload::Workload;
use weft_l7::policy::Policy as RequestPolicy;
use weft_l7::telemetry::Telemetry;
use weft_l7::traffic::Traffic;
use weft_proto::ads::encode_resource;
use weft_proto::state::checksum;

/// Changes of the table, encoded once.
#[derive(Debug, Default)]
pub struct Batch(pub(crate) Vec<Op>);

#[derive(Debug)]
pub(crate) enum Op {
    Put(Key, Entry),
    Remove(Key),
}

impl Batch {
    /// No changes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds or replaces a workload. Its labels are for waypoints alone.
    pub fn put_workload(&mut self, workload: &Workload) {
        let addrs = workload.addresses.iter().map(|ip| addr(&workload.network, *ip)).collect();
        let services = workload.services.iter().map(|(name, _)| name.to_string().into()).collect();
        let key = shared(Kind::Address, workload.uid.as_str());
        if workload.labels.is_empty() {
            return self.put(key, addrs, services, weft_proto::encode_workload(workload));
        }
        let plain = Workload { labels: BTreeMap::new(), ..workload.clone() };
        let for_others = form(&key, &addrs, weft_proto::encode_workload(&plain));
        let for_waypoints = Some(form(&key, &addrs, weft_proto::encode_workload(workload)));
        let links = addrs.into_iter().chain(services).collect();
        self.0.push(Op::Put(key, Entry { form: for_others, for_waypoints, links, by_name: false }));
    }

    /// Removes a workload.
    pub fn remove_workload(&mut self, uid: &WorkloadUid) {
        self.0.push(Op::Remove(shared(Kind::Address, uid.as_str())));
    }

    /// Adds or replaces a service.
    pub fn put_service(&mut self, service: &Service) {
        let addrs = service.vips.iter().filter_map(|vip| Some(addr(&vip.network, vip.ip()?))).collect();
        let body = weft_proto::encode_service(service);
        self.put(shared(Kind::Address, &service.name.to_string()), addrs, Vec::new(), body);
    }

    /// Removes a service.
    pub fn remove_service(&mut self, name: &ServiceName) {
        self.0.push(Op::Remove(shared(Kind::Address, &name.to_string())));
    }

    /// Adds or replaces a policy.
    pub fn put_policy(&mut self, policy: &Policy) {
        let body = weft_proto::encode_authorization(policy);
        let key = shared(Kind::Authorization, &policy.name.to_string());
        let form = form(&key, &[], body);
        let by_name = policy.scope == PolicyScope::Selector;
        self.0.push(Op::Put(key, Entry { form, for_waypoints: None, links: Vec::new(), by_name }));
    }

    /// Removes a policy.
    pub fn remove_policy(&mut self, name: &PolicyName) {
        self.0.push(Op::Remove(shared(Kind::Authorization, &name.to_string())));
    }

    /// Adds or replaces what a waypoint is told of a service's traffic.
    pub fn put_traffic(&mut self, gateway: &GatewayName, traffic: &Traffic) {
        // Words that were read can be written: their keys are texts.
        let json = serde_json::to_vec(traffic).expect("these words are JSON");
        let key = at_waypoint(Kind::Traffic, gateway, &traffic.service);
        self.put(key, Vec::new(), Vec::new(), weft_proto::encode_traffic(json));
    }

    /// Removes what a waypoint is told of a service's traffic.
    pub fn remove_traffic(&mut self, gateway: &GatewayName, name: &ServiceName) {
        self.0.push(Op::Remove(at_waypoint(Kind::Traffic, gateway, name)));
    }

    /// Adds or replaces a policy for requests at a waypoint.
    pub fn put_request_policy(&mut self, gateway: &GatewayName, policy: &RequestPolicy) {
        // As above; what a policy matches was read from such texts.
        let json = serde_json::to_vec(policy).expect("these words are JSON");
        let key = at_waypoint(Kind::RequestPolicy, gateway, &policy.name);
        self.put(key, Vec::new(), Vec::new(), weft_proto::encode_request_policy(json));
    }

    /// Removes a policy for requests at a waypoint.
    pub fn remove_request_policy(&mut self, gateway: &GatewayName, name: &PolicyName) {
        self.0.push(Op::Remove(at_waypoint(Kind::RequestPolicy, gateway, name)));
    }

    /// Adds or replaces a Telemetry at a waypoint.
    pub fn put_telemetry(&mut self, gateway: &GatewayName, telemetry: &Telemetry) {
        // As above.
        let json = serde_json::to_vec(telemetry).expect("these words are JSON");
        let key = at_waypoint(Kind::Telemetry, gateway, &telemetry.name);
        self.put(key, Vec::new(), Vec::new(), weft_proto::encode_telemetry(json));
    }

    /// Removes a Telemetry at a waypoint.
    pub fn remove_telemetry(&mut self, gateway: &GatewayName, name: &PolicyName) {
        self.0.push(Op::Remove(at_waypoint(Kind::Telemetry, gateway, name)));
    }

    /// Adds or replaces a pod of a node's agent.
    pub fn put_agent_pod(&mut self, pod: &AgentPod) {
        let key = of_node(&pod.node, &pod.workload);
        self.put(key, Vec::new(), Vec::new(), weft_proto::encode_agent_pod(pod));
    }

    /// Removes a pod of a node's agent.
    pub fn remove_agent_pod(&mut self, node: &NodeName, workload: &WorkloadUid) {
        self.0.push(Op::Remove(of_node(node, workload)));
    }

    fn put(&mut self, key: Key, addrs: Vec<Arc<str>>, services: Vec<Arc<str>>, body: Vec<u8>) {
        let form = form(&key, &addrs, body);
        let links = addrs.into_iter().chain(services).collect();
        self.0.push(Op::Put(key, Entry { form, for_waypoints: None, links, by_name: false }));
    }
}

fn form(key: &Key, addrs: &[Arc<str>], body: Vec<u8>) -> Form {
    let version: Arc<str> = format!("{:016x}", checksum(&body)).into();
    let aliases = addrs.iter().map(ToString::to_string).collect();
    let encoded = encode_resource(&key.name, aliases, &version, key.kind.type_url(), body);
    Form { version, encoded }
}

fn addr(network: &Network, ip: std::net::IpAddr) -> Arc<str> {
    NetworkAddr { network: network.clone(), ip }.to_string().into()
}

fn shared(kind: Kind, name: &str) -> Key {
    Key { kind, scope: "".into(), name: name.into() }
}

fn at_waypoint(kind: Kind, gateway: &GatewayName, name: &impl ToString) -> Key {
    Key { kind, scope: gateway.to_string().into(), name: name.to_string().into() }
}

fn of_node(node: &NodeName, workload: &WorkloadUid) -> Key {
    Key { kind: Kind::AgentPod, scope: node.as_str().into(), name: workload.as_str().into() }
}
