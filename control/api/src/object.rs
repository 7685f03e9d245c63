//! One object of any kind that Weft reads.

use crate::authorization_policy::AuthorizationPolicy;
use crate::gateway_api::backend_tls_policy::BackendTlsPolicy;
use crate::gateway_api::backend_traffic_policy::BackendTrafficPolicy;
use crate::gateway_api::gateway::Gateway;
use crate::gateway_api::gateway_class::GatewayClass;
use crate::gateway_api::grpc_route::GrpcRoute;
use crate::gateway_api::http_route::HttpRoute;
use crate::gateway_api::reference_grant::ReferenceGrant;
use crate::gateway_api::stream_route::TcpRoute;
use crate::gateway_api::stream_route::TlsRoute;
use crate::istio::destination_rule::DestinationRule;
use crate::istio::service_entry::ServiceEntry;
use crate::istio::telemetry::Telemetry;
use crate::istio::virtual_service::VirtualService;
use crate::istio::workload_entry::WorkloadEntry;
use crate::kind::{Kind, ObjectKey};
use crate::peer_authentication::PeerAuthentication;
use crate::secret::{ConfigMap, Secret};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// One object.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the variants are the kinds")]
pub enum Object {
    Namespace(Box<Namespace>),
    Node(Box<Node>),
    Pod(Box<Pod>),
    Service(Box<Service>),
    EndpointSlice(Box<EndpointSlice>),
    ServiceAccount(Box<ServiceAccount>),
    Secret(Box<Secret>),
    ConfigMap(Box<ConfigMap>),
    NetworkPolicy(Box<NetworkPolicy>),
    AuthorizationPolicy(Box<AuthorizationPolicy>),
    PeerAuthentication(Box<PeerAuthentication>),
    Gateway(Box<Gateway>),
    GatewayClass(Box<GatewayClass>),
    HttpRoute(Box<HttpRoute>),
    GrpcRoute(Box<GrpcRoute>),
    TcpRoute(Box<TcpRoute>),
    TlsRoute(Box<TlsRoute>),
    ReferenceGrant(Box<ReferenceGrant>),
    BackendTlsPolicy(Box<BackendTlsPolicy>),
    BackendTrafficPolicy(Box<BackendTrafficPolicy>),
    VirtualService(Box<VirtualService>),
    DestinationRule(Box<DestinationRule>),
    ServiceEntry(Box<ServiceEntry>),
    WorkloadEntry(Box<WorkloadEntry>),
    Telemetry(Box<Telemetry>),
}

/// The namespace of an object that names none.
pub const DEFAULT_NAMESPACE: &str = "default";

impl Object {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Namespace(_) => Kind::Namespace,
            Self::Node(_) => Kind::Node,
            Self::Pod(_) => Kind::Pod,
            Self::Service(_) => Kind::Service,
            Self::EndpointSlice(_) => Kind::EndpointSlice,
            Self::ServiceAccount(_) => Kind::ServiceAccount,
            Self::Secret(_) => Kind::Secret,
            Self::ConfigMap(_) => Kind::ConfigMap,
            Self::NetworkPolicy(_) => Kind::NetworkPolicy,
            Self::AuthorizationPolicy(_) => Kind::AuthorizationPolicy,
            Self::PeerAuthentication(_) => Kind::PeerAuthentication,
            Self::Gateway(_) => Kind::Gateway,
            Self::GatewayClass(_) => Kind::GatewayClass,
            Self::HttpRoute(_) => Kind::HttpRoute,
            Self::GrpcRoute(_) => Kind::GrpcRoute,
            Self::TcpRoute(_) => Kind::TcpRoute,
            Self::TlsRoute(_) => Kind::TlsRoute,
            Self::ReferenceGrant(_) => Kind::ReferenceGrant,
            Self::BackendTlsPolicy(_) => Kind::BackendTlsPolicy,
            Self::BackendTrafficPolicy(_) => Kind::BackendTrafficPolicy,
            Self::VirtualService(_) => Kind::VirtualService,
            Self::DestinationRule(_) => Kind::DestinationRule,
            Self::ServiceEntry(_) => Kind::ServiceEntry,
            Self::WorkloadEntry(_) => Kind::WorkloadEntry,
            Self::Telemetry(_) => Kind::Telemetry,
        }
    }

    /// Its metadata.
    pub fn metadata(&self) -> &ObjectMeta {
        match self {
            Self::Namespace(one) => &one.metadata,
            Self::Node(one) => &one.metadata,
            Self::Pod(one) => &one.metadata,
            Self::Service(one) => &one.metadata,
            Self::EndpointSlice(one) => &one.metadata,
            Self::ServiceAccount(one) => &one.metadata,
            Self::Secret(one) => &one.metadata,
            Self::ConfigMap(one) => &one.metadata,
            Self::NetworkPolicy(one) => &one.metadata,
            Self::AuthorizationPolicy(one) => &one.metadata,
            Self::PeerAuthentication(one) => &one.metadata,
            Self::Gateway(one) => &one.metadata,
            Self::GatewayClass(one) => &one.metadata,
            Self::HttpRoute(one) => &one.metadata,
            Self::GrpcRoute(one) => &one.metadata,
            Self::TcpRoute(one) => &one.metadata,
            Self::TlsRoute(one) => &one.metadata,
            Self::ReferenceGrant(one) => &one.metadata,
            Self::BackendTlsPolicy(one) => &one.metadata,
            Self::BackendTrafficPolicy(one) => &one.metadata,
            Self::VirtualService(one) => &one.metadata,
            Self::DestinationRule(one) => &one.metadata,
            Self::ServiceEntry(one) => &one.metadata,
            Self::WorkloadEntry(one) => &one.metadata,
            Self::Telemetry(one) => &one.metadata,
        }
    }

    /// The group and version that it was written in; of Kubernetes' own kinds there is one each.
    pub fn api_version(&self) -> &str {
        match self {
            Self::Namespace(_)
            | Self::Node(_)
            | Self::Pod(_)
            | Self::Service(_)
            | Self::ServiceAccount(_)
            | Self::Secret(_)
            | Self::ConfigMap(_) => "v1",
            Self::EndpointSlice(_) => "discovery.k8s.io/v1",
            Self::NetworkPolicy(_) => "networking.k8s.io/v1",
            Self::AuthorizationPolicy(one) => &one.api_version,
            Self::PeerAuthentication(one) => &one.api_version,
            Self::Gateway(one) => &one.api_version,
            Self::GatewayClass(one) => &one.api_version,
            Self::HttpRoute(one) => &one.api_version,
            Self::GrpcRoute(one) => &one.api_version,
            Self::TcpRoute(one) => &one.api_version,
            Self::TlsRoute(one) => &one.api_version,
            Self::ReferenceGrant(one) => &one.api_version,
            Self::BackendTlsPolicy(one) => &one.api_version,
            Self::BackendTrafficPolicy(one) => &one.api_version,
            Self::VirtualService(one) => &one.api_version,
            Self::DestinationRule(one) => &one.api_version,
            Self::ServiceEntry(one) => &one.api_version,
            Self::WorkloadEntry(one) => &one.api_version,
            Self::Telemetry(one) => &one.api_version,
        }
    }

    /// Its key.
    pub fn key(&self) -> ObjectKey {
        let (kind, metadata) = (self.kind(), self.metadata());
        let namespace = match metadata.namespace.as_deref() {
            _ if !kind.is_namespaced() => "",
            None | Some("") => DEFAULT_NAMESPACE,
            Some(namespace) => namespace,
        };
        ObjectKey::new(kind, namespace, metadata.name.as_deref().unwrap_or_default())
    }
}
