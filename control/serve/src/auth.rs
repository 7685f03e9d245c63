//! Who a caller is: the token of a call, and what follows from it.

use std::sync::Arc;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};
use weft_control_ca::review::Fault;
use weft_control_ca::token::AUDIENCE;
use weft_control_ca::{PodPlace, PodView, ServiceAccount, TokenReview};
use weft_core::names::NodeName;

pub use weft_control_ca::Caller;

/// Longest token that is looked at, in bytes. Kubernetes' are some 1200.
const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// Checks callers.
#[derive(Clone)]
pub struct Auth {
    tokens: Arc<dyn TokenReview>,
    pods: Arc<dyn PodView + Send + Sync>,
    /// The account whose pods may ask what an agent asks.
    agent: ServiceAccount,
}

impl Auth {
    /// Checks tokens with `tokens`, and the pods that they are bound to with `pods`; `agent` is the agents'
    /// service account.
    pub fn new(
        tokens: Arc<dyn TokenReview>,
        pods: Arc<dyn PodView + Send + Sync>,
        agent: ServiceAccount,
    ) -> Self {
        Self { tokens, pods, agent }
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
