//! One connection inside an HBONE connection.

use super::chunk::read_chunk;
use super::request::{refusal_of, status_of};
use super::shared::Shared;
use crate::end::{Broken, Carried, End, Refused};
use crate::socket::Socket;
use crate::watch::Watch;
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
    pub(super) shared: Rc<Shared>,
    pub(super) receiving: Receiving,
    pub(super) sending: Sending,
    answered: Answered,
    /// Received, and not yet written to the application.
    pub(super) waiting: Bytes,
    /// Who waits, if no application's socket is read and written for it.
    pub(super) reader: Option<Waker>,
    pub(super) writer: Option<Waker>,
    pub(super) side: Side,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Server,
}

pub(super) enum Receiving {
    /// The server has not answered.
    Answer(ResponseFuture),
    Data(RecvStream),
    Finished,
    Broken(Broken),
}

pub(super) enum Sending {
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
        Self::new(shared, Side::Client, Receiving::Answer(answer), Sending::Data(stream))
    }

    pub(super) fn server(shared: Rc<Shared>, answer: SendResponse<Bytes>, stream: RecvStream) -> Self {
        Self::new(shared, Side::Server, Receiving::Data(stream), Sending::Answer(answer))
    }

    pub(super) fn new(shared: Rc<Shared>, side: Side, receiving: Receiving, sending: Sending) -> Self {
        shared.stream_began();
        Self {
            shared,
            receiving,
            sending,
            answered: Answered::NotYet,
            waiting: Bytes::new(),
            reader: None,
            writer: None,
            side,
        }
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
        poll_fn(|cx| self.poll_opened(cx)).await.map_err(End::from)
    }

    pub(super) fn poll_opened(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        let answer = match &mut self.receiving {
            Receiving::Answer(answer) => answer,
            Receiving::Data(_) | Receiving::Finished => return Poll::Ready(Ok(())),
            Receiving::Broken(broken) => return Poll::Ready(Err(*broken)),
        };
        let broken = match ready!(Pin::new(answer).poll(cx)) {
            Err(error) => self.breaking(&error),
            Ok(response) => match refusal_of(response.status()) {
                Some(why) => Broken::Refused(why),
                None => {
                    self.answered = Answered::Taken;
                    self.receiving = Receiving::Data(response.into_body());
                    return Poll::Ready(Ok(()));
                }
            },
        };
        Poll::Ready(Err(self.break_off(broken)))
    }

    /// Nothing more is received; neither is h2 asked again.
    fn break_off(&mut self, broken: Broken) -> Broken {
        self.receiving = Receiving::Broken(broken);
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
        broken
    }

    /// Carries bytes between the application and the peer until both are done, one side resets, or the owner
    /// stops it. On anything but an orderly end the application's socket is reset on close, and so is the peer;
    /// [`End::Unopened`] leaves the application's socket as it was.
    pub async fn relay(mut self, app: Rc<Socket>, carried: &Carried) -> End {
        self.accept();
        let mut reading = Reading::Open;
        let mut watch = Watch::over(&app);
        let end = poll_fn(|cx| match self.poll(cx, &app, carried, &mut reading) {
            Poll::Pending if !self.listens(&reading) => watch.poll(cx).map(|()| End::AppReset),
            polled => polled,
        })
        .await;
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
        if let Sending::Finished(_) = self.sending {
            return Poll::Ready(End::Closed);
        }
        // The peer sends no more, so only this tells of its reset.
        self.poll_gone(cx).map(End::from)
    }

    /// Whether the application's next bytes are waited for, so that its reset is heard.
    fn listens(&self, reading: &Reading) -> bool {
        let has_room = matches!(&self.sending, Sending::Data(stream) if stream.capacity() > 0);
        *reading == Reading::Open && has_room
    }

    /// Ready once the peer is done and the application has all of it.
    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        app: &Socket,
        carried: &Carried,
    ) -> Poll<Result<(), End>> {
        loop {
            if let Receiving::Finished = self.receiving {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_waiting(cx))?;
            if self.waiting.is_empty() {
                app.finish();
                return Poll::Ready(Ok(()));
            }
            match app.poll_write(cx, &self.waiting) {
                Poll::Pending => {
                    // A reset does not wait for a slow application, nor does what the stream still holds.
                    return self.poll_reset(cx).map(Err);
                }
                Poll::Ready(Err(_)) => return Poll::Ready(Err(End::AppReset)),
                Poll::Ready(Ok(count)) => {
                    carried.add_to_app(count);
                    self.taken(count);
                }
            }
        }
    }

    /// Ready once bytes wait; if none do then, no more come.
    pub(super) fn poll_waiting(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        ready!(self.poll_opened(cx))?;
        while self.waiting.is_empty() {
            let Receiving::Data(stream) = &mut self.receiving else {
                break;
            };
            match ready!(stream.poll_data(cx)) {
                Some(Ok(bytes)) => self.waiting = bytes,
                Some(Err(error)) => {
                    let broken = self.breaking(&error);
                    return Poll::Ready(Err(self.break_off(broken)));
                }
                None => self.receiving = Receiving::Finished,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// So many of the bytes that waited are with the application: the peer may send as many more. An idle stream keeps
    /// no buffer.
    pub(super) fn taken(&mut self, count: usize) {
        self.waiting.advance(count);
        if self.waiting.is_empty() {
            self.waiting = Bytes::new();
        }
        if let Receiving::Data(stream) = &mut self.receiving {
            // It fails only for bytes that were never received.
            let _ = stream.flow_control().release_capacity(count);
        }
    }

    /// Ready if the peer has reset the stream, whatever for.
    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Broken> {
        match &mut self.sending {
            Sending::Data(stream) | Sending::Finished(stream) => match ready!(stream.poll_reset(cx)) {
                // It has said all, and wants to hear no more (RFC 9113 §8.1): as a process that closes its socket.
                Ok(Reason::NO_ERROR) => Poll::Ready(Broken::Closed),
                Ok(_) => Poll::Ready(Broken::Reset),
                Err(error) => Poll::Ready(self.breaking(&error)),
            },
            Sending::Answer(_) | Sending::Over => Poll::Ready(Broken::Reset),
        }
    }

    /// Ready if the peer has reset the stream, and what came before it does not count any more.
    fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        match ready!(self.poll_gone(cx)) {
            Broken::Closed => Poll::Pending,
            broken => Poll::Ready(broken.into()),
        }
    }

    /// Reads from the application what the stream's window has room for, or a little more: what h2 keeps is
    /// bounded by one read beyond its own limit. Nothing is reserved beyond one byte while the application is
    /// silent, for it would be taken from the other streams.
    fn poll_send(&mut self, cx: &mut Context<'_>, app: &Socket) -> Poll<Result<usize, End>> {
        match ready!(self.poll_window(cx)) {
            Ok(()) => {}
            // What came before it still counts.
            Err(Broken::Closed) => return Poll::Pending,
            Err(broken) => return Poll::Ready(Err(broken.into())),
        }
        let Ok(bytes) = ready!(read_chunk(|space| app.poll_read(cx, space))) else {
            return Poll::Ready(Err(End::AppReset));
        };
        match ready!(self.poll_send_data(cx, bytes)) {
            Ok(count) => Poll::Ready(Ok(count)),
            Err(Broken::Closed) => Poll::Pending,
            Err(broken) => Poll::Ready(Err(broken.into())),
        }
    }

    /// Ready once the stream's window has room.
    pub(super) fn poll_window(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        loop {
            let stream = match &mut self.sending {
                Sending::Data(stream) => stream,
                Sending::Finished(_) => return Poll::Ready(Err(Broken::Closed)),
                Sending::Answer(_) | Sending::Over => return Poll::Ready(Err(Broken::Reset)),
            };
            if stream.capacity() > 0 {
                return Poll::Ready(Ok(()));
            }
            stream.reserve_capacity(1);
            match ready!(stream.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(self.breaking(&error))),
                None => return self.poll_gone(cx).map(Err),
            }
        }
    }

    /// Sends bytes, or the end if there are none. Returns how many.
    pub(super) fn poll_send_data(
        &mut self,
        cx: &mut Context<'_>,
        bytes: Bytes,
    ) -> Poll<Result<usize, Broken>> {
        let count = bytes.len();
        match std::mem::replace(&mut self.sending, Sending::Over) {
            Sending::Data(mut stream) => {
                let sent = stream.send_data(bytes, count == 0).is_ok();
                let is_last = sent && count == 0;
                self.sending = if is_last { Sending::Finished(stream) } else { Sending::Data(stream) };
                if sent {
                    return Poll::Ready(Ok(count));
                }
            }
            other => self.sending = other,
        }
        // It sends only on a stream that is over.
        self.poll_gone(cx).map(Err)
    }

    /// What h2's error means for the stream.
    fn breaking(&self, error: &h2::Error) -> Broken {
        let refused = error.reason() == Some(Reason::REFUSED_STREAM);
        let reset = error.is_reset() && error.is_remote() && !refused;
        match self.answered {
            _ if reset => Broken::Reset,
            Answered::NotYet => Broken::Unopened,
            Answered::Taken => Broken::Lost,
        }
    }

    pub(super) fn reset(&mut self) {
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
