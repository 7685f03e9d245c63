//! One connection inside a mux connection.

use super::connection::Mux;
use super::frame::{DATA_BYTES_MAX, HEADER_BYTES, Kind};
use super::state::State;
use super::stream_state::{Owner, Remote, StreamState};
use crate::end::{Carried, End, Refused};
use crate::record::PAYLOAD_MAX;
use crate::socket::Socket;
use crate::watch::Watch;
use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};

/// A stream. Dropped before its end, it resets the other side.
pub struct MuxStream {
    pub(super) mux: Mux,
    pub(super) state: Rc<RefCell<StreamState>>,
    pub(super) sent: Sent,
    /// Bytes to ask the application for: few, until it has more.
    appetite: usize,
    /// The application's next bytes are waited for, so its reset is heard.
    listens: bool,
}

/// What a request or an answer fits in, mostly: one record.
const QUIET_BYTES: usize = PAYLOAD_MAX - HEADER_BYTES;

/// What this side has said last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// Nothing: a server that has not answered.
    Nothing,
    Open,
    Finished,
    /// Reset or refused: there is no more to say.
    Over,
}

impl MuxStream {
    pub(super) fn client(mux: Mux, state: Rc<RefCell<StreamState>>) -> Self {
        Self { mux, state, sent: Sent::Open, appetite: QUIET_BYTES, listens: false }
    }

    pub(super) fn server(mux: Mux, state: Rc<RefCell<StreamState>>) -> Self {
        Self { mux, state, sent: Sent::Nothing, appetite: QUIET_BYTES, listens: false }
    }

    /// Refuses a stream that the peer has begun.
    pub fn refuse(mut self, why: Refused) {
        self.say(Kind::Refused, &[why.byte()]);
        self.sent = Sent::Over;
    }

    /// Tells the client that the application has taken the connection. Nothing happens on a stream that has been
    /// accepted, or that is not the server's.
    pub fn accept(&mut self) {
        if self.sent == Sent::Nothing {
            self.say(Kind::Opened, &[]);
            self.sent = Sent::Open;
        }
    }

    /// Waits until the server has answered OPEN.
    ///
    /// # Errors
    /// How the stream ended instead.
    pub async fn opened(&mut self) -> Result<(), End> {
        poll_fn(|cx| {
            let mut state = self.state.borrow_mut();
            if state.remote == Remote::Silent {
                state.task = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(state.remote.broken().map_or(Ok(()), |broken| Err(broken.into())))
        })
        .await
    }

    /// Carries bytes between the application and the peer until both are done, one side resets, or the owner
    /// stops it. On anything but an orderly end the application's socket is reset on close, and so is the peer.
    pub async fn relay(mut self, app: Rc<Socket>, carried: &Carried) -> End {
        self.accept();
        {
            let mut state = self.state.borrow_mut();
            state.delivered = carried.to_app_count();
            state.app = Some(app.clone());
        }
        let mut reading = true;
        let mut watch = Watch::over(&app);
        let end = poll_fn(|cx| match self.poll(cx, &app, carried, &mut reading) {
            Poll::Pending if !self.listens => watch.poll(cx).map(|()| End::AppReset),
            polled => polled,
        })
        .await;
        let sent = carried.from_app() > 0 || self.sent != Sent::Open;
        match end {
            End::Unopened if sent => {
                app.reset_on_close();
                End::TunnelLost
            }
            End::Closed | End::Unopened => end,
            _ => {
                app.reset_on_close();
                end
            }
        }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        app: &Socket,
        carried: &Carried,
        reading: &mut bool,
    ) -> Poll<End> {
        if let Some(stop) = carried.poll_stop(cx.waker()) {
            return Poll::Ready(End::Stopped(stop));
        }
        let received = match self.poll_receive(cx, app) {
            Poll::Ready(Err(end)) => return Poll::Ready(end),
            other => other.is_ready(),
        };
        self.listens = false;
        while *reading {
            match self.poll_send(cx, app) {
                Poll::Pending => break,
                Poll::Ready(Err(end)) => return Poll::Ready(end),
                Poll::Ready(Ok(0)) => {
                    *reading = false;
                    self.say(Kind::Fin, &[]);
                    self.sent = Sent::Finished;
                }
                Poll::Ready(Ok(bytes)) => carried.add_from_app(bytes),
            }
        }
        if received && !*reading { Poll::Ready(End::Closed) } else { Poll::Pending }
    }

    /// Ready once the peer is done and the application has all of it.
    fn poll_receive(&mut self, cx: &mut Context<'_>, app: &Socket) -> Poll<Result<(), End>> {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        while !state.waiting.is_empty() {
            match app.poll_write(cx, state.waiting.rest()) {
                Poll::Pending => break,
                Poll::Ready(Err(_)) => return Poll::Ready(Err(End::AppReset)),
                Poll::Ready(Ok(bytes)) => {
                    // The connection's state is not borrowed while a stream's task runs.
                    state.taken(bytes, &mut self.mux.0.state.borrow_mut().outgoing);
                }
            }
        }
        if !state.task.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            state.task = Some(cx.waker().clone());
        }
        match state.remote {
            Remote::Reset | Remote::FinishedReset => Poll::Ready(Err(End::PeerReset)),
            Remote::Refused(why) => Poll::Ready(Err(End::Refused(why))),
            Remote::AppFailed => Poll::Ready(Err(End::AppReset)),
            Remote::Lost => Poll::Ready(Err(End::TunnelLost)),
            Remote::LostUnopened => Poll::Ready(Err(End::Unopened)),
            Remote::Finished if state.waiting.is_empty() => {
                // Once: nothing is delivered behind FIN, so the stream needs the application no more.
                if let Some(app) = state.app.take() {
                    app.finish();
                }
                Poll::Ready(Ok(()))
            }
            Remote::Silent | Remote::Open | Remote::Finished => Poll::Pending,
        }
    }

    /// Reads from the application straight into the batch that goes out next.
    fn poll_send(&mut self, cx: &mut Context<'_>, app: &Socket) -> Poll<Result<usize, End>> {
        let mut state = self.state.borrow_mut();
        if state.send_credit == 0 {
            return Poll::Pending; // CREDIT wakes the task.
        }
        let mut mux = self.mux.0.state.borrow_mut();
        let State { outgoing, table, .. } = &mut *mux;
        if table.over {
            return Poll::Ready(Err(End::TunnelLost));
        }
        let max = (state.send_credit as usize).min(self.appetite);
        let Some(room) = outgoing.data_room(max, &mut state.place, cx.waker()) else {
            return Poll::Pending;
        };
        match outgoing.fill_data(room, |slices| app.poll_read_vectored(cx, slices, room)) {
            Poll::Pending => {
                self.listens = true;
                Poll::Pending
            }
            Poll::Ready(Err(_)) => Poll::Ready(Err(End::AppReset)),
            Poll::Ready(Ok(0)) => Poll::Ready(Ok(0)),
            Poll::Ready(Ok(bytes)) => {
                outgoing.commit_data(state.id, bytes);
                // At most the credit, which is a u32.
                state.send_credit -= bytes as u32;
                self.appetite = if bytes == room { DATA_BYTES_MAX } else { QUIET_BYTES };
                Poll::Ready(Ok(bytes))
            }
        }
    }

    pub(super) fn say(&self, kind: Kind, payload: &[u8]) {
        let mut mux = self.mux.0.state.borrow_mut();
        if !mux.table.over {
            mux.outgoing.push(kind, self.state.borrow().id, payload);
        }
    }
}

impl Drop for MuxStream {
    fn drop(&mut self) {
        let (id, remote) = {
            let state = self.state.borrow();
            if state.owner == Owner::Gone {
                return; // The connection goes on with it.
            }
            (state.id, state.remote)
        };
        let settled = remote.broken().is_some() && remote != Remote::AppFailed;
        let orderly = self.sent == Sent::Finished && remote == Remote::Finished;
        if !settled && !orderly && self.sent != Sent::Over {
            self.say(Kind::Reset, &[]);
        }
        let mut mux = self.mux.0.state.borrow_mut();
        mux.table.streams.remove(&id);
        // A client's connection that is shutting down waits for its last stream.
        if mux.table.streams.is_empty() {
            mux.outgoing.wake_driver();
        }
    }
}
