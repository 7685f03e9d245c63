//! Why a body breaks off.

/// Why a body did not come to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// The side that it comes from broke off.
    #[error("the sender broke off")]
    Sender(#[source] hyper::Error),
    /// A limit was reached.
    #[error("{0}")]
    Late(&'static str),
    /// Another try sends it now.
    #[error("another try sends the body now")]
    Superseded,
    /// A copy that its receiver takes too slowly.
    #[error("the receiver of the copy is too slow")]
    Slow,
}
