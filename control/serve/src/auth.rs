//! Who a caller is: the token of a call, and what follows from it.

use std::sync::Arc;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};
use weft_control_ca::review::Fault;
use weft_control_ca::token::AUDIENCE;
use weft_control_ca::{PodPlace, PodView, ServiceAccount, TokenReview};
use weft_core::names::{GatewayName, NodeName};

pub use weft_control_ca::Caller;

/// What the mesh knows of waypoints' instances.
pub trait WaypointView: Send + Sync {
    /// The waypoint whose instance a living pod is; `None` if it is no instance.
    fn instance(&self, namespace: &str, pod: &str) -> Option<Instance>;
}

/// An instance of a waypoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// The waypoint's Gateway.
    pub gateway: GatewayName,
    /// Who the pod is.
    pub service_account: ServiceAccount,
}

/// Longest token that is looked at, in bytes. Kubernetes' are some 1200.
const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// Checks callers.
#[derive(Clone)]
pub struct Auth {
    tokens: Arc<dyn TokenReview>,
    pods: Arc<dyn PodView + Send + Sync>,
    waypoints: Arc<dyn WaypointView>,
    /// The account whose pods may ask what an agent asks.
    agent: ServiceAccount,
}

impl Auth {
    /// Checks tokens with `tokens`, the pods that they are bound to with `pods`, and of whom waypoints are instances with
    /// `waypoints`; `agent` is the agents' service account.
    pub fn new(
        tokens: Arc<dyn TokenReview>,
        pods: Arc<dyn PodView + Send + Sync>,
        waypoints: Arc<dyn WaypointView>,
        agent: ServiceAccount,
    ) -> Self {
        Self { tokens, pods, waypoints, agent }
    }

    pub(crate) fn pods(&self) -> &dyn PodView {
        &*self.pods
    }

    /// Who shows a token.
    pub(crate) async fn caller(&self, token: &Token) -> Result<Caller, Status> {
        self.tokens.review(&token.0, AUDIENCE).await.map_err(|error| match error.fault() {
            Fault::Caller => Status::unauthenticated(error.to_string()),
            Fault::Server => {
                tracing::warn!(%error, "cannot review a token");
                Status::unavailable("tokens cannot be reviewed at present")
            }
        })
    }

    /// The node for which a caller is the agent.
    pub(crate) fn agent_node(&self, caller: &Caller) -> Result<NodeName, Status> {
        let refuse = |why: &str| Err(Status::new(Code::PermissionDenied, why));
        if caller.service_account != self.agent {
            return refuse("only the agents' service account may act as an agent");
        }
        let Some(pod) = &caller.pod else {
            return refuse("the token of the agent is not bound to a pod");
        };
        match (self.pods.node_of(pod), &caller.node) {
            (PodPlace::Running(actual), Some(claimed)) if actual != *claimed => {
                refuse("the token names another node than the one where its pod runs")
            }
            (PodPlace::Running(node), _) => Ok(node),
            (PodPlace::HostManaged, Some(node)) => Ok(node.clone()),
            (PodPlace::HostManaged, None) => refuse("nothing says on which node the agent runs"),
            (PodPlace::Gone, _) => {
                Err(Status::failed_precondition("the pod that the token is bound to is gone"))
            }
        }
    }
}

impl Auth {
    /// The waypoint for which a caller speaks that says it is this pod.
    pub(crate) fn waypoint(
        &self,
        caller: &Caller,
        namespace: &str,
        pod: &str,
    ) -> Result<GatewayName, Status> {
        let refuse = |why: &str| Err(Status::new(Code::PermissionDenied, why));
        if let Some(bound) = &caller.pod {
            if (&*bound.namespace, &*bound.name) != (namespace, pod) {
                return refuse("the token is bound to another pod than the one that the node's id names");
            }
            if self.pods.node_of(bound) == PodPlace::Gone {
                return Err(Status::failed_precondition("the pod that the token is bound to is gone"));
            }
        }
        let Some(instance) = self.waypoints.instance(namespace, pod) else {
            return Err(Status::failed_precondition(format!(
                "{namespace}/{pod} is no instance of a waypoint: no living pod of that name has the label \
                 gateway.networking.k8s.io/gateway-name with the name of a waypoint's Gateway"
            )));
        };
        if instance.service_account != caller.service_account {
            return refuse("the token is not of the service account of the pod that the node's id names");
        }
        Ok(instance.gateway)
    }
}

/// A bearer token that has not been checked.
pub(crate) struct Token(String);

impl Token {
    pub(crate) fn of(metadata: &MetadataMap) -> Result<Self, Status> {
        let missing = || Status::unauthenticated("a bearer token is missing");
        let header = metadata.get("authorization").ok_or_else(missing)?;
        let text = header.to_str().map_err(|_| missing())?;
        let (scheme, token) = text.split_once(' ').ok_or_else(missing)?;
        if !scheme.eq_ignore_ascii_case("bearer") || token.len() > TOKEN_BYTES_MAX {
            return Err(missing());
        }
        Ok(Self(token.trim().to_owned()))
    }
}
