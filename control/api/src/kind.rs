//! The kinds that Weft reads, and the keys of their objects.

use std::fmt;
use std::sync::Arc;

/// A kind of object that Weft reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the variants are the kinds' own names")]
pub enum Kind {
    Namespace,
    Node,
    Pod,
    Service,
    EndpointSlice,
    ServiceAccount,
    Secret,
    ConfigMap,
    NetworkPolicy,
    AuthorizationPolicy,
    PeerAuthentication,
    Gateway,
    GatewayClass,
    HttpRoute,
    GrpcRoute,
    TcpRoute,
    TlsRoute,
    ReferenceGrant,
    BackendTlsPolicy,
    BackendTrafficPolicy,
    VirtualService,
    DestinationRule,
    ServiceEntry,
    WorkloadEntry,
    Telemetry,
}

/// What an `apiVersion` and a `kind` stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup {
    /// A kind that Weft reads.
    Known(Kind),
    /// Such a kind, in a version that Weft does not know.
    UnknownVersion(Kind),
    /// A kind of a group whose configuration a mesh reads, and Weft does not (yet).
    NotImplemented,
    /// Nothing that concerns a mesh, such as a Deployment.
    Foreign,
}

/// The group of Gateway API.
pub const GATEWAY_GROUP: &str = "gateway.networking.k8s.io";
/// Gateway API's kinds that may still change.
const GATEWAY_EXPERIMENTS: &str = "gateway.networking.x-k8s.io";
/// The group of Istio's routes, rules and entries.
pub const NETWORKING_GROUP: &str = "networking.istio.io";
const TELEMETRY_GROUP: &str = "telemetry.istio.io";

/// Groups whose every object is configuration of a mesh.
const MESH_GROUPS: &[&str] = &[
    "security.istio.io",
    NETWORKING_GROUP,
    TELEMETRY_GROUP,
    "extensions.istio.io",
    GATEWAY_GROUP,
    GATEWAY_EXPERIMENTS,
    "weft.dev",
];

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 25] = [
        Self::Namespace,
        Self::Node,
        Self::Pod,
        Self::Service,
        Self::EndpointSlice,
        Self::ServiceAccount,
        Self::Secret,
        Self::ConfigMap,
        Self::NetworkPolicy,
        Self::AuthorizationPolicy,
        Self::PeerAuthentication,
        Self::Gateway,
        Self::GatewayClass,
        Self::HttpRoute,
        Self::GrpcRoute,
        Self::TcpRoute,
        Self::TlsRoute,
        Self::ReferenceGrant,
        Self::BackendTlsPolicy,
        Self::BackendTrafficPolicy,
        Self::VirtualService,
        Self::DestinationRule,
        Self::ServiceEntry,
        Self::WorkloadEntry,
        Self::Telemetry,
    ];

    /// The name as manifests write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Namespace => "Namespace",
            Self::Node => "Node",
            Self::Pod => "Pod",
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::ServiceAccount => "ServiceAccount",
            Self::Secret => "Secret",
            Self::ConfigMap => "ConfigMap",
            Self::NetworkPolicy => "NetworkPolicy",
            Self::AuthorizationPolicy => "AuthorizationPolicy",
            Self::PeerAuthentication => "PeerAuthentication",
            Self::Gateway => "Gateway",
            Self::GatewayClass => "GatewayClass",
            Self::HttpRoute => "HTTPRoute",
            Self::GrpcRoute => "GRPCRoute",
            Self::TcpRoute => "TCPRoute",
            Self::TlsRoute => "TLSRoute",
            Self::ReferenceGrant => "ReferenceGrant",
            Self::BackendTlsPolicy => "BackendTLSPolicy",
            Self::BackendTrafficPolicy => "XBackendTrafficPolicy",
            Self::VirtualService => "VirtualService",
            Self::DestinationRule => "DestinationRule",
            Self::ServiceEntry => "ServiceEntry",
            Self::WorkloadEntry => "WorkloadEntry",
            Self::Telemetry => "Telemetry",
        }
    }

    /// The API group; empty for the core group.
    pub const fn group(self) -> &'static str {
        match self {
            Self::Namespace
            | Self::Node
            | Self::Pod
            | Self::Service
            | Self::ServiceAccount
            | Self::Secret
            | Self::ConfigMap => "",
            Self::EndpointSlice => "discovery.k8s.io",
            Self::NetworkPolicy => "networking.k8s.io",
            Self::AuthorizationPolicy | Self::PeerAuthentication => "security.istio.io",
            Self::Gateway
            | Self::GatewayClass
            | Self::HttpRoute
            | Self::GrpcRoute
            | Self::TcpRoute
            | Self::TlsRoute
            | Self::ReferenceGrant
            | Self::BackendTlsPolicy => GATEWAY_GROUP,
            Self::BackendTrafficPolicy => GATEWAY_EXPERIMENTS,
            Self::VirtualService | Self::DestinationRule | Self::ServiceEntry | Self::WorkloadEntry => {
                NETWORKING_GROUP
            }
            Self::Telemetry => TELEMETRY_GROUP,
        }
    }

    /// The versions of the group that are read.
    pub const fn versions(self) -> &'static [&'static str] {
        match self {
            Self::AuthorizationPolicy | Self::PeerAuthentication => &["v1", "v1beta1"],
            Self::Gateway | Self::GatewayClass | Self::HttpRoute | Self::ReferenceGrant => &["v1", "v1beta1"],
            Self::TcpRoute => &["v1", "v1alpha2"],
            Self::TlsRoute => &["v1", "v1alpha3", "v1alpha2"],
            Self::BackendTlsPolicy => &["v1", "v1alpha3"],
            Self::BackendTrafficPolicy => &["v1alpha1"],
            Self::VirtualService | Self::DestinationRule | Self::ServiceEntry | Self::WorkloadEntry => {
                &["v1", "v1beta1", "v1alpha3"]
            }
            Self::Telemetry => &["v1", "v1alpha1"],
            Self::Namespace
            | Self::Node
            | Self::Pod
            | Self::Service
            | Self::EndpointSlice
            | Self::ServiceAccount
            | Self::Secret
            | Self::ConfigMap
            | Self::NetworkPolicy
            | Self::GrpcRoute => &["v1"],
        }
    }

    /// True if its objects live in a namespace.
    pub const fn is_namespaced(self) -> bool {
        !matches!(self, Self::Namespace | Self::Node | Self::GatewayClass)
    }

    /// True if an object that cannot be understood has to deny.
    pub const fn is_policy(self) -> bool {
        matches!(self, Self::AuthorizationPolicy | Self::PeerAuthentication)
    }

    /// Finds the kind that a manifest names.
    pub fn of(api_version: &str, kind: &str) -> Lookup {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let known = Self::ALL.into_iter().find(|one| one.group() == group && one.name() == kind);
        match known {
            Some(known) if known.versions().contains(&version) => Lookup::Known(known),
            Some(known) => Lookup::UnknownVersion(known),
            None if MESH_GROUPS.contains(&group) => Lookup::NotImplemented,
            None => Lookup::Foreign,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What tells an object from all others.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace; empty for kinds without.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

impl ObjectKey {
    /// Puts the three together.
    pub fn new(kind: Kind, namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self { kind, namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, namespace, name } = self;
        if namespace.is_empty() { write!(f, "{kind} {name}") } else { write!(f, "{kind} {namespace}/{name}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_groups_decide_the_kind() {
        for (case, api_version, kind, want) in [
            ("core", "v1", "Pod", Lookup::Known(Kind::Pod)),
            ("group", "discovery.k8s.io/v1", "EndpointSlice", Lookup::Known(Kind::EndpointSlice)),
            ("older policy", "security.istio.io/v1beta1", "PeerAuthentication", {
                Lookup::Known(Kind::PeerAuthentication)
            }),
            ("unknown version", "security.istio.io/v9", "AuthorizationPolicy", {
                Lookup::UnknownVersion(Kind::AuthorizationPolicy)
            }),
            ("wrong group", "v1", "NetworkPolicy", Lookup::Foreign),
            ("alpha", "networking.istio.io/v1alpha3", "VirtualService", Lookup::Known(Kind::VirtualService)),
            ("two of one name", "networking.istio.io/v1", "Gateway", Lookup::NotImplemented),
            ("acronym", "gateway.networking.k8s.io/v1", "HTTPRoute", Lookup::Known(Kind::HttpRoute)),
            ("experiment", "gateway.networking.x-k8s.io/v1alpha1", "XBackendTrafficPolicy", {
                Lookup::Known(Kind::BackendTrafficPolicy)
            }),
            ("experiment that is not read", "gateway.networking.x-k8s.io/v1alpha1", "XMesh", {
                Lookup::NotImplemented
            }),
            ("mesh group", "networking.istio.io/v1", "Sidecar", Lookup::NotImplemented),
            ("foreign", "apps/v1", "Deployment", Lookup::Foreign),
        ] {
            assert_eq!(Kind::of(api_version, kind), want, "{case}");
        }
    }
}
