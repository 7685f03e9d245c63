//! Bodies, as they pass through: never gathered, but for what a second try would need.

mod error;
mod upload;

pub(crate) use error::{BodyError, Cut, http2};
pub(crate) use upload::{Keep, Source};

use crate::streams::Stream;
use bytes::Bytes;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use std::any::Any;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use tokio::time::Sleep;
use upload::{Copied, Upload};
use weft_l7::apply::reply::{Speaks, trailers};
use weft_l7::deadline::{Deadline, Limit};

/// A body on its way.
pub(crate) enum Body {
    /// None.
    Empty,
    /// Made here, all of it.
    Whole(Bytes),
    /// Of a client's request.
    Upload(Upload),
    /// A copy of one, for a mirror.
    Copied(Copied),
    /// Of a backend's response.
    Download(Box<Download>),
}

/// What wants to know how a response's body fares.
pub(crate) trait Follow {
    /// A piece went by.
    fn piece(&mut self, frame: &Frame<Bytes>);
    /// It has come to its end, in order.
    fn done(self: Box<Self>);
    /// It did not, and why.
    fn broken(&mut self, error: &BodyError);
}

/// A backend's response's body, and what lives as long as it.
pub(crate) struct Download {
    incoming: Incoming,
    late: Option<(Pin<Box<Sleep>>, Limit)>,
    speaks: Speaks,
    /// This side has ended it: nothing more comes.
    over: bool,
    /// The client's stream, if it takes it by HTTP/2.
    taker: Option<Rc<Stream>>,
    /// The try that brought it, and the request.
    follow: [Option<Box<dyn Follow>>; 2],
}

impl Body {
    /// A response's body, followed by the try that brought it. At `late` it fails; of gRPC, it ends with a status.
    pub(crate) fn download(
        incoming: Incoming,
        late: Option<Deadline>,
        speaks: Speaks,
        follow: Box<dyn Follow>,
    ) -> Self {
        if incoming.is_end_stream() {
            follow.done();
            return Self::Empty;
        }
        let late = late.map(|late| (Box::pin(tokio::time::sleep_until(late.at.into())), late.limit));
        Self::Download(Box::new(Download {
            incoming,
            late,
            speaks,
            over: false,
            taker: None,
            follow: [Some(follow), None],
        }))
    }

    /// The request follows it too.
    pub(crate) fn followed(mut self, follow: Box<dyn Follow>) -> Self {
        match &mut self {
            Self::Download(download) => download.follow[1] = Some(follow),
            Self::Whole(bytes) => {
                let mut follow = follow;
                follow.piece(&Frame::data(bytes.clone()));
                follow.done();
            }
            Self::Empty => follow.done(),
            // They are of requests, which nobody follows.
            Self::Upload(_) | Self::Copied(_) => {}
        }
        self
    }
}

impl Body {
    /// What was made here for a response to HEAD, which has no content, only a head that tells of it (RFC 9110 §9.3.2). hyper
    /// sees to that in HTTP/1 alone. A backend has sent none.
    pub(crate) fn left_out(self) -> Self {
        match self {
            Self::Whole(_) => Self::Empty,
            other => other,
        }
    }

    /// It goes to the client by this stream of HTTP/2.
    pub(crate) fn taken_by(mut self, stream: Rc<Stream>) -> Self {
        if let Self::Download(download) = &mut self {
            download.taker = Some(stream);
        }
        self
    }
}

impl Body {
    /// Of a request: keeps this until it has gone out, or nobody takes it any more.
    pub(crate) fn keep(&mut self, kept: Rc<dyn Any>) {
        match self {
            Self::Upload(upload) => upload.keep(kept),
            Self::Copied(copied) => copied.keep(kept),
            // They go out with the head, or are no requests'.
            Self::Empty | Self::Whole(_) | Self::Download(_) => {}
        }
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        if bytes.is_empty() { Self::Empty } else { Self::Whole(bytes.into()) }
    }
}

impl Download {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.over {
            return Poll::Ready(None);
        }
        match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                self.follow.iter_mut().flatten().for_each(|one| one.piece(&frame));
                // HTTP/1 knows with the last piece that it was the last: the connection is free at once.
                if self.incoming.is_end_stream() {
                    self.done();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) => {
                self.done();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => self.broken(BodyError::Sender(error)),
            Poll::Pending => match &mut self.late {
                Some((sleep, limit)) => match sleep.as_mut().poll(cx) {
                    Poll::Ready(()) => {
                        let limit = *limit;
                        self.end_late(limit)
                    }
                    Poll::Pending => Poll::Pending,
                },
                None => Poll::Pending,
            },
        }
    }

    /// It has taken too long. A client of gRPC gets its status all the same.
    fn end_late(&mut self, limit: Limit) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let trailers = match self.speaks {
            Speaks::Http => None,
            Speaks::Grpc => Some(Frame::trailers(trailers(limit.status().1, limit.text().as_bytes()))),
        };
        if let Some(trailers) = &trailers {
            self.follow.iter_mut().flatten().for_each(|one| one.piece(trailers));
        }
        let broken = self.broken(BodyError::Late(limit.text()));
        self.over = true;
        trailers.map_or(broken, |trailers| Poll::Ready(Some(Ok(trailers))))
    }

    fn done(&mut self) {
        std::mem::take(&mut self.follow).into_iter().flatten().for_each(Follow::done);
    }

    fn broken(&mut self, error: BodyError) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.follow.iter_mut().flatten().for_each(|one| one.broken(&error));
        self.follow = [None, None];
        Poll::Ready(Some(Err(error)))
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Self::Empty;
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Self::Upload(upload) => upload.poll_frame(cx),
            Self::Copied(copied) => copied.poll_frame(cx),
            Self::Download(download) => {
                let polled = download.poll_frame(cx);
                if let Some(taker) = &download.taker {
                    // hyper asks for the next piece once there is room for this one.
                    taker.offers(matches!(polled, Poll::Ready(Some(Ok(_)))));
                }
                polled
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Upload(upload) => upload.is_end_stream(),
            Self::Copied(_) => false,
            Self::Download(download) => download.over || download.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Upload(upload) => upload.size_hint(),
            Self::Copied(copied) => copied.size_hint(),
            Self::Download(download) => download.incoming.size_hint(),
        }
    }
}
