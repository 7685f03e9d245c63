//! `/explain`: what would become of a request, and why. It goes the way that requests go: vetted, brought into form, asked
//! of policy, and given its rule; only nothing is sent.

use super::listing::Row;
use super::subject::Ours;
use crate::client::Destination;
use crate::commons::Commons;
use crate::decide::{self, Asker, in_words};
use crate::outside::{Asked, name_of, pattern};
use crate::standing::TargetName;
use crate::target::{Making, Target};
use crate::vet::vet;
use crate::way::Seen;
use http::request::Parts;
use serde::Serialize;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;
use weft_core::policy::Verdict;
use weft_core::workload::Workload;
use weft_l7::apply;
use weft_l7::matches::Subject as _;
use weft_l7::path::WHOLE_SERVER;
use weft_l7::policy::Peer;
use weft_l7::rule::{Action, Rule};
use weft_l7::service::Found;
use weft_l7::target::{ServiceTarget, Target as To, Weighted};
use weft_runtime::http::{Answer, Request, StatusCode};

/// Why a question cannot be answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum BadQuestion {
    #[error("{0} is no text: escape it as RFC 3986 says")]
    NoText(&'static str),
    #[error("port {0} is no port of the service; it has {1}")]
    Port(String, String),
    #[error("from {0:?} is no pod that discovery knows, by NAMESPACE/NAME")]
    Nobody(String),
    #[error("header {0:?} is none: it reads NAME: VALUE")]
    Header(String),
    #[error("{0:?} is no method and path of a request: the path begins with a slash, escaped as in a URL")]
    Request(String),
}

/// What would become of a request.
#[derive(Debug, Serialize)]
struct Explanation {
    service: String,
    port: u16,
    method: String,
    /// In the form in which it is matched and judged.
    path: String,
    source: Option<String>,
    source_identity: Option<String>,
    verdict: &'static str,
    why: String,
    dry_run: Option<String>,
    policies: Vec<String>,
    /// What comes of it, in a sentence.
    outcome: String,
    /// What takes it; none if nothing does, or if it is denied before.
    rule: Option<Row>,
    /// The endpoints of each backend that it may go to.
    backends: Vec<OfBackend>,
}

/// A backend, and who may take the request there.
#[derive(Debug, Serialize)]
struct OfBackend {
    target: String,
    endpoints: Vec<String>,
    /// Why there is none.
    problem: Option<String>,
}

/// `service`, `method` and `path`; `port` where the service has several; `header=NAME: VALUE`, as often as needed; `from`
/// is the client, as `<namespace>/<name>`.
pub(super) fn answer(ours: &Ours<'_>, request: &Request) -> Answer {
    match explain(ours, request) {
        Ok(explanation) => Answer::of(&explanation),
        Err(bad) => Answer::text(StatusCode::BAD_REQUEST, format!("{bad}\n")),
    }
}

fn explain(ours: &Ours<'_>, request: &Request) -> Result<Explanation, BadQuestion> {
    let port = port(ours, request)?;
    let source = source(ours, request)?;
    let mut head = head(ours, request)?;
    let mut told = Explanation {
        service: ours.service.name.to_string(),
        port,
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        source: source.map(|one| format!("{}/{}", one.namespace, one.name)),
        source_identity: None,
        verdict: "refused",
        why: String::new(),
        dry_run: None,
        policies: Vec::new(),
        outcome: String::new(),
        rule: None,
        backends: Vec::new(),
    };
    if let Err(bad) = vet(&head) {
        (told.why, told.outcome) = (bad.to_string(), format!("it gets {}", bad.status()));
        return Ok(told);
    }
    if let Err(bad) = decide::bring_into_form(&mut head) {
        (told.why, told.outcome) = (format!("the path is none: {bad}"), "it gets 400".to_owned());
        return Ok(told);
    }
    head.uri.path().clone_into(&mut told.path);
    judge(ours, source, &head, &mut told);
    if told.verdict == "denied" {
        "it gets 403".clone_into(&mut told.outcome);
    } else {
        route(ours, source, &head, &mut told);
    }
    Ok(told)
}

fn port(ours: &Ours<'_>, request: &Request) -> Result<u16, BadQuestion> {
    let ports: Vec<u16> = ours.service.ports.iter().map(|port| port.service_port).collect();
    let bad = |text: &str| {
        let known: Vec<String> = ports.iter().map(ToString::to_string).collect();
        BadQuestion::Port(text.to_owned(), known.join(", "))
    };
    match request.parameter("port") {
        Some(text) => text.parse().ok().filter(|port| ports.contains(port)).ok_or_else(|| bad(text)),
        None => ports.first().copied().ok_or_else(|| bad("(none)")),
    }
}

fn source<'a>(ours: &Ours<'a>, request: &Request) -> Result<Option<&'a Arc<Workload>>, BadQuestion> {
    let Some(text) = one(request, "from")? else { return Ok(None) };
    let is_it = |one: &&Arc<Workload>| {
        text.split_once('/')
            .is_some_and(|(namespace, name)| *one.namespace == *namespace && *one.name == *name)
    };
    let found = ours.moment.mesh.workloads().find(is_it);
    found.map(Some).ok_or(BadQuestion::Nobody(text))
}

fn one(request: &Request, name: &'static str) -> Result<Option<String>, BadQuestion> {
    request.values(name).next().map(|text| text.ok_or(BadQuestion::NoText(name))).transpose()
}

/// The head of the request, as a client of HTTP/1.1 writes it.
fn head(ours: &Ours<'_>, request: &Request) -> Result<Parts, BadQuestion> {
    let method = one(request, "method")?.unwrap_or_else(|| "GET".to_owned());
    let path = one(request, "path")?.unwrap_or_else(|| "/".to_owned());
    let bad = || BadQuestion::Request(format!("{method} {path}"));
    if !path.starts_with('/') && path != WHOLE_SERVER {
        return Err(bad());
    }
    let built = http::Request::builder().method(method.as_str()).uri(path.as_str()).body(());
    let (mut head, ()) = built.map_err(|_none| bad())?.into_parts();
    for text in request.values("header") {
        let text = text.ok_or(BadQuestion::NoText("header"))?;
        let none = || BadQuestion::Header(text.clone());
        let (name, value) = text.split_once(':').ok_or_else(none)?;
        let name = http::HeaderName::try_from(name.trim()).map_err(|_none| none())?;
        let value = http::HeaderValue::try_from(value.trim()).map_err(|_none| none())?;
        head.headers.append(name, value);
    }
    if !head.headers.contains_key(http::header::HOST) {
        let host = http::HeaderValue::try_from(&*ours.service.name.hostname).map_err(|_none| bad())?;
        head.headers.insert(http::header::HOST, host);
    }
    Ok(head)
}

fn seen<'a>(source: Option<&'a Arc<Workload>>, head: &'a Parts) -> Seen<'a> {
    let namespace = source.map(|one| one.identity.namespace()).unwrap_or_default();
    Seen::of(head, namespace, source.map(|one| &**one))
}

fn judge(ours: &Ours<'_>, source: Option<&Arc<Workload>>, head: &Parts, told: &mut Explanation) {
    let identity = source.filter(|one| one.is_enrolled()).map(|one| one.identity.clone());
    told.source_identity = identity.as_ref().map(ToString::to_string);
    let peer = identity.map(Peer::new);
    let nowhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let ip = source.and_then(|one| one.addresses.first().copied()).unwrap_or(nowhere);
    let vip = ours.service.vips.first().map_or(nowhere, |vip| vip.range.addr());
    let destination = Destination::service(ours.service, told.port);
    let addr = SocketAddr::new(vip, told.port);
    let asker = Asker { peer: peer.as_ref(), ip, destination: &destination, addr };
    let judgement = decide::authorise(ours.moment, asker, &seen(source, head));
    told.verdict = match &judgement.verdict {
        Verdict::Allowed(_) => "allowed",
        Verdict::Denied(_) => "denied",
    };
    told.why = match &judgement.verdict {
        Verdict::Allowed(None) => "no ALLOW policy applies, and no DENY policy matches".to_owned(),
        verdict => in_words(verdict),
    };
    told.dry_run = judgement.dry_run.as_ref().map(in_words);
    let policies = ours.moment.applying(Some(&ours.service.name)).policies();
    told.policies = policies.map(|policy| policy.name.to_string()).collect();
}

fn route(ours: &Ours<'_>, source: Option<&Arc<Workload>>, head: &Parts, told: &mut Explanation) {
    let seen = seen(source, head);
    let destination = Destination::service(ours.service, told.port);
    let namespace = source.map(|one| one.identity.namespace()).unwrap_or_default();
    match decide::routes(ours.moment, &destination, namespace) {
        None => {
            "no route says anything of it: it goes to the service's own endpoints"
                .clone_into(&mut told.outcome);
            let own = ServiceTarget { service: ours.service.name.clone(), port: told.port, subset: None };
            told.backends.push(backend(
                ours,
                &To::Service(own),
                Asked { name: Some(seen.authority()), namespace },
            ));
        }
        Some(Found::Tls(_) | Found::Tcp(_)) => {
            "it is carried as bytes: the routes of this port look at connections, not at requests"
                .clone_into(&mut told.outcome);
        }
        Some(Found::Http(table)) => match table.find_entry(&seen) {
            None => "no rule takes it: it gets 404".clone_into(&mut told.outcome),
            Some((when, rule)) => {
                told.rule = Some(Row::of_rule(when, rule));
                by_rule(ours, rule, (source, head), told);
            }
        },
    }
}

fn by_rule(
    ours: &Ours<'_>,
    rule: &Rule,
    (source, head): (Option<&Arc<Workload>>, &Parts),
    told: &mut Explanation,
) {
    told.outcome = match &rule.action {
        Action::Redirect(_) | Action::Respond(_) => "it is answered by the waypoint".to_owned(),
        Action::Forward(forward) => {
            let chosen = forward.backends.iter().filter(|one| one.weight > 0);
            let backends = chosen.map(|Weighted { to, .. }| {
                let mut head = head.clone();
                // A path that cannot be made says nothing of the host.
                let _ = apply::request(rule, forward, to, &mut head);
                let namespace = source.map(|one| one.identity.namespace()).unwrap_or_default();
                backend(ours, &to.target, Asked { name: Some(seen(source, &head).authority()), namespace })
            });
            told.backends = backends.collect();
            match told.backends.as_slice() {
                [] => format!("the rule has no backend with a weight: {NOWHERE}"),
                [only] => format!("it goes to {}", only.target),
                several => format!("it goes to one of {} backends, by weight", several.len()),
            }
        }
    };
}

/// What a request gets that its rule leads nowhere ([`weft_l7::apply::reply::nowhere`]).
const NOWHERE: &str = "it gets 500, and a call of gRPC UNAVAILABLE";

/// As a worker would see it that has never sent anything there.
fn backend(ours: &Ours<'_>, to: &To, asked: Asked<'_>) -> OfBackend {
    let of = |endpoints, problem| OfBackend { target: to.to_string(), endpoints, problem };
    let To::Service(target) = to else {
        return of(Vec::new(), Some(NOWHERE.to_owned()));
    };
    if pattern(&ours.moment.mesh, &target.service).is_some() {
        return match name_of(&ours.moment.mesh, &target.service, asked) {
            Ok(name) => of(vec![format!("whatever {name} stands for when the request comes")], None),
            Err(error) => of(Vec::new(), Some(format!("{error}: it gets 404"))),
        };
    }
    let commons = Commons::default();
    let making = Making { moment: ours.moment, near: ours.own, commons: &commons, adaptive: None };
    // Nothing is chosen here, so chance decides nothing.
    match Target::new(TargetName::Service(target.clone()), making, &mut |_bound: u64| 0) {
        Err(error) => of(Vec::new(), Some(error.to_string())),
        Ok(made) => {
            let all = made.standings(Instant::now());
            let line =
                |one: &crate::standing::Standing| format!("{} {} {}", one.workload, one.address, one.state);
            let problem = all.is_empty().then(|| "no endpoint takes requests".to_owned());
            of(all.iter().map(line).collect(), problem)
        }
    }
}
