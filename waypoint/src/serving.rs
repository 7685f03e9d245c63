//! HTTP with a client: requests come in, answers go out, and the connection ends in order.

use crate::answer::answer;
use crate::attended::Attended;
use crate::body::{Body, http2};
use crate::client::Connection;
use crate::config::HEAD_BYTES_MAX;
use crate::decide::{Asker, authorise};
use crate::executor::StreamExecutor;
use crate::frames::Frames;
use crate::gate::{Busy, Gate, Patience, Resting};
use crate::knowledge::Moment;
use crate::lines::Switched;
use crate::open::Upgraded;
use crate::rewind::Rewind;
use crate::streams::Stream;
use crate::strict::{self, Strict};
use crate::tcp::counted::Counted;
use crate::telemetry::{Flag, Record};
use crate::way::{Seen, Switching};
use crate::worker::Worker;
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use weft_runtime::log::describe;
use weft_tunnel::end::{Carried, End, Stop};
use weft_tunnel::hbone::{RESETS_FORGOTTEN_MAX, RESETS_PENDING_MAX};
use weft_tunnel::io::TunnelIo;

/// Requests of one HTTP/2 connection at a time.
const STREAMS_MAX: u32 = 1_024;
/// What a client may send ahead, of one request and of all: enough that a body needs no pause on the way across a region.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;

/// A connection that becomes another protocol's, once the client has been told.
type Switch = Rc<RefCell<Option<(Switching, Box<Record>)>>>;

/// Serves a connection of HTTP/1. While it idles it holds no buffer.
pub(crate) async fn serve_one(worker: Rc<Worker>, connection: Connection, mut io: Rewind<TunnelIo>) {
    let _alive = worker.ending.alive();
    let connection = Rc::new(connection);
    while let Served::Rests(mut resting) = serve_awake(&worker, &connection, io).await {
        let wakes = tokio::time::timeout(worker.limits.keep_alive, resting.await_more());
        let woke = tokio::select! {
            woke = wakes => matches!(woke, Ok(Ok(true))),
            () = worker.ending.begun() => false,
        };
        if !woke {
            // The client may be gone.
            return drop(resting.shutdown().await);
        }
        io = resting;
    }
}

/// What became of a connection of HTTP/1.
enum Served {
    /// It is over.
    Ended,
    /// It idles, and may go on.
    Rests(Rewind<TunnelIo>),
}

/// Serves a connection of HTTP/1 until it ends, or has idled for a moment.
async fn serve_awake(worker: &Rc<Worker>, connection: &Rc<Connection>, io: Rewind<TunnelIo>) -> Served {
    let limits = worker.limits;
    let patience = Patience {
        head: limits.head,
        body: limits.body_idle,
        between: limits.keep_alive,
        taking: limits.taking,
    };
    let (busy, switch, resting) = (Rc::new(Cell::new(0)), Switch::default(), Resting::default());
    let io = Attended::new(io, busy.clone());
    let gate = Gate::new(io, Strict::default(), patience, busy.clone(), resting.clone());
    let service = service_fn(|request: Request<Incoming>| {
        let busy = Busy::new(&busy);
        serve(worker.clone(), connection.clone(), request, (busy, Kind::One(switch.clone())))
    });
    let mut serving = strict::hyper().serve_connection(TokioIo::new(gate), service);
    let served = tokio::select! {
        served = or_rests(&mut serving, &resting) => served,
        () = worker.ending.begun() => {
            Pin::new(&mut serving).graceful_shutdown();
            Some((&mut serving).await)
        }
    };
    if let Some(Err(error)) = &served {
        tracing::debug!(client = %connection.client.addr, error = describe(error), "a client's connection ended");
        if let Some(status) = refused_with(error) {
            tell_none(worker, connection, Version::HTTP_11, (status, describe(error)));
        }
        return Served::Ended;
    }
    let parts = serving.into_parts();
    let mut io = parts.io.into_inner().into_inner().into_inner();
    let switched = switch.take();
    match switched {
        Some(switched) => join(worker, connection.clone(), (io, parts.read_buf), switched).await,
        None if served.is_none() => return Served::Rests(io.put_back(parts.read_buf)),
        // hyper has done it, but where the client wanted another protocol and got none. The client may be gone.
        None => drop(io.shutdown().await),
    }
    Served::Ended
}

/// The status that hyper has answered with by itself, if it was no request that came.
fn refused_with(error: &hyper::Error) -> Option<u16> {
    match error {
        // HTTP/2's preface in the middle of a connection is answered by its end.
        error if !error.is_parse() || error.is_parse_version_h2() => None,
        error if error.is_parse_too_large() => Some(431),
        _ => Some(400),
    }
}

/// Whether a client of HTTP/2 has broken it so badly that its connection is over.
fn is_broken_by_client(error: &hyper::Error) -> bool {
    http2(error).is_some_and(|error| {
        // What the gate has found abusive comes back as what it is told by: hyper's HTTP/2 keeps its kind and its text.
        let is_abuse = error.get_io().is_some_and(|error| error.kind() == std::io::ErrorKind::InvalidData);
        let is_broken = error.is_go_away() && error.is_library();
        is_abuse || (is_broken && error.reason() != Some(h2::Reason::NO_ERROR))
    })
}

/// Tells of what no service has seen, because it is no request.
fn tell_none(worker: &Worker, connection: &Rc<Connection>, version: Version, said: (u16, String)) {
    let moment = worker.now();
    let told = moment.telemetry(connection.service().map(|service| &service.name));
    Record::tell_none(&worker.telemetry, connection, version, said, told);
}

/// What the serving comes to; nothing if the connection rests.
async fn or_rests<F: Future + Unpin>(serving: &mut F, resting: &Resting) -> Option<F::Output> {
    poll_fn(|cx| match Pin::new(&mut *serving).poll(cx) {
        Poll::Ready(served) => Poll::Ready(Some(served)),
        // It is this same task that has looked.
        Poll::Pending if resting.get() => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    })
    .await
}

/// Serves a connection of HTTP/2.
pub(crate) async fn serve_two(
    worker: Rc<Worker>,
    connection: Connection,
    io: impl AsyncRead + AsyncWrite + Unpin + 'static,
) {
    let _alive = worker.ending.alive();
    let connection = Rc::new(connection);
    let limits = worker.limits;
    let patience = Patience {
        head: limits.head,
        // Of each stream by itself.
        body: Duration::MAX,
        between: limits.keep_alive,
        taking: limits.taking,
    };
    let busy = Rc::new(Cell::new(0));
    let gate = Gate::new(io, Frames::new(Instant::now()), patience, busy.clone(), Resting::default());
    let executor = StreamExecutor::new(worker.streams.clone());
    let service = service_fn(|request| {
        let (busy, stream) = (Busy::new(&busy), executor.begin());
        serve(worker.clone(), connection.clone(), request, (busy, Kind::Two(stream)))
    });
    let serving = hyper::server::conn::http2::Builder::new(executor.clone())
        .timer(TokioTimer::new())
        .max_header_list_size(HEAD_BYTES_MAX as u32)
        .max_concurrent_streams(STREAMS_MAX)
        .max_pending_accept_reset_streams(RESETS_PENDING_MAX)
        .max_local_error_reset_streams(RESETS_FORGOTTEN_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .serve_connection(TokioIo::new(gate), service);
    let mut serving = std::pin::pin!(serving);
    let served = tokio::select! {
        served = &mut serving => served,
        () = worker.ending.begun() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(client = %connection.client.addr, error = describe(&error), "a client's connection ended");
        if is_broken_by_client(&error) {
            tell_none(&worker, &connection, Version::HTTP_2, (0, describe(&error)));
        }
    }
}

/// On what a request came.
enum Kind {
    /// A connection of HTTP/1, which may become another protocol's.
    One(Switch),
    /// A stream of HTTP/2.
    Two(Rc<Stream>),
}

async fn serve(
    worker: Rc<Worker>,
    connection: Rc<Connection>,
    request: Request<Incoming>,
    (busy, kind): (Busy, Kind),
) -> Result<Response<Body>, Infallible> {
    let stream = match &kind {
        Kind::One(_) => None,
        Kind::Two(stream) => Some(stream.clone()),
    };
    let (answer, mut record) = answer(&worker, &connection, request, stream).await;
    match kind {
        Kind::One(switch) => {
            if let Some(switching) = answer.switching {
                *switch.borrow_mut() = Some((switching, record));
                return Ok(answer.response);
            }
            record.busy = Some(busy);
            Ok(answer.response.map(|body| body.followed(record)))
        }
        Kind::Two(stream) => {
            record.busy = Some(busy);
            stream.is_answered();
            Ok(answer.response.map(|body| body.followed(record).taken_by(stream)))
        }
    }
}

/// Carries the bytes of a connection that is none of HTTP any more, until both are done, policy denies the request that
/// made it so, or nothing is carried for too long.
async fn join(
    worker: &Rc<Worker>,
    connection: Rc<Connection>,
    (client, from_client): (impl AsyncRead + AsyncWrite + Unpin, Bytes),
    (Switching { lease, held: _held }, mut record): (Switching, Box<Record>),
) {
    let Some(switched) = lease.switched().await else { return };
    let Switched { io: mut backend, first: from_backend, place: _place } = switched;
    let Some(head) = record.upgrade.take() else { return };
    let judge = move |moment: &Moment| {
        authorise(moment, Asker::of(&connection), &Seen::new(&head, &connection)).verdict
    };
    let upgraded = Upgraded { judge: Box::new(judge), carried: Carried::default() };
    let entry = worker.open.enter(upgraded, worker.limits.idle);
    entry.judge_now(&worker.now());
    let carried = async {
        let mut client = Counted::new(client, &entry.carried);
        // What came behind the heads.
        backend.write_all(&from_client).await?;
        entry.carried.add_from_app(from_client.len());
        client.write_all(&from_backend).await?;
        tokio::io::copy_bidirectional(&mut client, &mut backend).await
    };
    tokio::select! {
        biased;
        stop = entry.carried.stopped() => {
            record.flag = if stop == Stop::Policy { Flag::Denied } else { Flag::None };
            record.why = Some(End::Stopped(stop).to_string());
        }
        carried = carried => if let Err(error) = carried {
            tracing::debug!(%error, "a connection that was switched to another protocol ended");
        },
    }
    record.switched(entry.carried.from_app(), entry.carried.to_app());
}
