//! What the index has to be told about the mesh.

use std::sync::Arc;
use weft_core::names::Network;

/// The mesh as a whole.
#[derive(Debug, Clone)]
pub struct IndexConfig {
    /// The cluster's id, the first part of a workload's key.
    pub cluster: Arc<str>,
    /// The mesh's own trust domain.
    pub trust_domain: Arc<str>,
    /// Other trust domains that a policy's principals may mean as well, as in Istio.
    pub trust_domain_aliases: Vec<Arc<str>>,
    /// Namespaces whose policies without a selector hold for the whole mesh. The first one is ours, and
    /// names the policies that the index makes itself.
    pub root_namespaces: Vec<Arc<str>>,
    /// The end of all service names.
    pub cluster_domain: Arc<str>,
    /// The network of the cluster's addresses.
    pub network: Network,
}

/// In a policy, this trust domain stands for the mesh's own, whatever its name is.
pub const LOCAL_TRUST_DOMAIN: &str = "cluster.local";

impl Default for IndexConfig {
    fn default() -> Self {
        Self {
            cluster: "Kubernetes".into(),
            trust_domain: LOCAL_TRUST_DOMAIN.into(),
            trust_domain_aliases: Vec::new(),
            root_namespaces: vec!["weft-system".into(), "istio-system".into()],
            cluster_domain: "cluster.local".into(),
            network: Network::default_network(),
        }
    }
}

impl IndexConfig {
    /// True for a namespace whose policies may hold for the whole mesh.
    pub fn is_root(&self, namespace: &str) -> bool {
        self.root_namespaces.iter().any(|root| **root == *namespace)
    }

    /// The namespace under which the index names its own policies.
    pub(crate) fn root(&self) -> Arc<str> {
        self.root_namespaces.first().cloned().unwrap_or_else(|| "weft-system".into())
    }
}
