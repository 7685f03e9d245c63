//! Connections of HTTP/2: many requests at a time.

use super::{Demand, Lease, LineError, STALE_MAX, dial};
use crate::body::Body;
use crate::config::HEAD_BYTES_MAX;
use crate::executor::LocalExecutor;
use crate::origin::Within;
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::Instant;
use weft_l7::destination::Limits;
use weft_l7::limit::Permit;
use weft_l7::retry::Sent;
use weft_runtime::log::describe;

/// Streams of one connection before another one is opened, unless a rule says otherwise: what servers usually allow.
const STREAMS_MAX: u32 = 100;

/// A connection; clones are the same.
#[derive(Clone)]
pub(super) struct Two {
    sender: http2::SendRequest<Body>,
    opened: Instant,
    idle_since: Rc<Cell<Instant>>,
    requests: Rc<Cell<u32>>,
    streams: Rc<Cell<u32>>,
}

/// A stream of a connection, until its response is over.
pub(crate) struct LeaseTwo {
    streams: Rc<Cell<u32>>,
    idle_since: Rc<Cell<Instant>>,
    freed: Rc<Notify>,
}

impl Drop for LeaseTwo {
    fn drop(&mut self) {
        self.streams.set(self.streams.get().saturating_sub(1));
        self.idle_since.set(Instant::now());
        self.freed.notify_one();
    }
}

impl Two {
    /// Whether it is open, and has not idled for so long.
    pub(super) fn lives(&self, idle: Duration) -> bool {
        let idles = self.is_idle() && self.idle_since.get().elapsed() >= idle;
        !idles && !self.sender.is_closed()
    }

    /// Whether it has no stream.
    pub(super) fn is_idle(&self) -> bool {
        self.streams.get() == 0
    }

    fn is_usable(&self, limits: &Limits) -> bool {
        self.streams.get() < limits.streams_per_connection.unwrap_or(STREAMS_MAX)
            && !self.sender.is_closed()
            && limits.requests_per_connection.is_none_or(|most| self.requests.get() < most)
            && limits.age.is_none_or(|age| self.opened.elapsed() < age)
    }
}

/// Sends a request on one of them.
///
/// # Errors
/// As [`LineError`] says.
pub(super) async fn send(
    demand: Demand<'_>,
    mut request: Request<Body>,
) -> Result<(Response<Incoming>, Lease), LineError> {
    let key = super::key(&demand);
    let mut stale = 0;
    loop {
        let mut two = match take_shared(&demand, key) {
            Some(two) => two,
            None => Box::pin(wait(&demand, key)).await?,
        };
        two.streams.set(two.streams.get() + 1);
        two.requests.set(two.requests.get().saturating_add(1));
        let lease = LeaseTwo {
            streams: two.streams.clone(),
            idle_since: two.idle_since.clone(),
            freed: demand.freed.clone(),
        };
        match two.sender.try_send_request(request).await {
            Ok(response) => return Ok((response, Lease::Two(lease))),
            Err(mut error) => match error.take_message() {
                Some(unsent) if stale < STALE_MAX => {
                    stale += 1;
                    request = unsent;
                }
                Some(_) => return Err(LineError::Broken { source: error.into_error(), sent: Sent::Nothing }),
                None => return Err(LineError::Broken { source: error.into_error(), sent: Sent::Kept }),
            },
        }
    }
}

async fn wait(demand: &Demand<'_>, key: IpAddr) -> Result<Two, LineError> {
    let lines = &demand.upstream.lines;
    let _waits = demand.room.pending().map_err(LineError::Overflow)?;
    let since = Instant::now();
    let opening = lines.0.borrow_mut().entry(key).or_default().opening.clone();
    let _opening = super::in_turn(demand, since, opening.lock()).await?;
    loop {
        if let Some(two) = take_shared(demand, key) {
            return Ok(two);
        }
        if let Ok(permit) = demand.room.kept_connection() {
            let two = open(demand, permit).await?;
            let mut all = lines.0.borrow_mut();
            let shared = &mut all.entry(key).or_default().shared;
            shared.retain(|two| !two.sender.is_closed());
            shared.push(two.clone());
            return Ok(two);
        }
        (demand.make_room)();
        super::in_turn(demand, since, demand.freed.notified()).await?;
    }
}

async fn open(demand: &Demand<'_>, permit: Permit) -> Result<Two, LineError> {
    let io = TokioIo::new(dial(demand, Within::Http2).await?);
    let shaken =
        http2::Builder::new(LocalExecutor).max_header_list_size(HEAD_BYTES_MAX as u32).handshake(io).await;
    let (sender, connection) = shaken.map_err(LineError::Handshake)?;
    let freed = demand.freed.clone();
    spawn_local(async move {
        if let Err(error) = connection.await {
            tracing::debug!(error = describe(&error), "a backend's connection ended");
        }
        drop(permit);
        freed.notify_one();
    });
    let now = Instant::now();
    let (requests, streams) = (Rc::default(), Rc::default());
    Ok(Two { sender, opened: now, idle_since: Rc::new(Cell::new(now)), requests, streams })
}

fn take_shared(demand: &Demand<'_>, key: IpAddr) -> Option<Two> {
    let all = demand.upstream.lines.0.borrow();
    let shared = &all.get(&key)?.shared;
    // What is too much gets no more streams, and is closed once it has none; one is always needed.
    let kept = shared.len().saturating_sub(demand.room.surplus() as usize).max(1);
    shared.iter().take(kept).find(|two| two.is_usable(demand.limits)).cloned()
}
