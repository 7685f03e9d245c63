//! The waypoints that there are, for people who ask.

use crate::cluster::Cluster;
use crate::facts;
use crate::waypoint;
use std::sync::Arc;
use weft_core::names::{GatewayName, ServiceName};

/// A Gateway that is a waypoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waypoint {
    /// The Gateway.
    pub gateway: GatewayName,
    /// Its class.
    pub class: Arc<str>,
    /// What it takes, as the label `istio.io/waypoint-for` has it.
    pub takes: &'static str,
    /// The service under which clients find its instances.
    pub service: ServiceName,
}

/// All of them, by name.
pub(crate) fn waypoints(cluster: &Cluster) -> Vec<Waypoint> {
    let found = cluster.gateways.iter().filter_map(|(name, facts)| {
        Some(Waypoint {
            gateway: waypoint::gateway_name(name),
            class: facts.class.clone(),
            takes: waypoint::takes(cluster, &facts.class, facts.waypoint.as_ref()?).word(),
            service: facts::service::key(name, &cluster.config),
        })
    });
    let mut all: Vec<_> = found.collect();
    all.sort_by(|a, b| (&a.gateway.namespace, &a.gateway.name).cmp(&(&b.gateway.namespace, &b.gateway.name)));
    all
}
