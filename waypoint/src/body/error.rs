//! Why a body breaks off.

use std::error::Error;
use std::io;

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

/// How the body of a request broke off on its client's side. It says nothing of the backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Cut {
    /// No more of it came in time.
    #[error("no more of the request's body came")]
    Late,
    /// The client broke it off, or what it sent is no body.
    #[error("the request's body broke off, or is none")]
    Off,
}

impl Cut {
    /// As it was met while reading.
    pub(super) fn of(error: &hyper::Error) -> Self {
        let mut next: Option<&(dyn Error + 'static)> = Some(error);
        while let Some(error) = next {
            if error.downcast_ref::<io::Error>().is_some_and(|one| one.kind() == io::ErrorKind::TimedOut) {
                return Self::Late;
            }
            next = error.source();
        }
        Self::Off
    }

    /// The status of HTTP for it.
    pub(crate) fn status(self) -> u16 {
        match self {
            Self::Late => 408,
            Self::Off => 400,
        }
    }
}
