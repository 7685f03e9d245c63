//! Connections that are passed on as they are.

pub(crate) mod counted;
mod heard;

use crate::client::{Connection, Destination};
use crate::decide::in_words;
use crate::dial::{DialError, dial};
use crate::dynamic::Name;
use crate::endpoints::NoEndpoint;
use crate::io::Io;
use crate::lines::Upstream;
use crate::open::{Entry, judge};
use crate::origin::Within;
use crate::outside::Asked;
use crate::target::Target;
use crate::targets::Placed;
use crate::telemetry::{Flag, Passage};
use crate::worker::{Now, Worker};
use counted::Counted;
use heard::{Heard, Took};
use http::HeaderMap;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use weft_core::policy::Denial;
use weft_l7::balance::key::KeySource;
use weft_l7::balance::load::InFlight;
use weft_l7::balance::{Ask, Member};
use weft_l7::limit::{Overflow, Permit};
use weft_l7::outlier::Outcome;
use weft_l7::service::Found;
use weft_l7::target::{ServiceTarget, Target as Word, Weighted, choose};
use weft_l7::traffic::TcpRoute;
use weft_runtime::log::describe;
use weft_tunnel::end::{Broken, End, Stop};

/// Why a connection is not passed on.
#[derive(Debug, thiserror::Error)]
enum TcpError {
    #[error("{0}")]
    Denied(Denial),
    #[error(transparent)]
    NoEndpoint(NoEndpoint),
    #[error("no DNS server has said in time what {} stands for", .0.host())]
    Awaits(Name),
    #[error(transparent)]
    Overflow(Overflow),
    #[error("reaching the endpoint")]
    Dial(#[source] DialError),
    #[error("no route takes it")]
    NoRoute,
    #[error("its route leads nowhere: {0}")]
    Nowhere(std::sync::Arc<str>),
}

impl TcpError {
    fn flag(&self) -> Flag {
        match self {
            Self::Denied(_) => Flag::Denied,
            Self::NoEndpoint(error) => Flag::from(error),
            Self::Awaits(_) => Flag::NameUnresolved,
            Self::Overflow(_) => Flag::Overflow,
            Self::Dial(_) => Flag::UpstreamFailure,
            Self::NoRoute | Self::Nowhere(_) => Flag::NoRoute,
        }
    }
}

/// Proof that a connection may go to an endpoint, and the room that it takes there.
struct Admitted {
    target: Rc<Target>,
    member: Rc<Member<Upstream>>,
    _room: Permit,
    _in_flight: InFlight,
}

/// Carries bytes both ways until both are done, policy says otherwise, or nothing is carried for too long.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    connection: Connection,
    io: impl AsyncRead + AsyncWrite + Unpin,
) {
    let _alive = worker.ending.alive();
    let moment = worker.now();
    let told = moment.telemetry(connection.service().map(|service| &service.name));
    let mut passage = Passage::new(&worker.telemetry, connection, told);
    let admitted = match admit(&worker, &moment, &mut passage) {
        Err(TcpError::Awaits(name)) => {
            // Boxed: else every connection would keep the space of it for as long as it lives.
            Box::pin(name.wait()).await;
            // Policy may say something else by now.
            admit(&worker, &worker.now(), &mut passage)
        }
        admitted => admitted,
    };
    let admitted = match admitted {
        Ok(admitted) => admitted,
        Err(error) => return passage.refuse(error.flag(), describe(&error)),
    };
    let settings = admitted.target.settings();
    let idle = settings.limits.bytes_idle.or(worker.limits.idle).filter(|idle| !idle.is_zero());
    // Nothing is waited for since the verdict: who changes policy from here on finds the connection.
    let entry = worker.open.enter(passage, idle);
    tokio::select! {
        biased;
        stop = entry.carried.stopped() => entry.set_end(End::Stopped(stop)),
        () = grow_old(settings.limits.age) => entry.set_end(End::Stopped(Stop::Age)),
        carried = carry(&worker, &admitted, &entry, io) => match carried {
            Ok(end) => entry.set_end(end),
            Err(error) => entry.refuse(error.flag(), describe(&error)),
        },
    }
}

/// Waits until a connection has lasted as long as it may.
async fn grow_old(age: Option<Duration>) {
    match age {
        Some(age) => tokio::time::sleep(age).await,
        None => std::future::pending().await,
    }
}

fn admit(worker: &Worker, moment: &Rc<Now>, passage: &mut Passage) -> Result<Admitted, TcpError> {
    let judgement = judge(moment, passage.connection());
    passage.dry_run = judgement.dry_run.as_ref().map(in_words);
    judgement.permit().map_err(TcpError::Denied)?;
    let connection = passage.connection();
    let target = target(worker, moment, connection)?;
    let room = target.room.connection().map_err(TcpError::Overflow)?;
    // Of what a balancer may hash, bytes have their client's address and nothing else.
    let client = connection.client.addr.ip();
    let from = KeySource { headers: &HeaderMap::new(), authority: "", query: "", client };
    let key = target.keyed(from, &mut worker.chance()).key;
    let chosen = target.choose(&Ask { key, ..Ask::default() }, connection.addr, &mut worker.chance());
    let member = chosen.map_err(TcpError::NoEndpoint)?;
    passage.asked = Some(member.endpoint.to.endpoint.workload.clone());
    let in_flight = member.begin(Instant::now());
    Ok(Admitted { target, member, _room: room, _in_flight: in_flight })
}

/// Dropping what is left tells both sides, however it ends.
async fn carry(
    worker: &Worker,
    admitted: &Admitted,
    entry: &Entry<Passage>,
    io: impl AsyncRead + AsyncWrite + Unpin,
) -> Result<End, TcpError> {
    let how = (Within::Bytes, admitted.target.settings().limits.connect);
    let client = &entry.connection().client;
    let learn = |took: Took| {
        let outcome = match took {
            Took::Yes => Outcome::Status(200),
            Took::No => Outcome::Local,
        };
        admitted.target.heard(&admitted.member, outcome, Instant::now());
    };
    let backend = dial(&admitted.member.endpoint.to.endpoint, client, &worker.tunnels, how).await;
    let backend = backend.inspect_err(|_| learn(Took::No)).map_err(TcpError::Dial)?;
    let is_known = !matches!(backend, Io::Tunnel(_));
    let mut backend = Heard::new(backend, learn);
    if is_known {
        backend.tell(Took::Yes);
    }
    entry.opened();
    let mut io = Counted::new(io, &entry.carried);
    Ok(match tokio::io::copy_bidirectional(&mut io, &mut backend).await {
        Ok(_) => End::Closed,
        Err(_) if io.has_failed() => End::AppReset,
        Err(error) => Broken::find(&error).map_or(End::PeerReset, End::from),
    })
}

fn target(worker: &Worker, moment: &Rc<Now>, connection: &Connection) -> Result<Rc<Target>, TcpError> {
    let asked = Asked { name: connection.server_name.as_deref(), namespace: connection.client.namespace() };
    let found = match &connection.destination {
        Destination::Workload { .. } => None,
        Destination::Service { service, own } => {
            let traffic = moment.traffic(&service.name);
            traffic.and_then(|traffic| traffic.routes(own.port, connection.client.namespace()))
        }
    };
    let takes = |route: &&TcpRoute| takes(route, connection);
    let route = match found {
        None | Some(Found::Http(_)) => {
            return here(worker.destination(&connection.destination, asked, moment));
        }
        Some(Found::Tls(routes)) => {
            let name = connection.server_name.as_deref();
            let named = routes.iter().filter(|route| route.is_for(name));
            named.map(|route| &route.connection).find(takes)
        }
        Some(Found::Tcp(routes)) => routes.iter().find(takes),
    };
    let word = target_of(&route.ok_or(TcpError::NoRoute)?.backends, worker)?;
    here(worker.place(word, asked, moment))
}

fn here(placed: Result<Placed, NoEndpoint>) -> Result<Rc<Target>, TcpError> {
    match placed.map_err(TcpError::NoEndpoint)? {
        Placed::Here(target) => Ok(target),
        Placed::Awaits(name) => Err(TcpError::Awaits(name)),
    }
}

/// Whether a route takes a connection.
fn takes(route: &TcpRoute, connection: &Connection) -> bool {
    let client = &connection.client;
    let label = |name: &str| client.workload.as_ref().and_then(|one| one.labels.get(name));
    (route.destinations.is_empty()
        || route.destinations.iter().any(|net| net.contains(&connection.addr.ip())))
        && route.source_namespace.as_ref().is_none_or(|namespace| **namespace == *client.namespace())
        && route.source_labels.iter().all(|(name, value)| label(name) == Some(value))
}

fn target_of<'a>(backends: &'a [Weighted<Word>], worker: &Worker) -> Result<&'a ServiceTarget, TcpError> {
    match choose(backends, &mut worker.chance()) {
        Some(Word::Service(target)) => Ok(target),
        Some(Word::Nowhere(why)) => Err(TcpError::Nowhere(why.clone())),
        None => Err(TcpError::NoRoute),
    }
}
