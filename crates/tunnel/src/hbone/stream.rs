//! One connection inside an HBONE connection.

use super::chunk::read_chunk;
use super::connection::Shared;
use super::request::{refusal_of, status_of};
use crate::end::{Carried, End, Refused};
use crate::socket::Socket;
use bytes::{Buf as _, Bytes};
use h2::client::ResponseFuture;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{Response, StatusCode};
use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

/// A stream. Dropped before its end, it resets the other side (h2 sends CANCEL for a stream that nobody holds).
pub struct HboneStream {
    shared: Rc<Shared>,
    receiving: Receiving,
    sending: Sending,
    answered: Answered,
    /// Received, and not yet written to the application.
    waiting: Bytes,
}

enum Receiving {
    /// The server has not answered.
    Answer(ResponseFuture),
    Data(RecvStream),
    Finished,
}

enum Sending {
    /// This server has not answered.
    Answer(SendResponse<Bytes>),
    Data(SendStream<Bytes>),
    Finished(SendStream<Bytes>),
    /// Refused, or the peer was gone before the answer.
    Over,
}

/// Whether the server has answered: until then a stream that is lost may be tried elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answered {
    NotYet,
    Taken,
}

/// Whether the application still sends.
#[derive(PartialEq, Eq)]
enum Reading {
    Open,
    Finished,
}

impl HboneStream {
    pub(super) fn client(shared: Rc<Shared>, answer: ResponseFuture, stream: SendStream<Bytes>) -> Self {
        Self::new(shared, Receiving::Answer(answer), Sending::Data(stream))
    }

    pub(super) fn server(shared: Rc<Shared>, answer: SendResponse<Bytes>, stream: RecvStream) -> Self {
        Self::new(shared, Receiving::Data(stream), Sending::Answer(answer))
    }

    fn new(shared: Rc<Shared>, receiving: Receiving, sending: Sending) -> Self {
        shared.stream_began();
        Self { shared, receiving, sending, answered: Answered::NotYet, waiting: Bytes::new() }
    }

    /// Refuses a stream that the peer has begun.
    pub fn refuse(mut self, why: Refused) {
        self.answer(status_of(why));
    }

    /// Tells the client that the application has taken the connection.
    pub fn accept(&mut self) {
        self.answer(StatusCode::OK);
    }

    /// Nothing happens on a stream that has been answered, or that is not the server's.
    fn answer(&mut self, status: StatusCode) {
        let Sending::Answer(answer) = &mut self.sending else {
            return;
        };
        let mut response = Response::new(());
        *response.status_mut() = status;
        let taken = status == StatusCode::OK;
        // It fails only if the client is gone already, and the relay learns that from its own calls.
        self.sending = match answer.send_response(response, !taken) {
            Ok(stream) if taken => {
                self.shared.stream_taken();
                Sending::Data(stream)
            }
            Ok(_) | Err(_) => Sending::Over,
        };
        self.answered = Answered::Taken;
    }

    /// Waits until the server has answered.
    ///
    /// # Errors
    /// How the stream ended instead.
    pub async fn opened(&mut self) -> Result<(), End> {
        poll_fn(|cx| self.poll_opened(cx)).await
    }

    fn poll_opened(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        let Receiving::Answer(answer) = &mut self.receiving else {
            return Poll::Ready(Ok(()));
        };
        let response = match ready!(Pin::new(answer).poll(cx)) {
            Ok(response) => response,
            Err(error) => return Poll::Ready(Err(self.ending(&error))),
        };
        if let Some(why) = refusal_of(response.status()) {
            return Poll::Ready(Err(End::Refused(why)));
        }
        self.answered = Answered::Taken;
        self.receiving = Receiving::Data(response.into_body());
        Poll::Ready(Ok(()))
    }

    /// Carries bytes between the application and the peer until both are done, one side resets, or the owner
    /// stops it. On anything but an orderly end the application's socket is reset on close, and so is the peer;
    /// [`End::Unopened`] leaves the application's socket as it was.
    pub async fn relay(mut self, app: Rc<Socket>, carried: &Carried) -> End {
        self.accept();
        let mut reading = Reading::Open;
        let end = poll_fn(|cx| self.poll(cx, &app, carried, &mut reading)).await;
        let sent = carried.from_app() > 0 || reading == Reading::Finished;
        match end {
            End::Closed => return end,
            End::Unopened if !sent => return end,
            _ => {}
        }
        app.reset_on_close();
        self.reset();
        if end == End::Unopened { End::TunnelLost } else { end }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        app: &Socket,
        carried: &Carried,
        reading: &mut Reading,
    ) -> Poll<End> {
        if let Some(stop) = carried.poll_stop(cx.waker()) {
            return Poll::Ready(End::Stopped(stop));
        }
        let received = match self.poll_receive(cx, app, carried) {
            Poll::Ready(Err(end)) => return Poll::Ready(end),
            other => other.is_ready(),
        };
        while *reading == Reading::Open {
            match self.poll_send(cx, app) {
                Poll::Pending => break,
                Poll::Ready(Err(end)) => return Poll::Ready(end),
                Poll::Ready(Ok(0)) => *reading = Reading::Finished,
                Poll::Ready(Ok(bytes)) => carried.add_from_app(bytes),
            }
        }
        if !received {
            return Poll::Pending;
        }
        match &mut self.sending {
            Sending::Finished(_) => Poll::Ready(End::Closed),
            // The peer sends no more, so only this tells of its reset.
            Sending::Data(stream) => match stream.poll_reset(cx) {
                Poll::Pending => Poll::Pending,
                // It has said all, and wants to hear no more (RFC 9113 §8.1): as a process that closes its socket.
                Poll::Ready(Ok(Reason::NO_ERROR)) => Poll::Ready(End::Closed),
                Poll::Ready(Ok(_)) => Poll::Ready(End::PeerReset),
                Poll::Ready(Err(error)) => Poll::Ready(self.ending(&error)),
            },
            Sending::Answer(_) | Sending::Over => Poll::Ready(End::PeerReset),
        }
    }

    /// Ready once the peer is done and the application has all of it.
    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        app: &Socket,
        carried: &Carried,
    ) -> Poll<Result<(), End>> {
        ready!(self.poll_opened(cx))?;
        loop {
            let stream = match &mut self.receiving {
                Receiving::Data(stream) => stream,
                Receiving::Answer(_) | Receiving::Finished => return Poll::Ready(Ok(())),
            };
            if self.waiting.is_empty() {
                match ready!(stream.poll_data(cx)) {
                    Some(Ok(bytes)) => self.waiting = bytes,
                    Some(Err(error)) => return Poll::Ready(Err(self.ending(&error))),
                    None => {
                        app.finish();
                        self.receiving = Receiving::Finished;
                    }
                }
                continue;
            }
            match app.poll_write(cx, &self.waiting) {
                Poll::Pending => {
                    // A reset does not wait for a slow application, nor does what the stream still holds.
                    return self.poll_reset(cx).map(Err);
                }
                Poll::Ready(Err(_)) => return Poll::Ready(Err(End::AppReset)),
                Poll::Ready(Ok(count)) => {
                    self.waiting.advance(count);
                    carried.add_to_app(count);
                    // The peer may send as many more. It fails only for bytes that were never received.
                    let _ = stream.flow_control().release_capacity(count);
                }
            }
        }
    }

    /// Ready if the peer has reset the stream.
    fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        match &mut self.sending {
            Sending::Data(stream) | Sending::Finished(stream) => match ready!(stream.poll_reset(cx)) {
                // What came before it still counts.
                Ok(Reason::NO_ERROR) => Poll::Pending,
                Ok(_) => Poll::Ready(End::PeerReset),
                Err(error) => Poll::Ready(self.ending(&error)),
            },
            Sending::Answer(_) | Sending::Over => Poll::Ready(End::PeerReset),
        }
    }

    /// Reads from the application what the stream's window has room for, or a little more: what h2 keeps is
    /// bounded by one read beyond its own limit. Nothing is reserved beyond one byte while the application is
    /// silent, for it would be taken from the other streams.
    fn poll_send(&mut self, cx: &mut Context<'_>, app: &Socket) -> Poll<Result<usize, End>> {
        let Sending::Data(stream) = &mut self.sending else {
            return Poll::Ready(Err(End::PeerReset));
        };
        while stream.capacity() == 0 {
            stream.reserve_capacity(1);
            match ready!(stream.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(self.ending(&error))),
                None => return self.poll_reset(cx).map(Err),
            }
        }
        let Ok(bytes) = ready!(read_chunk(|space| app.poll_read(cx, space))) else {
            return Poll::Ready(Err(End::AppReset));
        };
        let count = bytes.len();
        match stream.send_data(bytes, count == 0) {
            Ok(()) if count == 0 => {
                if let Sending::Data(stream) = std::mem::replace(&mut self.sending, Sending::Over) {
                    self.sending = Sending::Finished(stream);
                }
                Poll::Ready(Ok(0))
            }
            Ok(()) => Poll::Ready(Ok(count)),
            // It sends only on a stream that is over.
            Err(_) => self.poll_reset(cx).map(Err),
        }
    }

    /// What h2's error means for the stream.
    fn ending(&self, error: &h2::Error) -> End {
        let refused = error.reason() == Some(Reason::REFUSED_STREAM);
        let reset = error.is_reset() && error.is_remote() && !refused;
        match self.answered {
            _ if reset => End::PeerReset,
            Answered::NotYet => End::Unopened,
            Answered::Taken => End::TunnelLost,
        }
    }

    fn reset(&mut self) {
        match &mut self.sending {
            Sending::Answer(answer) => answer.send_reset(Reason::CANCEL),
            Sending::Data(stream) | Sending::Finished(stream) => stream.send_reset(Reason::CANCEL),
            Sending::Over => {}
        }
    }
}

impl Drop for HboneStream {
    fn drop(&mut self) {
        if let Sending::Answer(answer) = &mut self.sending {
            let mut cx = Context::from_waker(Waker::noop());
            if let Poll::Ready(Ok(_)) = answer.poll_reset(&mut cx) {
                self.shared.reset_unanswered();
            }
        }
        self.shared.stream_ended();
    }
}
