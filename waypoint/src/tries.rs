//! Tries to get a response: one endpoint after the other, as long as the rule says and there is time and room.

use crate::body::{Body, BodyError, Cut, Follow, Source};
use crate::head::{self, Outbound};
use crate::lines::{Demand, Lease, LineError, Lines, Upstream};
use crate::shed::{Shed, Shedding};
use crate::target::Target;
use crate::telemetry::{Flag, Record};
use crate::way::{Answer, Switching, Way};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, request};
use hyper::body::{Frame, Incoming};
use std::rc::Rc;
use std::time::Instant;
use weft_core::names::WorkloadUid;
use weft_l7::apply::hop::Upgrading;
use weft_l7::apply::reply::Speaks;
use weft_l7::balance::load::{self, InFlight};
use weft_l7::balance::{Ask, Member, Reach};
use weft_l7::deadline::{self, Brought, Deadline};
use weft_l7::destination::Settings;
use weft_l7::grpc;
use weft_l7::limit::Permit;
use weft_l7::outlier;
use weft_l7::resilience::{Retry, Timeouts};
use weft_l7::retry::{self, Attempt, Failure, Outcome, Sent, Stop, To, Told};

/// What is to be got.
#[derive(Clone, Copy)]
pub(crate) struct Task<'a> {
    /// Where from.
    pub(crate) target: &'a Rc<Target>,
    /// How long it may take.
    pub(crate) timeouts: &'a Timeouts,
    /// When it is tried again.
    pub(crate) retry: Option<&'a Retry>,
    /// Until when all of it may take.
    pub(crate) deadline: Option<Deadline>,
    /// What makes requests the same.
    pub(crate) key: Option<u64>,
    /// The endpoint of the session.
    pub(crate) session: Option<u64>,
    /// Whether the connection is to become another protocol's.
    pub(crate) upgrading: Upgrading,
}

/// How one try went.
struct Tried {
    result: Result<(Response<Incoming>, Lease), TryError>,
    in_flight: InFlight,
}

/// Why a try brought no response.
enum TryError {
    Line(LineError),
    Late(Deadline),
    /// The client did not bring the request to its end. That is no failure of the endpoint's, and no other could do better.
    Cut(Cut),
}

/// What a response holds until its body is over.
struct Held {
    lease: Option<Lease>,
    _in_flight: InFlight,
    _request: Permit,
    retry: Option<Permit>,
    /// Whose answer it is.
    of: (Rc<Target>, Rc<Member<Upstream>>),
    /// What comes behind the body says how it fares.
    awaits: bool,
}

impl Held {
    fn heard(&self, outcome: outlier::Outcome) {
        let (target, member) = &self.of;
        target.heard(member, outcome, Instant::now());
    }
}

impl Follow for Held {
    fn piece(&mut self, frame: &Frame<Bytes>) {
        let Some(status) = frame.trailers_ref().and_then(grpc::status) else { return };
        if std::mem::take(&mut self.awaits) {
            self.heard(outlier::Outcome::Status(grpc::to_http(status)));
        }
    }

    fn done(mut self: Box<Self>) {
        if let Some(lease) = self.lease.take() {
            lease.done();
        }
    }

    // What it holds goes with it: a connection in the middle of a response is of no more use.
    fn broken(&mut self, error: &BodyError) {
        if error.is_backends() {
            self.heard(outlier::Outcome::Local);
        }
    }
}

/// Tries. The endpoint is the one that the response is from.
pub(crate) async fn run(
    way: &Way,
    task: Task<'_>,
    mut head: request::Parts,
    source: Option<Source>,
    record: &mut Record,
) -> (Answer, Option<Rc<Member<Upstream>>>) {
    let target = task.target;
    let settings = target.settings();
    let outbound = head::prepare(&mut head, target.protocol(), &settings, task.upgrading);
    let (request_room, mut shedding) = match admit(target) {
        Ok(room) => room,
        Err(why) => {
            let text = "upstream connect error or disconnect/reset before headers. reset reason: overflow";
            return (way.refuse(record, (503, text), Flag::Overflow, Some(why)), None);
        }
    };
    target.count_request(way.begun);
    let mut failed: Vec<WorkloadUid> = Vec::new();
    let (mut reach, mut retry_room) = (Reach::OneLevel, None);
    let mut number = 0;
    loop {
        let ask = Ask { key: task.key, session: task.session, exclude: &failed, reach };
        let chosen = target.choose(&ask, way.connection.addr, &mut way.worker.chance());
        let member = match chosen {
            Ok(member) => member,
            Err(error) => return (way.no_endpoint(record, &error), None),
        };
        record.tries += 1;
        record.asked = Some(member.endpoint.to.endpoint.workload.clone());
        let may_follow = task.retry.is_some_and(|retry| number < retry.retries);
        let this = if may_follow { head.clone() } else { std::mem::replace(&mut head, empty()) };
        let mut request = Request::from_parts(this, body(source.as_ref()));
        let begun = Instant::now();
        record.ask(request.headers_mut(), &mut way.worker.chance(), begun);
        let tried = once(way, &task, &settings, (&member, outbound), request, begun).await;
        let tried = tried.or_cut(source.as_ref());
        let ended = Instant::now();
        learn(target, &member, (&tried, way.speaks), ended);
        let again = decide(way, &task, &tried, (number, source.as_ref()), ended);
        match again {
            Ok(again) => {
                tracing::debug!(endpoint = %member.endpoint.id, try_number = number, after = ?again.after, "trying again");
                if again.to == To::OthersFirst {
                    failed.push(member.endpoint.id.clone());
                }
                if task.retry.is_some_and(|retry| retry.other_localities) {
                    reach = Reach::AllLevels;
                }
                retry_room = Some(again.permit);
                record.asked_in_vain(tried.response());
                drop(tried);
                if !again.after.is_zero() {
                    tokio::time::sleep(again.after).await;
                }
                number += 1;
            }
            Err(stop) => {
                // What comes behind the head may last for days, and says nothing of how the service fares.
                if let Some(mut shedding) = shedding.take().filter(|_| !tried.is_cut()) {
                    shedding.answered(tried.status(), ended);
                }
                let Tried { result, in_flight } = tried;
                let (response, lease) = match result {
                    Ok(response) => response,
                    Err(error) => {
                        record.asked_in_vain(None);
                        return (fail(way, record, &error, stop), None);
                    }
                };
                if is_unasked(&response, task.upgrading) {
                    let why = "the backend goes over to a protocol that nobody asked for".to_owned();
                    let text = "upstream connect error or disconnect/reset before headers. reset reason: protocol error";
                    return (way.refuse(record, (502, text), Flag::UpstreamReset, Some(why)), None);
                }
                if stop == Stop::Enough && number > 0 {
                    record.flag = Flag::RetryLimit;
                }
                let late = deadline::of_try(task.timeouts, task.retry, task.deadline, begun, Brought::Head);
                let awaits = status_of(&response, way.speaks).is_none();
                let held = Held {
                    lease: Some(lease),
                    _in_flight: in_flight,
                    _request: request_room,
                    retry: retry_room,
                    of: (target.clone(), member.clone()),
                    awaits,
                };
                return (deliver(response, held, late, (way.speaks, task.upgrading)), Some(member));
            }
        }
    }
}

/// Room for the request.
fn admit(target: &Target) -> Result<(Permit, Option<Shedding>), String> {
    let room = target.room.request().map_err(|overflow| overflow.to_string())?;
    let shedding = target.limiter().map(|limiter| Shedding::begin(&limiter)).transpose();
    Ok((room, shedding.map_err(|Shed| Shed.to_string())?))
}

/// One try.
async fn once(
    way: &Way,
    task: &Task<'_>,
    settings: &Settings,
    (member, outbound): (&Rc<Member<Upstream>>, Outbound),
    mut request: Request<Body>,
    begun: Instant,
) -> Tried {
    let target = task.target;
    let deadline = deadline::of_try(task.timeouts, task.retry, task.deadline, begun, Brought::Nothing);
    deadline::hand_on(request.headers_mut(), deadline, begun);
    let in_flight = member.begin(begun);
    let demand = Demand {
        upstream: &member.endpoint.to,
        client: &way.connection.client,
        tunnels: &way.worker.tunnels,
        room: &target.room,
        freed: &target.freed,
        limits: &settings.limits,
        make_room: &|| target.close_one(),
    };
    let sending = Lines::send(demand, outbound.version, request);
    let result = match deadline {
        None => sending.await.map_err(TryError::Line),
        Some(deadline) => match tokio::time::timeout_at(deadline.at.into(), sending).await {
            Ok(sent) => sent.map_err(TryError::Line),
            Err(_) => Err(TryError::Late(deadline)),
        },
    };
    Tried { result, in_flight }
}

impl Tried {
    /// Whose fault it is that there is no response.
    fn or_cut(self, source: Option<&Source>) -> Self {
        match (self.result, source.and_then(Source::cut)) {
            (Err(TryError::Line(_)), Some(cut)) => Self { result: Err(TryError::Cut(cut)), ..self },
            (result, _) => Self { result, ..self },
        }
    }

    fn is_cut(&self) -> bool {
        matches!(self.result, Err(TryError::Cut(_)))
    }

    fn response(&self) -> Option<(u16, &HeaderMap)> {
        self.result.as_ref().ok().map(|(response, _)| (response.status().as_u16(), response.headers()))
    }

    fn status(&self) -> Option<u16> {
        self.response().map(|(status, _)| status)
    }
}

/// What the try says of its endpoint.
fn learn(target: &Target, member: &Member<Upstream>, (tried, speaks): (&Tried, Speaks), now: Instant) {
    let outcome = match &tried.result {
        Ok((response, _)) => status_of(response, speaks).map(outlier::Outcome::Status),
        // It says nothing of the endpoint that there was no room here, or that the client waits no longer.
        Err(TryError::Line(LineError::Overflow(_) | LineError::Waited(_)) | TryError::Cut(_)) => return,
        Err(TryError::Late(deadline)) if deadline.limit == deadline::Limit::Client => return,
        Err(TryError::Line(_) | TryError::Late(_)) => Some(outlier::Outcome::Local),
    };
    let answer = match outcome {
        None | Some(outlier::Outcome::Status(..500)) => load::Answer::Fine,
        Some(outlier::Outcome::Status(_) | outlier::Outcome::Local) => load::Answer::Failed,
    };
    tried.in_flight.answered(answer, now);
    if let Some(outcome) = outcome {
        target.heard(member, outcome, now);
    }
}

/// What a response's head says of how its endpoint fares, as a status of HTTP. Of gRPC that is its own status, which comes
/// behind the body where there is one (Envoy, "Outlier detection": "gRPC").
fn status_of(response: &Response<Incoming>, speaks: Speaks) -> Option<u16> {
    match (speaks, response.status()) {
        (Speaks::Grpc, StatusCode::OK) => grpc::status(response.headers()).map(grpc::to_http),
        (Speaks::Grpc | Speaks::Http, status) => Some(status.as_u16()),
    }
}

fn decide(
    way: &Way,
    task: &Task<'_>,
    tried: &Tried,
    (number, source): (u32, Option<&Source>),
    now: Instant,
) -> Result<retry::Again<Permit>, Stop> {
    let words = task.retry.ok_or(Stop::Final)?;
    let all = || if source.is_none_or(Source::is_whole) { Sent::Kept } else { Sent::Gone };
    let (outcome, sent) = match &tried.result {
        Ok((response, _)) => {
            let (status, headers) = (response.status().as_u16(), response.headers());
            (Outcome::Response { status, headers }, all())
        }
        Err(TryError::Line(error)) => {
            // What nobody has looked at may all the same have been sent, and then all of it has to be there again.
            let sent = match all() {
                Sent::Kept => error.sent(),
                gone => gone,
            };
            (Outcome::Failed(error.failure()), sent)
        }
        Err(TryError::Cut(_)) => return Err(Stop::Final),
        Err(TryError::Late(deadline)) if deadline.limit.ends_request() => return Err(Stop::Deadline),
        Err(TryError::Late(_)) => (Outcome::Failed(Failure::Timeout), all()),
    };
    let left = task.deadline.map(|deadline| deadline.at.saturating_duration_since(now));
    let attempt = Attempt { outcome, number, sent, told: Told::Nothing, left };
    retry::decide(words, &attempt, || task.target.retry_room(now), &mut way.worker.chance())
}

/// What the client gets instead of a response.
fn fail(way: &Way, record: &mut Record, error: &TryError, stop: Stop) -> Answer {
    let error = match error {
        TryError::Late(deadline) => return way.late(record, deadline.limit),
        TryError::Cut(cut) => {
            let text = cut.to_string();
            return way.refuse(record, (cut.status(), &text), Flag::BadRequest, None);
        }
        TryError::Line(error) => error,
    };
    let flag = match (error.failure(), stop) {
        (Failure::Overload, _) => Flag::Overflow,
        (_, Stop::Enough) if record.tries > 1 => Flag::RetryLimit,
        (Failure::Connect, _) => Flag::UpstreamFailure,
        (Failure::Refused | Failure::Reset | Failure::Timeout, _) => Flag::UpstreamReset,
    };
    let text = "upstream connect error or disconnect/reset before headers";
    way.refuse(record, (503, text), flag, Some(weft_runtime::log::describe(error)))
}

/// Whether the backend goes over to a protocol that it was not asked for: what comes then is no response.
fn is_unasked(response: &Response<Incoming>, upgrading: Upgrading) -> bool {
    response.status() == StatusCode::SWITCHING_PROTOCOLS && upgrading == Upgrading::No
}

fn deliver(
    response: Response<Incoming>,
    mut held: Held,
    late: Option<Deadline>,
    (speaks, upgrading): (Speaks, Upgrading),
) -> Answer {
    let (mut parts, incoming) = response.into_parts();
    let switches = parts.status == StatusCode::SWITCHING_PROTOCOLS;
    head::clean(&mut parts, if switches { upgrading } else { Upgrading::No });
    if switches {
        // It is an answered request, but it takes up its place and its connection for as long as it lasts.
        drop(held.retry.take());
        let switching = held.lease.take().map(|lease| Switching { lease, held: Box::new(held) });
        return Answer { response: Response::from_parts(parts, Body::Empty), switching };
    }
    Response::from_parts(parts, Body::download(incoming, late, speaks, Box::new(held))).into()
}

fn body(source: Option<&Source>) -> Body {
    source.map_or(Body::Empty, |source| Body::Upload(source.upload()))
}

fn empty() -> request::Parts {
    Request::new(()).into_parts().0
}
