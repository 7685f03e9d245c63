//! All facts, with the reverse indexes that make a change cost what it concerns.

pub(crate) mod pods;
pub(crate) mod slices;
pub(crate) mod policies;

use crate::config::IndexConfig;
use crate::facts::namespace::NamespaceFacts;
use crate::facts::node::NodeFacts;
use crate::facts::service::ServiceFacts;
use crate::name::Name;
use crate::selector::SelectorIndex;
use pods::Pods;
use policies::{Authorizations, PeerAuthentications};
use slices::Slices;
use std::collections::HashMap;
use std::sync::Arc;
use weft_core::names::NodeName;

/// Everything that the sources have told.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) config: IndexConfig,
    pub(crate) namespaces: HashMap<Arc<str>, NamespaceFacts>,
    pub(crate) nodes: HashMap<NodeName, NodeFacts>,
    pub(crate) pods: Pods,
    pub(crate) services: HashMap<Name, ServiceFacts>,
    /// Selectors of services.
    pub(crate) service_selectors: SelectorIndex,
    pub(crate) slices: Slices,
    /// Pods that NetworkPolicies select.
    pub(crate) network_policies: SelectorIndex,
    pub(crate) authorizations: Authorizations,
    pub(crate) peers: PeerAuthentications,
}

impl Cluster {
    pub(crate) fn new(config: IndexConfig) -> Self {
        Self {
            config,
            namespaces: HashMap::new(),
            nodes: HashMap::new(),
            pods: Pods::default(),
            services: HashMap::new(),
            service_selectors: SelectorIndex::default(),
            slices: Slices::default(),
            network_policies: SelectorIndex::default(),
            authorizations: Authorizations::default(),
            peers: PeerAuthentications::default(),
        }
    }
}
