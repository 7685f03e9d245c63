//! Whose certificate a caller may have: the rule that keeps a stolen node from speaking for the whole mesh.

use std::sync::Arc;

use weft_core::identity::{BadIdentity, Identity};
use weft_core::names::NodeName;

use crate::review::{BoundPod, Caller, ServiceAccount};

/// The one service account that may ask for identities of pods, and the mesh's trust domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeProxyAccount {
    /// The domain of every identity that is granted.
    pub trust_domain: Arc<str>,
    /// The node proxies' service account.
    pub account: ServiceAccount,
}

impl NodeProxyAccount {
    /// The account that Weft's manifests use, `weft-system/weft-node-proxy`.
    pub fn default_in(trust_domain: impl Into<Arc<str>>) -> Self {
        let account = ServiceAccount::new("weft-system", "weft-node-proxy");
        Self { trust_domain: trust_domain.into(), account }
    }
}

/// Where a pod is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PodPlace {
    /// It is alive on this node.
    Running(NodeName),
    /// It is no object of the cluster: the host itself runs it, as it runs node proxies where there is no
    /// Kubernetes. Then the node that the token names is believed, since whoever issues such tokens vouches
    /// for it. A view of a Kubernetes API never answers this.
    HostManaged,
    /// There is no pod of this namespace, name and uid, or it has ended.
    Gone,
}

/// What the rule has to know of the cluster's pods: one consistent moment of it.
pub trait PodView {
    /// Where the pod of exactly this namespace, name and uid is.
    fn node_of(&self, pod: &BoundPod) -> PodPlace;
    /// Whether an enrolled pod with this identity runs on the node.
    fn has_enrolled_pod(&self, node: &NodeName, identity: &Identity) -> bool;
}

/// Proof that someone may have a certificate for an identity; [`crate::Authority::sign`] asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    identity: Identity,
    basis: Basis,
}

/// Why a certificate was granted; the access log of the authority says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Basis {
    /// It is the caller's own identity.
    Own,
    /// A node proxy asked for a pod of its node.
    PodOnNode(NodeName),
    /// No caller was asked: see [`Granted::without_a_caller`].
    NoCaller,
}

impl Granted {
    /// Whose certificate it may be.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Why.
    pub fn basis(&self) -> &Basis {
        &self.basis
    }

    /// Grants an identity without the rule: for the control plane's own certificate and for tests. Never with
    /// an identity that came over the network.
    pub fn without_a_caller(identity: Identity) -> Self {
        Self { identity, basis: Basis::NoCaller }
    }
}

/// Why a caller does not get the certificate. The fault is the caller's; only [`Refusal::may_pass_later`] tells
/// when asking again may help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The identity belongs to another mesh.
    #[error("{wanted} is not of the trust domain that this authority signs for")]
    ForeignTrustDomain {
        /// What was asked for.
        wanted: Identity,
    },
    /// The caller's service account makes no identity.
    #[error("the caller's service account makes no identity")]
    Account(#[source] BadIdentity),
    /// Someone who is not the node proxy asked for an identity that is not its own.
    #[error("{account} may ask for its own identity only and asked for {wanted}")]
    NotOwn {
        /// Who asked.
        account: ServiceAccount,
        /// What was asked for.
        wanted: Identity,
    },
    /// The node proxy's token is not bound to a pod, so that it would outlive the node proxy.
    #[error("the token of the node proxy is not bound to a pod")]
    NotBoundToPod,
    /// The pod that the token is bound to has ended.
    #[error("the pod that the token is bound to is gone")]
    PodGone,
    /// The host runs the pod and the token does not say on which node.
    #[error("neither the token nor the cluster says on which node the caller runs")]
    NodeUnknown,
    /// The token names another node than the one where its pod runs.
    #[error("the token names the node {claimed} and its pod runs on {actual}")]
    NodeDisagrees {
        /// The token's word.
        claimed: NodeName,
        /// The cluster's word.
        actual: NodeName,
    },
    /// No enrolled pod of that identity runs on the caller's node.
    #[error("no enrolled pod of {wanted} runs on {node}")]
    NoSuchPod {
        /// The caller's node.
        node: NodeName,
        /// What was asked for.
        wanted: Identity,
    },
}

impl Refusal {
    /// Whether the same request may be granted in a moment: a pod that has just been enrolled may not have
    /// reached this replica yet.
    pub fn may_pass_later(&self) -> bool {
        match self {
            Self::PodGone | Self::NoSuchPod { .. } => true,
            Self::ForeignTrustDomain { .. }
            | Self::Account(_)
            | Self::NotOwn { .. }
            | Self::NotBoundToPod
            | Self::NodeUnknown
            | Self::NodeDisagrees { .. } => false,
        }
    }
}

/// Decides whether `caller` may have a certificate for `wanted`. Anyone gets its own identity. Only the node
/// proxy's account gets another one, with a token bound to a pod that is alive, for an enrolled pod that runs
/// on that pod's node. Pure: no clock, no I/O.
///
/// # Errors
/// As [`Refusal`] says.
pub fn may_impersonate(
    node_proxy: &NodeProxyAccount,
    caller: &Caller,
    wanted: &Identity,
    view: &dyn PodView,
) -> Result<Granted, Refusal> {
    if wanted.trust_domain() != node_proxy.trust_domain.as_ref() {
        return Err(Refusal::ForeignTrustDomain { wanted: wanted.clone() });
    }
    let ServiceAccount { namespace, name } = &caller.service_account;
    let own = Identity::new(node_proxy.trust_domain.clone(), namespace.clone(), name.clone())
        .map_err(Refusal::Account)?;
    if *wanted == own {
        return Ok(Granted { identity: own, basis: Basis::Own });
    }
    if caller.service_account != node_proxy.account {
        let account = caller.service_account.clone();
        return Err(Refusal::NotOwn { account, wanted: wanted.clone() });
    }
    let node = node_of(caller, view)?;
    if !view.has_enrolled_pod(&node, wanted) {
        return Err(Refusal::NoSuchPod { node, wanted: wanted.clone() });
    }
    Ok(Granted { identity: wanted.clone(), basis: Basis::PodOnNode(node) })
}

/// The node that a node proxy may speak for.
fn node_of(caller: &Caller, view: &dyn PodView) -> Result<NodeName, Refusal> {
    let pod = caller.pod.as_ref().ok_or(Refusal::NotBoundToPod)?;
    match (view.node_of(pod), &caller.node) {
        (PodPlace::Running(actual), Some(claimed)) if actual != *claimed => {
            Err(Refusal::NodeDisagrees { claimed: claimed.clone(), actual })
        }
        (PodPlace::Running(actual), _) => Ok(actual),
        (PodPlace::HostManaged, Some(claimed)) => Ok(claimed.clone()),
        (PodPlace::HostManaged, None) => Err(Refusal::NodeUnknown),
        (PodPlace::Gone, _) => Err(Refusal::PodGone),
    }
}

#[cfg(test)]
#[path = "grant_tests.rs"]
mod tests;
