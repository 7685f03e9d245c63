//! Changes that belong together: streams see all of them or none.

use crate::state::{Entry, Key, Kind};
use std::sync::Arc;
use weft_core::enrolment::AgentPod;
use weft_core::names::{Network, NetworkAddr, NodeName, PolicyName, ServiceName, WorkloadUid};
use weft_core::policy::Policy;
use weft_core::service::Service;
use weft_core::workload::Workload;
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

    /// Adds or replaces a workload.
    pub fn put_workload(&mut self, workload: &Workload) {
        let addrs = workload.addresses.iter().map(|ip| addr(&workload.network, *ip)).collect();
        let services = workload.services.iter().map(|(name, _)| name.to_string().into()).collect();
        let body = weft_proto::encode_workload(workload);
        self.put(shared(Kind::Address, workload.uid.as_str()), addrs, services, body);
    }

    /// Removes a workload.
    pub fn remove_workload(&mut self, uid: &WorkloadUid) {
        self.0.push(Op::Remove(shared(Kind::Address, uid.as_str())));
    }

    /// Adds or replaces a service.
    pub fn put_service(&mut self, service: &Service) {
        let whole = service.vips.iter().filter(|vip| vip.range.prefix_len() == vip.range.max_prefix_len());
        let addrs = whole.map(|vip| addr(&vip.network, vip.range.addr())).collect();
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
        self.put(shared(Kind::Authorization, &policy.name.to_string()), Vec::new(), Vec::new(), body);
    }

    /// Removes a policy.
    pub fn remove_policy(&mut self, name: &PolicyName) {
        self.0.push(Op::Remove(shared(Kind::Authorization, &name.to_string())));
    }

    /// Adds or replaces what is said of a service's traffic.
    pub fn put_traffic(&mut self, traffic: &Traffic) {
        // Words that were read can be written: their keys are texts.
        let json = serde_json::to_vec(traffic).expect("these words are JSON");
        let body = weft_proto::encode_traffic(json);
        self.put(shared(Kind::Traffic, &traffic.service.to_string()), Vec::new(), Vec::new(), body);
    }

    /// Removes what is said of a service's traffic.
    pub fn remove_traffic(&mut self, name: &ServiceName) {
        self.0.push(Op::Remove(shared(Kind::Traffic, &name.to_string())));
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
        let version: Arc<str> = format!("{:016x}", checksum(&body)).into();
        let aliases = addrs.iter().map(ToString::to_string).collect();
        let encoded = encode_resource(&key.name, aliases, &version, key.kind.type_url(), body);
        let links = addrs.into_iter().chain(services).collect();
        self.0.push(Op::Put(key, Entry { version, encoded, links }));
    }
}

fn addr(network: &Network, ip: std::net::IpAddr) -> Arc<str> {
    NetworkAddr { network: network.clone(), ip }.to_string().into()
}

fn shared(kind: Kind, name: &str) -> Key {
    Key { kind, scope: "".into(), name: name.into() }
}

fn of_node(node: &NodeName, workload: &WorkloadUid) -> Key {
    Key { kind: Kind::AgentPod, scope: node.as_str().into(), name: workload.as_str().into() }
}
