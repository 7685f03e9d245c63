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

impl BodyError {
    /// Whether it was a backend that broke its response off, or its connection that broke, and not this side that had no more
    /// use for it.
    pub(crate) fn is_backends(&self) -> bool {
        let Self::Sender(error) = self else { return false };
        match http2(error) {
            Some(error) => error.is_remote() || error.is_io(),
            None => error.is_incomplete_message() || causes(error).any(|cause| cause.is::<io::Error>()),
        }
    }
}

/// What HTTP/2 says of an error. hyper shows it nowhere but as a cause.
pub(crate) fn http2(error: &hyper::Error) -> Option<&h2::Error> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

/// The error, and what is behind it.
fn causes(error: &hyper::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    fn behind<'a>(error: &&'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
        (**error).source()
    }
    std::iter::successors(Some(error as &(dyn Error + 'static)), behind)
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
        let is_late = |io: &io::Error| io.kind() == io::ErrorKind::TimedOut;
        if causes(error).any(|cause| cause.downcast_ref().is_some_and(is_late)) {
            Self::Late
        } else {
            Self::Off
        }
    }

    /// The status of HTTP for it.
    pub(crate) fn status(self) -> u16 {
        match self {
            Self::Late => 408,
            Self::Off => 400,
        }
    }
}
