//! One object of any kind that Weft reads.

use crate::authorization_policy::AuthorizationPolicy;
use crate::kind::{Kind, ObjectKey};
use crate::peer_authentication::PeerAuthentication;
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
    NetworkPolicy(Box<NetworkPolicy>),
    AuthorizationPolicy(Box<AuthorizationPolicy>),
    PeerAuthentication(Box<PeerAuthentication>),
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
            Self::NetworkPolicy(_) => Kind::NetworkPolicy,
            Self::AuthorizationPolicy(_) => Kind::AuthorizationPolicy,
            Self::PeerAuthentication(_) => Kind::PeerAuthentication,
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
            Self::NetworkPolicy(one) => &one.metadata,
            Self::AuthorizationPolicy(one) => &one.metadata,
            Self::PeerAuthentication(one) => &one.metadata,
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
