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
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::Instant;
use weft_l7::destination::Limits;
use weft_l7::limit::Permit;
use weft_l7::retry::Sent;
use weft_runtime::log::describe;
use weft_tunnel::hbone::{RESETS_FORGOTTEN_MAX, RESETS_KNOWN_MAX};

/// Streams of one connection before another one is opened, unless a rule says otherwise: what servers usually allow.
const STREAMS_MAX: u32 = 100;

/// A connection; clones are the same.
#[derive(Clone)]
pub(super) struct Two {
    sender: http2::SendRequest<Body>,
    taken: Rc<Taken>,
    opened: Instant,
    idle_since: Rc<Cell<Instant>>,
    requests: Rc<Cell<u32>>,
    streams: Rc<Cell<u32>>,
}

/// What a response holds of a connection until it is over.
pub(crate) struct LeaseTwo {
    _stream: Rc<Stream>,
}

/// A stream of a connection. Its backend counts it until both sides are done (RFC 9113 §5.1.2), so the response and the
/// request's body hold it together: a backend may answer before it has all of that.
struct Stream {
    streams: Rc<Cell<u32>>,
    idle_since: Rc<Cell<Instant>>,
    freed: Rc<Notify>,
}

impl Drop for Stream {
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

    /// One more stream of it.
    fn begin(&self, freed: &Rc<Notify>) -> Rc<Stream> {
        self.streams.set(self.streams.get() + 1);
        self.requests.set(self.requests.get().saturating_add(1));
        let (streams, idle_since) = (self.streams.clone(), self.idle_since.clone());
        Rc::new(Stream { streams, idle_since, freed: freed.clone() })
    }

    /// Whether its backend takes no streams, and said so within this time: another connection would hear the same.
    fn takes_none(&self, lately: Duration) -> bool {
        self.taken.most.get() == Some(0) && self.opened.elapsed() < lately && !self.sender.is_closed()
    }

    fn is_usable(&self, limits: &Limits) -> bool {
        let most = limits.streams_per_connection.unwrap_or(STREAMS_MAX);
        // What is more than its backend takes would wait within it, and for ever if the others stay.
        self.streams.get() < most.min(self.taken.at_a_time())
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
    let (key, since) = (super::key(&demand), Instant::now());
    let mut stale = 0;
    loop {
        let mut two = match take_shared(&demand, key) {
            Some(two) => two,
            None => Box::pin(wait(&demand, key, since)).await?,
        };
        let stream = two.begin(demand.freed);
        request.body_mut().keep(stream.clone());
        let sending = two.sender.try_send_request(request);
        let sent = match two.taken.most.get() {
            Some(_) => sending.await,
            // Boxed: else every request would keep the space of it for as long as it lives.
            None => Box::pin(sent_unasked(&demand, &two.taken, since, sending)).await?,
        };
        match sent {
            Ok(response) => return Ok((response, Lease::Two(LeaseTwo { _stream: stream }))),
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

/// Sends a request on a connection of which nobody knows how many streams it takes. If it takes none, the request is in
/// vain: it may never go out, and h2 does not say so.
async fn sent_unasked<T>(
    demand: &Demand<'_>,
    taken: &Taken,
    since: Instant,
    sending: impl Future<Output = T>,
) -> Result<T, LineError> {
    let limit = demand.tunnels.pending_limit();
    tokio::select! {
        sent = sending => Ok(sent),
        () = taken.takes_none(since + limit) => {
            // What waits within hyper would keep the connection, and the request's body, for as long as the backend likes.
            taken.on_given_up.notify_one();
            Err(LineError::Waited(limit))
        }
    }
}

async fn wait(demand: &Demand<'_>, key: IpAddr, since: Instant) -> Result<Two, LineError> {
    let lines = &demand.upstream.lines;
    let _waits = demand.room.pending().map_err(LineError::Overflow)?;
    let opening = lines.0.borrow_mut().entry(key).or_default().opening.clone();
    let _opening = super::in_turn(demand, since, opening.lock()).await?;
    loop {
        if let Some(two) = take_shared(demand, key) {
            return Ok(two);
        }
        if let Some(taken) = find(demand, key, |two| two.taken.most.get().is_none()) {
            taken.said().await;
            continue;
        }
        let lately = demand.tunnels.pending_limit();
        if let Some(taken) = find(demand, key, |two| two.takes_none(lately)) {
            super::in_turn(demand, since, taken.changed()).await?;
            continue;
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
    let taken = Rc::<Taken>::default();
    let shaken = http2::Builder::new(Listening(taken.clone()))
        .max_header_list_size(HEAD_BYTES_MAX as u32)
        .initial_max_send_streams(UNSAID)
        .max_concurrent_reset_streams(RESETS_KNOWN_MAX)
        .max_local_error_reset_streams(RESETS_FORGOTTEN_MAX)
        .handshake(io)
        .await;
    let (sender, mut connection) = shaken.map_err(LineError::Handshake)?;
    let (freed, heard) = (demand.freed.clone(), taken.clone());
    spawn_local(async move {
        let ended = poll_fn(|cx| {
            let polled = Pin::new(&mut connection).poll(cx);
            heard.hear(connection.current_max_send_streams(), cx);
            polled
        });
        tokio::select! {
            ended = ended => if let Err(error) = ended {
                tracing::debug!(error = describe(&error), "a backend's connection ended");
            },
            () = heard.on_given_up.notified() => tracing::debug!("gave up a backend's connection that takes no streams"),
        }
        drop(connection);
        heard.end();
        drop(permit);
        freed.notify_one();
    });
    let now = Instant::now();
    let (requests, streams) = (Rc::default(), Rc::default());
    Ok(Two { sender, taken, opened: now, idle_since: Rc::new(Cell::new(now)), requests, streams })
}

fn take_shared(demand: &Demand<'_>, key: IpAddr) -> Option<Two> {
    let all = demand.upstream.lines.0.borrow();
    let shared = &all.get(&key)?.shared;
    // What is too much gets no more streams, and is closed once it has none; one is always needed.
    let kept = shared.len().saturating_sub(demand.room.surplus() as usize).max(1);
    shared.iter().take(kept).find(|two| two.is_usable(demand.limits)).cloned()
}

/// How many streams a connection takes of which this holds.
fn find(demand: &Demand<'_>, key: IpAddr, is: impl Fn(&Two) -> bool) -> Option<Rc<Taken>> {
    let all = demand.upstream.lines.0.borrow();
    let mut open = all.get(&key)?.shared.iter().filter(|two| !two.sender.is_closed());
    open.find(|two| is(two)).map(|two| two.taken.clone())
}

/// What h2 goes by until a backend has said how many streams it takes: a number that tells that it has not.
const UNSAID: usize = u32::MAX as usize - 1;
/// It says so at once (RFC 9113 §3.4). Who does not is taken to take what is usual.
const SAID_WITHIN: Duration = Duration::from_secs(1);

/// How many streams at a time a backend takes on a connection (RFC 9113 §5.1.2).
#[derive(Default)]
struct Taken {
    /// Nothing before it has said so.
    most: Cell<Option<u32>>,
    on_change: Notify,
    /// Told when nobody wants the connection any more.
    on_given_up: Notify,
    /// The task that can look.
    looker: RefCell<Option<Waker>>,
}

impl Taken {
    /// One before anything is known.
    fn at_a_time(&self) -> u32 {
        self.most.get().unwrap_or(1)
    }

    /// Waits until it is known.
    async fn said(&self) {
        let said = self.changed();
        if self.most.get().is_none() && tokio::time::timeout(SAID_WITHIN, said).await.is_err() {
            self.settle(STREAMS_MAX);
        }
    }

    /// Waits until it is another number, or the connection is over.
    fn changed(&self) -> impl Future<Output = ()> {
        self.on_change.notified()
    }

    /// Ready once it has been none from the first, and still is by then.
    async fn takes_none(&self, by: Instant) {
        loop {
            let changed = self.changed();
            match self.most.get() {
                None => changed.await,
                Some(0) => {
                    if tokio::time::timeout_at(by, changed).await.is_err() {
                        return;
                    }
                }
                // What there is has gone out.
                Some(_) => std::future::pending().await,
            }
        }
    }

    /// The connection is over: nobody need wait for what it does not say any more.
    fn end(&self) {
        self.most.set(self.most.get().or(Some(STREAMS_MAX)));
        self.on_change.notify_waiters();
    }

    fn settle(&self, most: u32) {
        if self.most.replace(Some(most)) != Some(most) {
            self.on_change.notify_waiters();
        }
    }

    /// What h2 goes by now.
    fn hear(&self, most: usize, cx: &Context<'_>) {
        if most != UNSAID {
            self.settle(u32::try_from(most).unwrap_or(u32::MAX));
        }
        if self.is_awaited() {
            *self.looker.borrow_mut() = Some(cx.waker().clone());
        }
    }

    /// Something may have come.
    fn look(&self) {
        if self.is_awaited()
            && let Some(looker) = self.looker.take()
        {
            looker.wake();
        }
    }

    /// Whether requests may wait for another number. Of others it is enough to hear when there is something to send.
    fn is_awaited(&self) -> bool {
        matches!(self.most.get(), None | Some(0))
    }
}

/// Runs what hyper wants to run beside a connection, which is what reads its frames; but only the connection itself can
/// tell what they have said.
#[derive(Clone)]
struct Listening(Rc<Taken>);

impl<F: Future + 'static> hyper::rt::Executor<F> for Listening
where
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        let taken = self.0.clone();
        LocalExecutor.execute(async move {
            let mut future = pin!(future);
            poll_fn(|cx| {
                let polled = future.as_mut().poll(cx);
                taken.look();
                polled
            })
            .await
        });
    }
}
