//! What the agent says of itself: `weft status` and people read it, as JSON.

use crate::existing::Connection;
use crate::reconcile::PodState;
use serde::Serialize;
use std::net::IpAddr;
use std::path::PathBuf;

/// Everything about this node's capture.
#[derive(Debug, Serialize)]
pub struct Status {
    /// The node.
    pub node: String,
    /// Discovery has told of every pod since the agent started.
    pub in_sync: bool,
    /// The pods of the mesh on this node.
    pub pods: Vec<PodStatus>,
    /// The node proxies that are connected.
    pub proxies: Vec<ProxyStatus>,
    /// Ready sockets that wait here.
    pub sockets_ahead: usize,
    /// Why this node's kernel cannot end the connections that a pod had before it joined; `None` if it can.
    pub cannot_end_connections: Option<String>,
    /// Listeners of the node's own tunnel.
    pub node_tunnel_listeners: usize,
    /// What happened to packets, by kind.
    pub packets: Vec<(&'static str, u64)>,
}

/// One pod.
#[derive(Debug, Serialize)]
pub struct PodStatus {
    /// Its key.
    pub uid: String,
    /// Its Kubernetes namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its `metadata.uid`; empty as long as neither discovery nor the CNI plugin has told.
    pub pod_uid: String,
    /// How far it is.
    pub state: &'static str,
    /// Why it is not further.
    pub reason: Option<String>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Where its network namespace is.
    pub netns: Option<PathBuf>,
    /// The kernel's word for it, once it is enrolled.
    pub netns_cookie: Option<u64>,
    /// Devices on which it is not contained, should it forge packets.
    pub not_contained: Vec<String>,
    /// Its connections that are older than its enrolment and go on beside the mesh.
    pub existing: Vec<Connection>,
    /// How many older ones broke when it joined, because there was no room to let them go on.
    pub cut_off: usize,
}

/// One connected proxy.
#[derive(Debug, Serialize)]
pub struct ProxyStatus {
    /// Its process.
    pub pid: u32,
    /// Its workers.
    pub workers: usize,
    /// The version of the link.
    pub version: u16,
}

impl PodStatus {
    /// What the state machine knows; the caller adds what only it knows.
    pub fn of(state: PodState) -> Self {
        let wanted = state.wanted;
        let text = |of: fn(&crate::reconcile::Wanted) -> &str| wanted.as_ref().map_or("", of).to_owned();
        Self {
            uid: state.uid.to_string(),
            namespace: text(|wanted| &wanted.namespace),
            name: text(|wanted| &wanted.name),
            pod_uid: text(|wanted| &wanted.pod_uid),
            state: state.state,
            reason: state.reason,
            addresses: wanted.as_ref().map(|wanted| wanted.addresses.clone()).unwrap_or_default(),
            netns: wanted.and_then(|wanted| wanted.netns),
            netns_cookie: None,
            not_contained: Vec::new(),
            existing: Vec::new(),
            cut_off: 0,
        }
    }
}
