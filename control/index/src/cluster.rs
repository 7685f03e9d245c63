//! All facts, with the reverse indexes that make a change cost what it concerns.

pub(crate) mod pods;
pub(crate) mod slices;
pub(crate) mod policies;
pub(crate) mod askers;
pub(crate) mod entries;
pub(crate) mod telemetries;

use crate::config::IndexConfig;
use crate::facts::credential::CredentialFacts;
use crate::facts::gateway::{GatewayFacts, Takes, WaypointFacts};
use crate::facts::namespace::NamespaceFacts;
use crate::facts::node::NodeFacts;
use crate::facts::service::ServiceFacts;
use crate::facts::waypoint::Use;
use crate::name::Name;
use crate::selector::SelectorIndex;
use askers::Askers;
use entries::Entries;
use pods::Pods;
use policies::{Authorizations, PeerAuthentications};
use slices::Slices;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use telemetries::Telemetries;
use weft_core::names::NodeName;

/// Everything that the sources have told.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) config: IndexConfig,
    pub(crate) namespaces: HashMap<Arc<str>, NamespaceFacts>,
    pub(crate) nodes: HashMap<NodeName, NodeFacts>,
    pub(crate) pods: Pods,
    /// Those that were written, and those that stand for waypoints.
    pub(crate) services: BTreeMap<Name, ServiceFacts>,
    /// Selectors of services.
    pub(crate) service_selectors: SelectorIndex,
    pub(crate) slices: Slices,
    /// Pods that NetworkPolicies select.
    pub(crate) network_policies: SelectorIndex,
    pub(crate) authorizations: Authorizations,
    pub(crate) peers: PeerAuthentications,
    pub(crate) gateways: HashMap<Name, GatewayFacts>,
    /// What classes of Gateways say of theirs.
    pub(crate) classes: HashMap<Arc<str>, Takes>,
    /// Service accounts whose pods ask for a waypoint.
    pub(crate) accounts: HashMap<Name, Use>,
    pub(crate) askers: Askers,
    pub(crate) entries: Entries,
    pub(crate) telemetries: Telemetries,
    pub(crate) secrets: HashMap<Name, CredentialFacts>,
    pub(crate) config_maps: HashMap<Name, CredentialFacts>,
}

impl Cluster {
    pub(crate) fn new(config: IndexConfig) -> Self {
        Self {
            config,
            namespaces: HashMap::new(),
            nodes: HashMap::new(),
            pods: Pods::default(),
            services: BTreeMap::new(),
            service_selectors: SelectorIndex::default(),
            slices: Slices::default(),
            network_policies: SelectorIndex::default(),
            authorizations: Authorizations::default(),
            peers: PeerAuthentications::default(),
            gateways: HashMap::new(),
            classes: HashMap::new(),
            accounts: HashMap::new(),
            askers: Askers::default(),
            entries: Entries::default(),
            telemetries: Telemetries::default(),
            secrets: HashMap::new(),
            config_maps: HashMap::new(),
        }
    }

    /// The waypoint that a Gateway is, if it is one.
    pub(crate) fn waypoint(&self, gateway: &Name) -> Option<&WaypointFacts> {
        self.gateways.get(gateway)?.waypoint.as_ref()
    }

    pub(crate) fn services_in<'a>(&'a self, namespace: &'a Arc<str>) -> impl Iterator<Item = &'a Name> {
        let from = self.services.range(Name::first_of(namespace)..);
        from.map(|(name, _)| name).take_while(|name| name.namespace == *namespace)
    }
}
