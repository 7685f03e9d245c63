//! Bodies, as they pass through: never gathered, but for what a second try would need.

use bytes::Bytes;
use hyper::body::{Frame, Incoming, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll};

/// A body on its way.
pub(crate) enum Body {
    /// As it comes from the other side. What is held with it is let go of with its end.
    Passing(Incoming, Option<Box<dyn Held>>),
    /// Made here, all of it.
    Whole(Bytes),
    /// None.
    Empty,
}

/// What lives as long as a body.
pub(crate) trait Held {
    /// The body has come to its end, in order.
    fn done(self: Box<Self>);
}

impl Body {
    /// A text of this side.
    pub(crate) fn text(text: impl Into<Bytes>) -> Self {
        Self::Whole(text.into())
    }
}

impl From<Incoming> for Body {
    fn from(incoming: Incoming) -> Self {
        Self::Passing(incoming, None)
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut *self {
            Self::Passing(incoming, held) => {
                let frame = Pin::new(&mut *incoming).poll_frame(cx);
                let over = match &frame {
                    Poll::Ready(None) => true,
                    Poll::Ready(Some(Ok(_))) => incoming.is_end_stream(),
                    Poll::Ready(Some(Err(_))) | Poll::Pending => false,
                };
                if over && let Some(held) = held.take() {
                    held.done();
                }
                frame
            }
            Self::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Self::Empty;
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Self::Empty => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Passing(incoming, _) => incoming.is_end_stream(),
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Empty => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Passing(incoming, _) => incoming.size_hint(),
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Empty => SizeHint::with_exact(0),
        }
    }
}
