//! Answers a request: refuses what is none, asks policy, finds the rule, and does what it says.

use crate::body::Body;
use crate::client::Connection;
use crate::decide::{self, Asker, bring_into_form, in_words};
use crate::forward::{self, Errand};
use crate::streams::Stream;
use crate::telemetry::{Flag, Record};
use crate::vet::vet;
use crate::way::{Answer, FORWARDED_PROTO, Seen, Way, no_route};
use crate::worker::Worker;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Version, request};
use hyper::Request;
use hyper::body::Incoming;
use std::rc::Rc;
use std::time::Instant;
use weft_l7::apply::hop::{self, Upgrading};
use weft_l7::apply::reply::{Speaks, abort, direct};
use weft_l7::apply::{self, cors, redirect};
use weft_l7::matches::Subject as _;
use weft_l7::rule::{Action, Rule};
use weft_l7::service::Found;

/// Who the client is, for backends (Envoy's header; what a client says itself is nobody's proof).
const CLIENT_CERTIFICATE: HeaderName = HeaderName::from_static("x-forwarded-client-cert");
/// What tells a request from others.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Answers a request. What is noted of it goes on in the record.
pub(crate) async fn answer(
    worker: &Rc<Worker>,
    connection: &Rc<Connection>,
    request: Request<Incoming>,
    stream: Option<Rc<Stream>>,
) -> (Answer, Box<Record>) {
    let begun = Instant::now();
    let (head, incoming) = request.into_parts();
    let moment = worker.now();
    let told = moment.telemetry(connection.service().map(|service| &service.name));
    let mut record = Record::new(&worker.telemetry, connection, &head, begun, told);
    let way = Way {
        worker: worker.clone(),
        connection: connection.clone(),
        moment,
        speaks: Speaks::of(&head.headers),
        stream,
        begun,
    };
    let is_head = head.method == Method::HEAD;
    let mut answer = judge(&way, head, incoming, &mut record).await;
    if is_head {
        answer.response = answer.response.map(Body::left_out);
    }
    record.answered(answer.response.status().as_u16(), answer.response.headers());
    (answer, record)
}

/// Refuses what may not be, and hands on what may.
async fn judge(way: &Way, mut head: request::Parts, incoming: Incoming, record: &mut Record) -> Answer {
    if let Err(bad) = vet(&head) {
        return refuse_bad(way, &head, record, bad.status(), &bad.to_string());
    }
    name_host(way, &mut head);
    if let Err(bad) = bring_into_form(&mut head) {
        return refuse_bad(way, &head, record, 400, &format!("the path of the request is none: {bad}"));
    }
    let upgrading = hop::upgrading(head.version, &head.headers);
    hop::strip(&mut head.headers, upgrading);
    // This side says it, when a backend takes the body.
    head.headers.remove(header::EXPECT);
    introduce(way, &mut head.headers);
    record.begin_span(&mut head.headers, &mut way.worker.chance());
    record.identify(&head.headers);
    if let Err(why) = authorise(way, &head, record) {
        return way.refuse(record, (403, "RBAC: access denied"), Flag::Denied, Some(why));
    }
    if upgrading == Upgrading::Yes {
        // The connection is judged by it as long as it lasts.
        record.upgrade = Some(Box::new(head.clone()));
    }
    route(way, head, incoming, upgrading, record).await
}

/// HTTP/1.0 need not name a host, and whoever is asked by a newer version has to hear one (RFC 9112 §3.2): that is what the
/// client connected to.
fn name_host(way: &Way, head: &mut request::Parts) {
    if head.version == Version::HTTP_10
        && head.uri.authority().is_none()
        && !head.headers.contains_key(header::HOST)
        && let Ok(host) = HeaderValue::try_from(way.connection.addr.to_string())
    {
        head.headers.insert(header::HOST, host);
    }
}

/// It is no request, so nothing behind it on its connection is taken for one either.
fn refuse_bad(way: &Way, head: &request::Parts, record: &mut Record, status: u16, text: &str) -> Answer {
    let mut answer = way.refuse(record, (status, text), Flag::BadRequest, None);
    if head.version < Version::HTTP_2 {
        answer.response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

/// What backends are told of who asks.
fn introduce(way: &Way, headers: &mut HeaderMap) {
    headers.insert(CLIENT_CERTIFICATE, way.connection.certificate.clone());
    if !headers.contains_key(FORWARDED_PROTO) {
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static("http"));
    }
    if !headers.contains_key(&REQUEST_ID) {
        headers.insert(REQUEST_ID, request_id(way));
    }
}

/// A UUID of version 4 (RFC 9562 §5.4).
fn request_id(way: &Way) -> HeaderValue {
    let (high, low) = (way.worker.dice.next(), way.worker.dice.next());
    let text = format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xfff,
        low >> 48 & 0x3fff | 0x8000,
        low & 0xffff_ffff_ffff
    );
    // Digits and lines may stand in a header.
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("0"))
}

/// Asks policy.
///
/// # Errors
/// Why the request may not be, for people here.
fn authorise(way: &Way, head: &request::Parts, record: &mut Record) -> Result<(), String> {
    let judgement =
        decide::authorise(&way.moment, Asker::of(&way.connection), &Seen::new(head, &way.connection));
    record.dry_run = judgement.dry_run.as_ref().map(in_words);
    judgement.permit().map(|_| ()).map_err(|denial| denial.to_string())
}

async fn route(
    way: &Way,
    head: request::Parts,
    incoming: Incoming,
    upgrading: Upgrading,
    record: &mut Record,
) -> Answer {
    let connection = &way.connection;
    let routes = decide::routes(&way.moment, &connection.destination, connection.client.namespace());
    let Some(Found::Http(table)) = routes else {
        return forward::plainly(way, head, incoming, upgrading, record).await;
    };
    let Some(rule) = table.find(&Seen::new(&head, connection)).cloned() else {
        let why = "no rule of the service's routes takes it".to_owned();
        return way.refuse(record, (404, no_route(way.speaks)), Flag::NoRoute, Some(why));
    };
    record.rule = Some(rule.clone());
    act(way, &rule, head, incoming, upgrading, record).await
}

async fn act(
    way: &Way,
    rule: &Rule,
    head: request::Parts,
    incoming: Incoming,
    upgrading: Upgrading,
    record: &mut Record,
) -> Answer {
    let mut allowed = None;
    if let Some(words) = &rule.cors {
        match cors::decide(words, &head) {
            cors::Decision::Answer(response) => return finish(rule, response.into()),
            cors::Decision::Allowed(origin) => allowed = Some((words, origin)),
            cors::Decision::AsItIs => {}
        }
    }
    let mut answer = match inject(way, rule, record).await {
        Some(answer) => finish(rule, answer),
        None => match &rule.action {
            Action::Respond(respond) => finish(rule, direct(way.speaks, respond).into()),
            Action::Redirect(words) => finish(rule, redirected(way, words, &head, record)),
            Action::Forward(forward) => {
                // What it has waited on purpose is no time that it took (Istio, `HTTPFaultInjection`).
                let since = if record.flag == Flag::DelayInjected { Instant::now() } else { way.begun };
                let errand = Errand { rule, forward, upgrading, since };
                forward::by_rule(way, errand, head, incoming, record).await
            }
        },
    };
    if let Some((words, origin)) = allowed {
        cors::allow(words, &origin, answer.response.headers_mut());
    }
    answer
}

/// What the rule does to a response that no backend made.
fn finish(rule: &Rule, mut answer: Answer) -> Answer {
    apply::response(rule, None, answer.response.headers_mut());
    answer
}

/// Does on purpose what goes wrong by itself.
async fn inject(way: &Way, rule: &Rule, record: &mut Record) -> Option<Answer> {
    let injected = weft_l7::fault::decide(rule.fault.as_ref()?, &mut way.worker.chance());
    if let Some(wait) = injected.delay {
        record.flag = Flag::DelayInjected;
        tokio::time::sleep(wait).await;
    }
    let with = injected.abort?;
    record.flag = Flag::FaultInjected;
    Some(abort(way.speaks, with).into())
}

fn redirected(
    way: &Way,
    words: &weft_l7::rule::Redirect,
    head: &request::Parts,
    record: &mut Record,
) -> Answer {
    let seen = Seen::new(head, &way.connection);
    let asked = redirect::Asked {
        scheme: seen.scheme(),
        authority: seen.authority(),
        port: way.connection.addr.port(),
        path: head.uri.path(),
        query: head.uri.query(),
    };
    match redirect::response(words, asked) {
        Some(response) => response.into(),
        None => {
            let why = "the rule's redirect makes no location".to_owned();
            way.refuse(record, (500, "the route's redirect makes no location"), Flag::NoRoute, Some(why))
        }
    }
}
