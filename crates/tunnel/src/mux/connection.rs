//! A mux connection and the task that drives it: reads, hands frames to their streams, and sends in one write
//! what a turn of the event loop has gathered.

use super::frame::Kind;
use super::open::{BadOpen, OpenRequest};
use super::state::{MuxError, Side, State};
use super::stream::MuxStream;
use super::stream_state::{Remote, StreamState};
use crate::end::Refused;
use crate::scratch::{READ_BYTES, ReadBuffer};
use crate::socket::Socket;
use crate::tls::Session;
use std::cell::RefCell;
use std::future::poll_fn;
use std::io::IoSlice;
use std::rc::Rc;
use std::task::{Context, Poll};

/// A handle to a mux connection. Clones share it.
#[derive(Clone)]
pub struct Mux(pub(super) Rc<Shared>);

pub(super) struct Shared {
    socket: Socket,
    pub(super) state: RefCell<State>,
}

/// Reads and writes for a [`Mux`]; nothing moves unless it is polled.
pub struct Driver {
    shared: Rc<Shared>,
    incoming: ReadBuffer,
    reading: Reading,
}

#[derive(PartialEq, Eq)]
enum Reading {
    /// Bytes that came with the handshake have not been looked at yet.
    Leftover,
    Socket,
    /// The peer sends no more.
    Ended,
}

/// Without its driver a connection is over, also if nobody has said so.
impl Drop for Driver {
    fn drop(&mut self) {
        self.shared.state.borrow_mut().end();
    }
}

/// A stream that came.
#[expect(
    clippy::large_enum_variant,
    reason = "it lives on the stack between two calls, and the large one is usual"
)]
pub enum Incoming {
    /// It waits for an answer.
    Open(OpenRequest, MuxStream),
    /// Its OPEN cannot be read; it has been refused as malformed.
    Bad(BadOpen),
}

impl Mux {
    /// The client's end of a session whose handshake is done.
    pub fn client(socket: Socket, session: Session, leftover: ReadBuffer) -> (Self, Driver) {
        Self::new(socket, session, leftover, Side::Client)
    }

    /// The server's end.
    pub fn server(socket: Socket, session: Session, leftover: ReadBuffer) -> (Self, Driver) {
        Self::new(socket, session, leftover, Side::Server)
    }

    fn new(socket: Socket, session: Session, incoming: ReadBuffer, side: Side) -> (Self, Driver) {
        let shared = Rc::new(Shared { socket, state: RefCell::new(State::new(session, side)) });
        (Self(shared.clone()), Driver { shared, incoming, reading: Reading::Leftover })
    }

    /// Begins a stream; bytes may follow at once. `None` if this connection takes no more, or no OPEN can say it.
    pub fn open(&self, request: &OpenRequest) -> Option<MuxStream> {
        let payload = request.to_payload()?;
        let mut state = self.0.state.borrow_mut();
        if !state.takes_streams() {
            return None;
        }
        let State { table, outgoing, .. } = &mut *state;
        let id = table.last_id.checked_add(1)?;
        table.last_id = id;
        outgoing.push(Kind::Open, id, &payload);
        let stream = Rc::new(RefCell::new(StreamState::new(id, Remote::Silent)));
        table.streams.insert(id, stream.clone());
        drop(state);
        Some(MuxStream::client(self.clone(), stream))
    }

    /// True if a stream may be opened.
    pub fn is_usable(&self) -> bool {
        self.0.state.borrow().takes_streams()
    }

    /// True if both are handles to the same connection.
    pub fn is_same(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }

    /// Streams that are open.
    pub fn stream_count(&self) -> usize {
        self.0.state.borrow().table.streams.len()
    }

    /// Tells the client to open no more streams here; those that are open go on, and with the last one the client ends the
    /// connection.
    pub fn go_away(&self) {
        self.0.state.borrow_mut().outgoing.push(Kind::GoAway, 0, &[]);
    }

    /// Ends the connection and all of its streams. The driver returns.
    pub fn close(&self) {
        let mut state = self.0.state.borrow_mut();
        state.end();
        state.outgoing.wake_driver();
    }

    /// The peer's certificates, leaf first.
    pub fn peer_certificates(&self) -> Vec<rustls_pki_types::CertificateDer<'static>> {
        self.0.state.borrow().session.peer_certificates().to_vec()
    }
}

impl Driver {
    /// Drives the connection until it ends, and calls `on_stream` for each stream that the peer begins.
    ///
    /// # Errors
    /// Why it ended, if not in order.
    pub async fn run(mut self, mut on_stream: impl FnMut(Incoming)) -> Result<(), MuxError> {
        let result = poll_fn(|cx| self.poll(cx, &mut on_stream)).await;
        let mut state = self.shared.state.borrow_mut();
        // The peer may be gone; the alert is a courtesy. It must not cut into a half-sent record.
        if state.outgoing.unsent().is_empty() {
            let farewell = state.session.close();
            let _ = self.shared.socket.write_now(&[IoSlice::new(&farewell)]);
        }
        result
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        on_stream: &mut impl FnMut(Incoming),
    ) -> Poll<Result<(), MuxError>> {
        loop {
            while !self.holds_up_the_peer() {
                match self.poll_receive(cx, on_stream) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => return self.poll_send(cx),
                }
            }
            // Nobody has asked to be woken by the socket's next bytes, so this must not end before it is right to wait.
            let sent = self.poll_send(cx);
            if sent.is_ready() || self.holds_up_the_peer() {
                return sent;
            }
        }
    }

    fn holds_up_the_peer(&self) -> bool {
        self.shared.state.borrow().holds_up_the_peer()
    }

    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        on_stream: &mut impl FnMut(Incoming),
    ) -> Poll<Result<(), MuxError>> {
        match self.reading {
            Reading::Ended => return Poll::Pending,
            Reading::Leftover => self.reading = Reading::Socket,
            Reading::Socket => {
                self.incoming.borrow_memory();
                let space = self.incoming.space(READ_BYTES / 4);
                match self.shared.socket.poll_read(cx, space) {
                    Poll::Pending => {
                        self.incoming.return_memory();
                        return Poll::Pending;
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(MuxError::Socket(error))),
                    Poll::Ready(Ok(0)) => {
                        self.reading = Reading::Ended;
                        self.shared.state.borrow_mut().end();
                        return Poll::Pending;
                    }
                    Poll::Ready(Ok(count)) => self.incoming.advance(count),
                }
            }
        }
        let (closed, opened) = self.shared.state.borrow_mut().receive(&mut self.incoming)?;
        for (id, request) in opened {
            on_stream(match request {
                Ok(request) => {
                    // One that was reset at once is here until its task lets go of it.
                    let stream = self.shared.state.borrow().table.streams.get(&id).cloned();
                    let Some(stream) = stream else { continue };
                    Incoming::Open(request, MuxStream::server(Mux(self.shared.clone()), stream))
                }
                Err(bad) => {
                    let refusal = [Refused::Malformed.byte()];
                    self.shared.state.borrow_mut().outgoing.push(Kind::Refused, id, &refusal);
                    Incoming::Bad(bad)
                }
            });
        }
        if closed {
            self.reading = Reading::Ended;
            self.shared.state.borrow_mut().end();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), MuxError>> {
        let mut state = self.shared.state.borrow_mut();
        let State { session, outgoing, table, .. } = &mut *state;
        loop {
            if table.over {
                return Poll::Ready(Ok(()));
            }
            if !outgoing.unsent().is_empty() {
                match self.shared.socket.poll_write(cx, outgoing.unsent()) {
                    Poll::Pending => {
                        // Who closes the connection has to get through to a driver that waits for the peer.
                        outgoing.sleep(cx.waker());
                        return Poll::Pending;
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(MuxError::Socket(error))),
                    Poll::Ready(Ok(count)) => outgoing.sent(count),
                }
                continue;
            }
            if outgoing.is_empty() && !session.wants_key_update() {
                if table.is_done() {
                    return Poll::Ready(Ok(()));
                }
                outgoing.sleep(cx.waker());
                return Poll::Pending;
            }
            outgoing.seal(session)?;
        }
    }
}
