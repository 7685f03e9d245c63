//! Brings a request where its rule says, and its response back.

use crate::body::{Keep, Source};
use crate::lines::Upstream;
use crate::mirror;
use crate::outside::Asked;
use crate::target::Target;
use crate::telemetry::{Flag, Record};
use crate::tries::{self, Task};
use crate::way::{Answer, Seen, Way};
use http::{HeaderName, HeaderValue, request};
use hyper::body::{Body as _, Incoming};
use std::time::{Instant, SystemTime};
use weft_l7::apply;
use weft_l7::apply::hop::Upgrading;
use weft_l7::apply::reply::{self, Speaks};
use weft_l7::balance::Member;
use weft_l7::balance::key::{KeySource, Keyed};
use weft_l7::balance::session::{self, Token};
use weft_l7::deadline;
use weft_l7::matches::Subject as _;
use weft_l7::resilience::Timeouts;
use weft_l7::rule::{Backend, Forward, Rule};
use weft_l7::target::{Target as Word, choose};

/// What is to be done with a request.
#[derive(Clone, Copy)]
pub(crate) struct Errand<'a> {
    /// The rule that took it.
    pub(crate) rule: &'a Rule,
    /// Where it sends it.
    pub(crate) forward: &'a Forward,
    /// Whether the connection is to become another protocol's.
    pub(crate) upgrading: Upgrading,
    /// Since when its time counts.
    pub(crate) since: Instant,
}

/// By what a rule says.
pub(crate) async fn by_rule(
    way: &Way,
    errand: Errand<'_>,
    mut head: request::Parts,
    incoming: Incoming,
    record: &mut Record,
) -> Answer {
    let Errand { rule, forward, upgrading, since } = errand;
    let token = forward.session.as_ref().and_then(|words| session::read(words, &head.headers, seconds()));
    let Some(backend) = choose_backend(way, forward, token.as_ref()) else {
        let why = "the rule has no backend with a weight".to_owned();
        return respond(errand, None, nowhere(way, rule, record, why));
    };
    let word = match &backend.target {
        Word::Service(word) => word,
        Word::Nowhere(why) => {
            return respond(errand, Some(backend), nowhere(way, rule, record, why.to_string()));
        }
    };
    let request_deadline = deadline::of_request(&forward.timeouts, &head.headers, since);
    if let Err(bad) = apply::request(rule, forward, backend, &mut head) {
        let why = format!("the rule's rewrite makes no path: {bad}");
        let text = "the route's rewrite makes no path";
        return respond(errand, Some(backend), way.refuse(record, (500, text), Flag::NoRoute, Some(why)));
    }
    // A service that stands for many names is asked for the one that the backend will see.
    let place = |asked: Asked<'_>| way.worker.place(word, asked, &way.moment);
    let target = match way.target(&head, request_deadline, place).await {
        Ok(target) => target,
        Err(why) => return respond(errand, Some(backend), way.unplaced(record, &why)),
    };
    let keyed = keyed(way, &target, &head);
    let keeps = forward.retry.as_ref().is_some_and(|retry| retry.retries > 0);
    let source = source(way, incoming, if keeps { Keep::Sent } else { Keep::Nothing }, record);
    for copy in forward.mirrors.iter().chain(&backend.mirrors) {
        mirror::send(way, copy, &head, source.as_ref());
    }
    let task = Task {
        target: &target,
        timeouts: &forward.timeouts,
        retry: forward.retry.as_ref(),
        deadline: request_deadline,
        key: keyed.key,
        session: token.as_ref().map(|token| token.mark),
        upgrading,
    };
    let (mut answer, endpoint) = tries::run(way, task, head, source, record).await;
    let cookie = keyed.set_cookie.map(|value| (http::header::SET_COOKIE, value));
    let session = endpoint.and_then(|endpoint| carry(forward, token.as_ref(), &endpoint));
    for (name, value) in cookie.into_iter().chain(session) {
        answer.response.headers_mut().append(name, value);
    }
    respond(errand, Some(backend), answer)
}

/// The rule leads nowhere, and why.
fn nowhere(way: &Way, rule: &Rule, record: &mut Record, why: String) -> Answer {
    (record.flag, record.why) = (Flag::NoRoute, Some(why));
    reply::nowhere(way.speaks, &rule.origin).into()
}

/// To what the client asked for, where no rule says anything.
pub(crate) async fn plainly(
    way: &Way,
    head: request::Parts,
    incoming: Incoming,
    upgrading: Upgrading,
    record: &mut Record,
) -> Answer {
    let timeouts = Timeouts::default();
    let deadline = deadline::of_request(&timeouts, &head.headers, way.begun);
    let place = |asked: Asked<'_>| {
        let destination = &way.connection.destination;
        way.worker.destination(destination, asked, &way.moment)
    };
    let target = match way.target(&head, deadline, place).await {
        Ok(target) => target,
        Err(why) => return way.unplaced(record, &why),
    };
    let keyed = keyed(way, &target, &head);
    let source = source(way, incoming, Keep::Nothing, record);
    let task = Task {
        target: &target,
        timeouts: &timeouts,
        retry: None,
        deadline,
        key: keyed.key,
        session: None,
        upgrading,
    };
    let (mut answer, _) = tries::run(way, task, head, source, record).await;
    if let Some(cookie) = keyed.set_cookie {
        answer.response.headers_mut().append(http::header::SET_COOKIE, cookie);
    }
    answer
}

fn respond(errand: Errand<'_>, backend: Option<&Backend>, mut answer: Answer) -> Answer {
    apply::response(errand.rule, backend, answer.response.headers_mut());
    answer
}

/// By the session, which counts more, else by weight.
fn choose_backend<'a>(way: &Way, forward: &'a Forward, token: Option<&Token>) -> Option<&'a Backend> {
    let has_session = |backend: &&Backend| match (&backend.target, token) {
        (Word::Service(word), Some(token)) => {
            way.worker.service(word, &way.moment).is_ok_and(|target| target.has_session(token.mark))
        }
        _ => false,
    };
    let of_session =
        token.and_then(|_| forward.backends.iter().map(|weighted| &weighted.to).find(has_session));
    of_session.or_else(|| choose(&forward.backends, &mut way.worker.chance()))
}

/// What a balancer that hashes looks at.
fn keyed(way: &Way, target: &Target, head: &request::Parts) -> Keyed {
    let seen = Seen::new(head, &way.connection);
    let query = head.uri.query().unwrap_or_default();
    let client = way.connection.client.addr.ip();
    let from = KeySource { headers: &head.headers, authority: seen.authority(), query, client };
    target.keyed(from, &mut way.worker.chance())
}

fn source(way: &Way, incoming: Incoming, keep: Keep, record: &mut Record) -> Option<Source> {
    if incoming.is_end_stream() {
        return None;
    }
    // A call of gRPC may send when it likes, and says itself how long it waits.
    let sender = way.stream.clone().filter(|_| way.speaks == Speaks::Http);
    let source = Source::new(incoming, keep, sender);
    record.uploads(source.bytes());
    Some(source)
}

/// What the client carries to come back to the endpoint.
fn carry(
    forward: &Forward,
    token: Option<&Token>,
    endpoint: &Member<Upstream>,
) -> Option<(HeaderName, HeaderValue)> {
    session::write(forward.session.as_ref()?, token, &endpoint.endpoint.id, seconds())
}

/// Since 1970, as sessions count.
fn seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}
