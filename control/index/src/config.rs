//! What the index has to be told about the mesh.

use std::collections::BTreeSet;
use std::str::FromStr;
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
    /// What the names of providers in Telemetries stand for.
    pub providers: Providers,
}

/// Something that spans, metrics or lines are sent to, and how. Where it is, each waypoint is told by its own settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Provider {
    /// The collector of spans.
    Tracing,
    /// Lines of text on standard output.
    Text,
    /// Lines of JSON on standard output.
    Json,
    /// The collector of OpenTelemetry's logs.
    Otlp,
    /// Prometheus, which asks for metrics itself.
    Prometheus,
}

impl Provider {
    const ALL: [(&str, Self); 5] = [
        ("tracing", Self::Tracing),
        ("text", Self::Text),
        ("json", Self::Json),
        ("otlp", Self::Otlp),
        ("prometheus", Self::Prometheus),
    ];
}

/// Names of providers (Istio's `extensionProviders`). One name may stand for one of spans and one of lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Providers(BTreeSet<(String, Provider)>);

impl Default for Providers {
    /// Each kind by its own name, and `envoy`, which is Istio's for text on standard output.
    fn default() -> Self {
        let own = Provider::ALL.map(|(name, provider)| (name.to_owned(), provider));
        Self(own.into_iter().chain([("envoy".to_owned(), Provider::Text)]).collect())
    }
}

impl Providers {
    /// Those, and these.
    #[must_use]
    pub fn with(mut self, more: impl IntoIterator<Item = NamedProvider>) -> Self {
        self.0.extend(more.into_iter().map(|NamedProvider(name, provider)| (name, provider)));
        self
    }

    /// What a name stands for.
    pub(crate) fn named(&self, name: &str) -> impl Iterator<Item = Provider> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, provider)| *provider)
    }

    /// The names of those of some kinds, by commas.
    pub(crate) fn names(&self, of: &[Provider]) -> String {
        let names = self.0.iter().filter(|(_, provider)| of.contains(provider)).map(|(name, _)| &**name);
        names.collect::<Vec<_>>().join(", ")
    }
}

/// A provider as it is typed, `NAME=KIND`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedProvider(String, Provider);

impl FromStr for NamedProvider {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (name, kind) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or(())?;
        let found = Provider::ALL.iter().find(|(word, _)| *word == kind);
        found.map(|(_, provider)| Self(name.to_owned(), *provider)).ok_or(())
    }
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
            providers: Providers::default(),
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
