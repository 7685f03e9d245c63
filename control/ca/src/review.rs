//! Who a caller is, from the token that it shows. The interface that Kubernetes' TokenReview implements in a
//! cluster, and [`crate::LocalTokens`] without one.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use weft_core::names::NodeName;

/// A Kubernetes service account.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServiceAccount {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

impl ServiceAccount {
    /// Puts the two together.
    pub fn new(namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ServiceAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// The pod that a token is bound to. The token dies with it; the uid tells it from a later pod of that name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BoundPod {
    /// Its namespace, which is the service account's.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Its uid.
    pub uid: Arc<str>,
}

/// A caller whose token has been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Whose token it is.
    pub service_account: ServiceAccount,
    /// The pod that the token is bound to, if it is.
    pub pod: Option<BoundPod>,
    /// The node that the token names, if it does. Kubernetes writes it into the tokens of pods since 1.29.
    pub node: Option<NodeName>,
}

/// Why a token does not say who the caller is. [`ReviewError::fault`] says whose doing it is.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    /// Not a token of the expected shape.
    #[error("the token is malformed")]
    Malformed,
    /// Signed with another key, or changed after it was signed.
    #[error("the signature of the token is wrong")]
    BadSignature,
    /// The token was issued by someone else.
    #[error("the token is from another issuer")]
    WrongIssuer,
    /// The token is meant for someone else.
    #[error("the token is for another audience")]
    WrongAudience,
    /// The token's time is over.
    #[error("the token has expired")]
    Expired,
    /// The token's time has not come; also what a clock that runs late shows.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// The token is valid and not a service account's, or contradicts itself.
    #[error("the token does not name one service account")]
    NotAServiceAccount,
    /// Whoever can tell was not there to be asked.
    #[error("asking for the review of a token")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
}

/// Whose doing a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The caller's: trying again with the same token does not help.
    Caller,
    /// Ours: trying again later may help.
    Server,
}

impl ReviewError {
    /// Whose doing it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Malformed
            | Self::BadSignature
            | Self::WrongIssuer
            | Self::WrongAudience
            | Self::Expired
            | Self::NotYetValid
            | Self::NotAServiceAccount => Fault::Caller,
            Self::Unavailable(_) => Fault::Server,
        }
    }
}

/// The answer of a review, once it is there.
pub type Reviewing<'a> = Pin<Box<dyn Future<Output = Result<Caller, ReviewError>> + Send + 'a>>;

/// Tells who a caller is. Dropping the future abandons the question.
pub trait TokenReview: Send + Sync + fmt::Debug {
    /// Checks a bearer token that must be meant for `audience` (`istio-ca`).
    fn review<'a>(&'a self, token: &'a str, audience: &'a str) -> Reviewing<'a>;
}
