//! Connections of HTTP/1.1: one request at a time.

use super::{Demand, Lease, LineError, Lines, Place, STALE_MAX, Switched, dial};
use crate::body::Body;
use crate::config;
use crate::origin::Within;
use http::header::{self, HeaderValue};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::future::poll_fn;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::{Notify, oneshot};
use tokio::task::spawn_local;
use tokio::time::Instant;
use weft_l7::destination::Limits;
use weft_l7::limit::{Permit, Room};
use weft_l7::retry::Sent;
use weft_runtime::log::describe;

/// Idle connections of one client to one endpoint.
const IDLE_MAX: usize = 64;

/// A connection.
pub(super) struct One {
    sender: http1::SendRequest<Body>,
    opened: Instant,
    idle_since: Instant,
    requests: u32,
    switched: oneshot::Receiver<Switched>,
}

/// A whole connection, until its response is over.
pub(crate) struct LeaseOne {
    lines: Rc<Lines>,
    client: IpAddr,
    one: One,
    freed: Rc<Notify>,
    room: Room,
    requests_max: Option<u32>,
}

impl LeaseOne {
    /// The connection is free: at once, or when all of its request has gone out. A backend may answer before that, and
    /// another request would wait for as long as this one's client likes.
    pub(super) fn give_back(mut self) {
        if self.one.sender.is_ready() || self.one.sender.is_closed() {
            return self.keep();
        }
        spawn_local(async move {
            // One that breaks meanwhile is closed, and not kept.
            let _ = self.one.sender.ready().await;
            self.keep();
        });
    }

    fn keep(self) {
        let Self { lines, client, mut one, freed, room, requests_max } = self;
        let may_go_on = requests_max.is_none_or(|most| one.requests < most) && room.surplus() == 0;
        if may_go_on && !one.sender.is_closed() {
            let mut all = lines.0.borrow_mut();
            let kept = all.entry(client).or_default();
            if kept.idle.len() < IDLE_MAX {
                one.idle_since = Instant::now();
                kept.idle.push(one);
            }
        }
        freed.notify_one();
    }

    /// The connection itself, once it is none of HTTP any more. `None` if it broke.
    pub(super) async fn switched(self) -> Option<Switched> {
        self.one.switched.await.ok()
    }
}

impl One {
    /// Whether it has not idled for so long, and is open.
    pub(super) fn lives(&self, idle: Duration) -> bool {
        self.idle_since.elapsed() < idle && !self.sender.is_closed()
    }

    async fn is_usable(&mut self, limits: &Limits) -> bool {
        let is_old = limits.age.is_some_and(|age| self.opened.elapsed() >= age);
        !is_old && self.lives(super::idle(limits)) && self.sender.ready().await.is_ok()
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
    let (key, lines) = (super::key(&demand), &demand.upstream.lines);
    tell_of_body(&mut request);
    let mut stale = 0;
    loop {
        let idle = if stale < STALE_MAX { take_idle(lines, key, demand.limits).await } else { None };
        let is_idle = idle.is_some();
        let mut one = match idle {
            Some(one) => one,
            // Boxed: else every request would keep the space of it for as long as it lives.
            None => Box::pin(wait(&demand, key)).await?,
        };
        one.requests = one.requests.saturating_add(1);
        match one.sender.try_send_request(request).await {
            Ok(response) => {
                let lease = LeaseOne {
                    lines: lines.clone(),
                    client: key,
                    one,
                    freed: demand.freed.clone(),
                    room: demand.room.clone(),
                    requests_max: demand.limits.requests_per_connection,
                };
                return Ok((response, Lease::One(Box::new(lease))));
            }
            Err(mut error) => match error.take_message() {
                // It was closed while it idled, and nothing was sent: that is no failure yet.
                Some(unsent) if is_idle => {
                    stale += 1;
                    request = unsent;
                }
                Some(_) => return Err(LineError::Broken { source: error.into_error(), sent: Sent::Nothing }),
                None => return Err(LineError::Broken { source: error.into_error(), sent: Sent::Kept }),
            },
        }
    }
}

/// Says that there is a body whose length nobody knows. hyper says so by itself, but not of GET and HEAD, whose body it leaves
/// out then.
fn tell_of_body(request: &mut Request<Body>) {
    let has_end = request.body().is_end_stream() || request.body().size_hint().exact().is_some();
    if !has_end && !request.headers().contains_key(header::CONTENT_LENGTH) {
        request.headers_mut().insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}

/// A connection of HTTP/1.1: a new one, or one that becomes free while there is no room for a new one.
async fn wait(demand: &Demand<'_>, key: IpAddr) -> Result<One, LineError> {
    let _waits = demand.room.pending().map_err(LineError::Overflow)?;
    let since = Instant::now();
    loop {
        if let Ok(permit) = demand.room.kept_connection() {
            return open(demand, permit).await;
        }
        // A limit without a queue would refuse what the next moment has room for; the queue has its own limit.
        (demand.make_room)();
        super::in_turn(demand, since, demand.freed.notified()).await?;
        if let Some(one) = take_idle(&demand.upstream.lines, key, demand.limits).await {
            return Ok(one);
        }
    }
}

async fn open(demand: &Demand<'_>, permit: Permit) -> Result<One, LineError> {
    let io = TokioIo::new(dial(demand, Within::Http1).await?);
    let shaken = http1::Builder::new().max_headers(config::HEADERS_MAX).handshake(io).await;
    let (sender, mut connection) = shaken.map_err(LineError::Handshake)?;
    let (hand_over, switched) = oneshot::channel::<Switched>();
    let place = Place { permit: Some(permit), freed: demand.freed.clone() };
    spawn_local(async move {
        if let Err(error) = poll_fn(|cx| connection.poll_without_shutdown(cx)).await {
            tracing::debug!(error = describe(&error), "a backend's connection ended");
        }
        let parts = connection.into_parts();
        let over = Switched { io: parts.io.into_inner(), first: parts.read_buf, place };
        // Most often nobody waits for it: it is closed in order then.
        if let Err(mut over) = hand_over.send(over) {
            // It may be gone already.
            let _ = over.io.shutdown().await;
        }
    });
    let now = Instant::now();
    Ok(One { sender, opened: now, idle_since: now, requests: 0, switched })
}

async fn take_idle(lines: &Lines, key: IpAddr, limits: &Limits) -> Option<One> {
    loop {
        let mut one = lines.0.borrow_mut().get_mut(&key)?.idle.pop()?;
        if one.is_usable(limits).await {
            return Some(one);
        }
    }
}
