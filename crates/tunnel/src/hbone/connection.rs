//! An HBONE connection: its handle, and the two drivers that read and write for it.

use super::request::BadRequest;
use super::shared::{Shared, State};
use super::stream::HboneStream;
use super::{RESETS_FORGOTTEN_MAX, RESETS_KNOWN_MAX, RESETS_PENDING_MAX, STREAMS_MAX};
use crate::request::ConnectRequest;
use crate::scratch::ReadBuffer;
use crate::socket::Socket;
use crate::tls::Session;
use crate::tls_stream::{Flush, TlsStream};
use bytes::Bytes;
use h2::{Reason, client, server};
use http::{Request, Response, StatusCode};
use rustls_pki_types::CertificateDer;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

/// Bytes that may be under way on one stream: a gigabit per second at 60 ms.
const STREAM_WINDOW_BYTES: u32 = 8 * 1_048_576;
/// Bytes that may be under way on a connection, which is also what its slow readers can make this side keep. HTTP/2
/// shares this among all streams, so several stuck ones must not use it up.
const CONNECTION_WINDOW_BYTES: u32 = 32 * 1_048_576;
/// Most bytes in one DATA frame that this side takes. A frame is handed on whole, so larger ones only delay.
const FRAME_BYTES_MAX: u32 = 262_144;
/// Bytes of one stream that wait in this process for its window.
const SEND_BUFFER_BYTES: usize = 524_288;
/// Most bytes of a request's headers: baggage and authority at their longest, and a little.
const HEADER_LIST_BYTES_MAX: u32 = 16_384;
/// Streams that a client resets before they are answered, in excess of those that are taken: beyond, the
/// connection ends.
const RESETS_UNANSWERED_MAX: u32 = 512;

/// Why an HBONE connection ended.
#[derive(Debug, thiserror::Error)]
pub enum HboneError {
    /// HTTP/2: the peer broke it, or the socket failed.
    #[error("in the HTTP/2 connection")]
    Http(#[source] h2::Error),
    /// The socket failed.
    #[error("the tunnel's socket failed")]
    Socket(#[source] io::Error),
}

/// A handle to an HBONE connection. Clones share it. A client's connection ends in order when all of them and all
/// of its streams are gone.
#[derive(Clone)]
pub struct Hbone {
    shared: Rc<Shared>,
    /// The client's way to begin streams.
    requests: Option<client::SendRequest<Bytes>>,
}

/// Reads and writes for a client's [`Hbone`]; nothing moves unless it is polled.
pub struct ClientDriver {
    shared: Rc<Shared>,
    connection: client::Connection<TlsStream, Bytes>,
    flush: Flush,
}

/// Reads and writes for a server's [`Hbone`]; nothing moves unless it is polled.
pub struct ServerDriver {
    shared: Rc<Shared>,
    stream: TlsStream,
    flush: Flush,
}

/// A request that came.
#[expect(
    clippy::large_enum_variant,
    reason = "it lives on the stack between two calls, and the large one is usual"
)]
pub enum Incoming {
    /// A CONNECT, which waits for an answer.
    Connect(ConnectRequest, HboneStream),
    /// Something else, which has been answered with 400.
    Bad(BadRequest),
}

impl Hbone {
    /// The client's end of a session whose handshake is done.
    ///
    /// # Errors
    /// [`HboneError::Http`] if the socket fails at once.
    pub async fn client(
        socket: Socket,
        session: Session,
        leftover: ReadBuffer,
    ) -> Result<(Self, ClientDriver), HboneError> {
        let shared = Shared::new(&session);
        let (stream, flush) = TlsStream::new(socket, session, leftover);
        let (requests, connection) = client::Builder::new()
            .initial_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_frame_size(FRAME_BYTES_MAX)
            .max_header_list_size(HEADER_LIST_BYTES_MAX)
            .max_send_buffer_size(SEND_BUFFER_BYTES)
            .max_concurrent_reset_streams(RESETS_KNOWN_MAX)
            .max_local_error_reset_streams(Some(RESETS_FORGOTTEN_MAX))
            .enable_push(false)
            .handshake(stream)
            .await
            .map_err(HboneError::Http)?;
        let handle = Self { shared: shared.clone(), requests: Some(requests) };
        Ok((handle, ClientDriver { shared, connection, flush }))
    }

    /// The server's end of a session whose handshake is done.
    pub fn server(socket: Socket, session: Session, leftover: ReadBuffer) -> (Self, ServerDriver) {
        let shared = Shared::new(&session);
        let (stream, flush) = TlsStream::new(socket, session, leftover);
        (Self { shared: shared.clone(), requests: None }, ServerDriver { shared, stream, flush })
    }

    /// Begins a stream; bytes may follow at once. `None` if this connection takes no more.
    pub fn open(&self, request: &ConnectRequest) -> Option<HboneStream> {
        let mut requests = self.ready_requests()?;
        let (answer, stream) = requests.send_request(request.to_http()?, false).ok()?;
        Some(HboneStream::client(self.shared.clone(), answer, stream))
    }

    /// True if both are handles to the same connection.
    pub fn is_same(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.shared, &other.shared)
    }

    /// True if a stream may be opened.
    pub fn is_usable(&self) -> bool {
        self.ready_requests().is_some()
    }

    fn ready_requests(&self) -> Option<client::SendRequest<Bytes>> {
        let mut requests = self.requests.clone()?;
        let limit = requests.current_max_send_streams().min(STREAMS_MAX);
        if self.shared.state.get() != State::Open || self.shared.streams.get() >= limit {
            return None;
        }
        // A clone of its own waits for nobody; it only learns whether the connection is still good.
        match requests.poll_ready(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(())) => Some(requests),
            Poll::Ready(Err(_)) | Poll::Pending => None,
        }
    }

    /// Streams that are open.
    pub fn stream_count(&self) -> usize {
        self.shared.streams.get()
    }

    /// Opens no more streams here, and tells a client to open none; those that are open go on.
    pub fn go_away(&self) {
        self.shared.become_state(State::GoingAway);
    }

    /// Ends the connection and all of its streams. The driver returns.
    pub fn close(&self) {
        self.shared.become_state(State::Over);
    }

    /// The peer's certificates, leaf first.
    pub fn peer_certificates(&self) -> Vec<CertificateDer<'static>> {
        self.shared.certificates.clone()
    }
}

impl ClientDriver {
    /// Drives the connection until it ends.
    ///
    /// # Errors
    /// Why it ended, if not in order.
    pub async fn run(mut self) -> Result<(), HboneError> {
        let result = poll_fn(|cx| {
            if self.shared.state.get() == State::Over {
                return Poll::Ready(Ok(()));
            }
            self.shared.driver.replace(Some(cx.waker().clone()));
            self.shared.poll_left(cx);
            let connection = Pin::new(&mut self.connection).poll(cx);
            flush(&self.flush, cx, connection.map_err(HboneError::Http))
        })
        .await;
        self.shared.state.set(State::Over);
        result
    }
}

/// Without its driver a connection is over, and so are the streams that it keeps.
impl Drop for ClientDriver {
    fn drop(&mut self) {
        self.shared.state.set(State::Over);
        drop(self.shared.left.take());
    }
}

impl ServerDriver {
    /// Drives the connection until it ends, and calls `on_request` for each request that comes.
    ///
    /// # Errors
    /// Why it ended, if not in order.
    pub async fn run(self, mut on_request: impl FnMut(Incoming)) -> Result<(), HboneError> {
        let Self { shared, stream, flush: flusher } = self;
        let result = serve(&shared, stream, &flusher, &mut on_request).await;
        shared.state.set(State::Over);
        result
    }
}

async fn serve(
    shared: &Rc<Shared>,
    stream: TlsStream,
    flusher: &Flush,
    on_request: &mut impl FnMut(Incoming),
) -> Result<(), HboneError> {
    let mut handshake = server::Builder::new()
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_header_list_size(HEADER_LIST_BYTES_MAX)
        .max_concurrent_streams(STREAMS_MAX as u32)
        .max_pending_accept_reset_streams(RESETS_PENDING_MAX)
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        .max_concurrent_reset_streams(RESETS_KNOWN_MAX)
        .max_local_error_reset_streams(Some(RESETS_FORGOTTEN_MAX))
        .handshake::<_, Bytes>(stream);
    let preface = poll_fn(|cx| {
        if shared.state.get() == State::Over {
            return Poll::Ready(Ok(None));
        }
        shared.driver.replace(Some(cx.waker().clone()));
        let connection = Pin::new(&mut handshake).poll(cx);
        flush(flusher, cx, connection.map_ok(Some).map_err(HboneError::Http))
    });
    let Some(mut connection) = preface.await? else {
        return Ok(());
    };
    let mut said_goodbye = false;
    poll_fn(|cx| {
        match shared.state.get() {
            State::Over => return Poll::Ready(Ok(())),
            State::GoingAway if !said_goodbye => {
                said_goodbye = true;
                connection.graceful_shutdown();
            }
            State::GoingAway | State::Open => {}
        }
        shared.driver.replace(Some(cx.waker().clone()));
        let ended = poll_requests(shared, &mut connection, cx, on_request);
        flush(flusher, cx, ended)
    })
    .await
}

fn poll_requests(
    shared: &Rc<Shared>,
    connection: &mut server::Connection<TlsStream, Bytes>,
    cx: &mut Context<'_>,
    on_request: &mut impl FnMut(Incoming),
) -> Poll<Result<(), HboneError>> {
    loop {
        if shared.unanswered.get() > RESETS_UNANSWERED_MAX {
            connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
        }
        let Some(next) = ready!(connection.poll_accept(cx)) else {
            return Poll::Ready(Ok(()));
        };
        let (request, answer) = next.map_err(HboneError::Http)?;
        if let Some(incoming) = take(shared, request, answer) {
            on_request(incoming);
        }
    }
}

fn take(
    shared: &Rc<Shared>,
    request: Request<h2::RecvStream>,
    mut answer: server::SendResponse<Bytes>,
) -> Option<Incoming> {
    if shared.streams.get() >= STREAMS_MAX {
        // The client has reset others, whose tasks still wind down here.
        answer.send_reset(Reason::REFUSED_STREAM);
        return None;
    }
    match ConnectRequest::read(&request) {
        Ok(connect) => {
            let stream = HboneStream::server(shared.clone(), answer, request.into_body());
            Some(Incoming::Connect(connect, stream))
        }
        Err(bad) => {
            let mut response = Response::new(());
            *response.status_mut() = StatusCode::BAD_REQUEST;
            // It fails only if the client has reset the stream, and then nobody waits for the answer.
            let _ = answer.send_response(response, true);
            Some(Incoming::Bad(bad))
        }
    }
}

/// Sends what a turn has gathered. What HTTP/2 said of the turn comes first: an end has been flushed already.
fn flush<T>(
    flush: &Flush,
    cx: &mut Context<'_>,
    turn: Poll<Result<T, HboneError>>,
) -> Poll<Result<T, HboneError>> {
    match (turn, flush.poll(cx)) {
        (Poll::Ready(result), _) => Poll::Ready(result),
        (Poll::Pending, Poll::Ready(Err(error))) => Poll::Ready(Err(HboneError::Socket(error))),
        (Poll::Pending, _) => Poll::Pending,
    }
}
