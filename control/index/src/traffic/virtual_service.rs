//! What the HTTP routes of a VirtualService say, in the words of `weft-l7`. They stand in their own order: the first
//! that matches counts.

use super::hosts::Hosts;
use super::paths;
use crate::name::Name;
use std::collections::BTreeMap;
use std::sync::Arc;
use weft_control_api::istio::destination::Destination;
use weft_control_api::istio::percent::Percent;
use weft_control_api::istio::string_match::{HeaderMatch, StringMatch};
use weft_control_api::istio::virtual_service::VirtualService;
use weft_control_api::istio::virtual_service::fault::{Failure, HttpFaultInjection, Wait};
use weft_control_api::istio::virtual_service::http::{
    HeaderOperations, HttpRetry, HttpRoute, HttpRouteDestination, RegexRewrite,
};
use weft_control_api::istio::virtual_service::http_match::HttpMatchRequest;
use weft_control_api::istio::virtual_service::response::{
    CorsPolicy, DerivePort, HttpBody, HttpDirectResponse, HttpRedirect, RedirectPort as WrittenPort,
    UnmatchedPreflights,
};
use weft_control_api::istio::virtual_service::stream::RouteDestination;
use weft_control_api::port::Port;
use weft_control_api::text::said;
use weft_core::names::ServiceName;
use weft_l7::headers::{HeaderChange, Name as HeaderName, Value};
use weft_l7::matches::{Client, NamedMatch, PathMatch, RequestMatch};
use weft_l7::pattern::{Pattern, Search};
use weft_l7::resilience::{Abort, AbortWith, Backoff, Delay, Fault, Jitter, Retry, Timeouts};
use weft_l7::retry::conditions;
use weft_l7::rule::{
    Action, Backend, Cors, Forward, Mirror, PathChange, Redirect, RedirectPort, Respond, Rewrite, Rule,
    RuleOrigin,
};
use weft_l7::share::Share;
use weft_l7::target::{ServiceTarget, Target, Weighted};
use weft_l7::text::TextMatch;

/// A match, and its rule.
pub(super) type Line = (RequestMatch, Arc<Rule>);

/// Where a VirtualService stands, and for which service and port of it its lines are wanted.
pub(super) struct Place<'a> {
    pub(super) name: &'a Name,
    pub(super) hosts: &'a Hosts<'a>,
    pub(super) service: &'a ServiceName,
    pub(super) port: u16,
}

impl Place<'_> {
    /// Whether a match is for this port, and for traffic within the mesh.
    pub(super) fn takes(&self, port: Option<Port>, gateways: &[String]) -> bool {
        port.is_none_or(|port| port.get() == self.port) && is_within_mesh(gateways)
    }
}

/// Whether a match with these gateways is for traffic within the mesh.
pub(super) fn is_within_mesh(gateways: &[String]) -> bool {
    gateways.is_empty() || gateways.iter().any(|gateway| gateway == MESH)
}

/// The word for traffic within the mesh, where gateways are named.
pub(super) const MESH: &str = "mesh";

/// The lines for one port of a service.
pub(super) fn lines(routes: &[HttpRoute], place: &Place<'_>) -> Vec<Line> {
    let mut lines = Vec::new();
    for (number, route) in routes.iter().enumerate() {
        let any = [HttpMatchRequest::default()];
        let matches = if route.matches.is_empty() { &any[..] } else { &route.matches };
        for one in matches.iter().filter(|one| place.takes(one.port, &one.gateways)) {
            let Some(when) = request_match(one) else { continue };
            lines.push((when, Arc::new(rule(route, one, number, place))));
        }
    }
    lines
}

/// Where its routes lead.
pub(super) fn destinations(one: &VirtualService) -> Vec<(String, &Destination)> {
    let http = one.spec.http.iter().enumerate().flat_map(|(number, route)| of_http(number, route));
    let tls = one.spec.tls.iter().enumerate();
    let tls = tls.flat_map(|(number, route)| of_stream(&format!("spec.tls[{number}]"), &route.route));
    let tcp = one.spec.tcp.iter().enumerate();
    let tcp = tcp.flat_map(|(number, route)| of_stream(&format!("spec.tcp[{number}]"), &route.route));
    http.chain(tls).chain(tcp).collect()
}

/// Where one route of HTTP leads.
pub(super) fn of_http(number: usize, route: &HttpRoute) -> Vec<(String, &Destination)> {
    let at = format!("spec.http[{number}]");
    let routes = route.route.iter().enumerate();
    let routes = routes.map(|(place, one)| (format!("{at}.route[{place}].destination"), &one.destination));
    let mirror = route.mirror.iter().map(|one| (format!("{at}.mirror"), one));
    let mirrors = route.mirrors.iter().enumerate();
    let mirrors =
        mirrors.map(|(place, one)| (format!("{at}.mirrors[{place}].destination"), &one.destination));
    routes.chain(mirror).chain(mirrors).collect()
}

/// Where a tls or tcp route, which stands at `at`, leads.
pub(super) fn of_stream<'a>(at: &str, routes: &'a [RouteDestination]) -> Vec<(String, &'a Destination)> {
    let routes = routes.iter().enumerate();
    routes.map(|(place, one)| (format!("{at}.route[{place}].destination"), &one.destination)).collect()
}

fn request_match(one: &HttpMatchRequest) -> Option<RequestMatch> {
    let ignoring_case = one.ignore_uri_case.unwrap_or(false);
    let named = |matches: &BTreeMap<String, HeaderMatch>, not: bool| {
        let one = |(name, value): (&String, &HeaderMatch)| {
            let value = match value {
                HeaderMatch::Present => TextMatch::Present,
                HeaderMatch::Value(value) => text(value, false)?,
            };
            Some(NamedMatch { name: name.to_ascii_lowercase().into(), value, not })
        };
        matches.iter().map(one).collect::<Option<Vec<_>>>()
    };
    let mut headers = named(&one.headers, false)?;
    headers.extend(named(&one.without_headers, true)?);
    let mut query = named(&one.query_params, false)?;
    for (found, written) in query.iter_mut().zip(one.query_params.keys()) {
        found.name = written.as_str().into();
    }
    let optional = |written: &Option<StringMatch>| match written {
        None => Some(None),
        Some(written) => text(written, false).map(Some),
    };
    Some(RequestMatch {
        path: match &one.uri {
            None => None,
            Some(uri) => Some(PathMatch::Text(text(&paths::of_uri(uri).ok()?, ignoring_case)?)),
        },
        method: optional(&one.method)?,
        scheme: optional(&one.scheme)?,
        authority: optional(&one.authority)?,
        headers,
        query,
        client: Client {
            namespace: one.source_namespace.as_deref().map(Arc::from),
            labels: one
                .source_labels
                .iter()
                .map(|(key, value)| (key.as_str().into(), value.as_str().into()))
                .collect(),
        },
    })
}

fn text(written: &StringMatch, ignoring_case: bool) -> Option<TextMatch> {
    Some(match written {
        StringMatch::Exact(text) if ignoring_case => TextMatch::ExactIgnoringCase(text.as_str().into()),
        StringMatch::Exact(text) => TextMatch::Exact(text.as_str().into()),
        StringMatch::Prefix(text) if ignoring_case => TextMatch::PrefixIgnoringCase(text.as_str().into()),
        StringMatch::Prefix(text) => TextMatch::Prefix(text.as_str().into()),
        StringMatch::Regex(text) => TextMatch::Pattern(Pattern::new(text.as_str()).ok()?),
    })
}

fn rule(route: &HttpRoute, matched: &HttpMatchRequest, number: usize, place: &Place<'_>) -> Rule {
    let own_name = route.name.clone().unwrap_or_else(|| number.to_string());
    let headers = route.headers.clone().unwrap_or_default();
    let action = match (&route.redirect, &route.direct_response) {
        (Some(redirect), _) => Action::Redirect(read_redirect(redirect, matched)),
        (None, Some(response)) => Action::Respond(respond(response)),
        (None, None) => Action::Forward(Box::new(forward(route, matched, place))),
    };
    Rule {
        origin: RuleOrigin {
            kind: "VirtualService".into(),
            namespace: place.name.namespace.clone(),
            route: place.name.name.clone(),
            rule: own_name.into(),
        },
        action,
        request_headers: headers.request.as_ref().map(header_change).unwrap_or_default(),
        response_headers: headers.response.as_ref().map(header_change).unwrap_or_default(),
        cors: route.cors_policy.as_ref().map(cors),
        fault: route.fault.as_ref().map(fault),
    }
}

fn forward(route: &HttpRoute, matched: &HttpMatchRequest, place: &Place<'_>) -> Forward {
    let alone = route.route.len() == 1;
    let backend = |one: &HttpRouteDestination| {
        let headers = one.headers.clone().unwrap_or_default();
        let to = Backend {
            request_headers: headers.request.as_ref().map(header_change).unwrap_or_default(),
            response_headers: headers.response.as_ref().map(header_change).unwrap_or_default(),
            ..Backend::new(target(&one.destination, place))
        };
        // One that is alone needs no weight.
        Weighted { weight: if alone { 1 } else { one.weight }, to }
    };
    let written = route.rewrite.clone().unwrap_or_default();
    Forward {
        backends: route.route.iter().map(backend).collect(),
        rewrite: Rewrite {
            host: said(written.authority.as_ref()).map(Arc::from),
            path: path_change(said(written.uri.as_ref()), written.uri_regex_rewrite.as_ref(), matched),
        },
        mirrors: mirrors(route, place),
        timeouts: Timeouts {
            request: route.timeout.map(|timeout| timeout.get()).filter(|timeout| !timeout.is_zero()),
            try_whole: None,
        },
        retry: Some(route.retries.as_ref().map_or_else(conditions::istio_default, retry)),
        session: None,
    }
}

/// Where a destination leads. What the waypoint finds out by itself, such as a service that is not there, is not asked
/// here.
pub(super) fn target(destination: &Destination, place: &Place<'_>) -> Target {
    let port = destination.port.map(|port| port.number.get());
    match place.hosts.find(&destination.host, &place.name.namespace) {
        Some((service, only_port)) => Target::Service(ServiceTarget {
            service,
            port: port.or(only_port).unwrap_or(place.port),
            subset: destination.subset.as_deref().map(Arc::from),
        }),
        None => Target::Nowhere(format!("host {} is nowhere", destination.host).into()),
    }
}

/// The path after a rewrite: of a prefix that prefix alone, else all of it.
fn path_change(
    uri: Option<&str>,
    pattern: Option<&RegexRewrite>,
    matched: &HttpMatchRequest,
) -> Option<PathChange> {
    if let Some(RegexRewrite { pattern, rewrite }) = pattern {
        let find = Search::new(pattern.as_str().into()).ok()?;
        return Some(PathChange::Pattern { find, by: rewrite.as_str().into() });
    }
    let by: Arc<str> = uri?.into();
    Some(match &matched.uri {
        Some(StringMatch::Prefix(prefix)) => PathChange::Text { prefix: paths::beginning(prefix).ok()?, by },
        Some(StringMatch::Exact(_) | StringMatch::Regex(_)) => PathChange::Whole(by),
        // Every path begins with a slash.
        None => PathChange::Text { prefix: "/".into(), by },
    })
}

fn mirrors(route: &HttpRoute, place: &Place<'_>) -> Vec<Mirror> {
    let old_percent = route.mirror_percent.or(route.mirror_percent_snake);
    let first = route.mirror.as_ref().map(|destination| Mirror {
        share: match (route.mirror_percentage, old_percent) {
            (Some(percentage), _) => part(percentage),
            (None, Some(percent)) => Share::fraction(percent, 100).unwrap_or(Share::ALL),
            (None, None) => Share::ALL,
        },
        target: target(destination, place),
    });
    let more = route.mirrors.iter().map(|one| Mirror {
        share: one.percentage.map_or(Share::ALL, part),
        target: target(&one.destination, place),
    });
    first.into_iter().chain(more).collect()
}

/// A part of a hundred.
fn part(percentage: Percent) -> Share {
    Share::millionths((percentage.value * 10_000.0).round().clamp(0.0, 1_000_000.0) as u32)
        .unwrap_or(Share::ALL)
}

fn header_change(one: &HeaderOperations) -> HeaderChange {
    // The host may be called by its name in HTTP/2.
    let name = |text: &str| if text == ":authority" { "host" } else { text }.parse().ok().map(HeaderName);
    let pairs = |headers: &BTreeMap<String, String>| {
        let pair = |(key, value): (&String, &String)| Some((name(key)?, Value(value.parse().ok()?)));
        headers.iter().filter_map(pair).collect()
    };
    HeaderChange {
        remove: one.remove.iter().filter_map(|text| name(text)).collect(),
        set: pairs(&one.set),
        add: pairs(&one.add),
    }
}

/// Where no port is written none is added: a host that is written stands alone, else the client's stays as the client named
/// it. The path is replaced as a whole, however it matched (Istio, `HTTPRedirect.uri`), or the prefix alone that matched
/// (`prefixRewrite`).
fn read_redirect(one: &HttpRedirect, matched: &HttpMatchRequest) -> Redirect {
    let text = |text: &Option<String>| said(text.as_ref()).map(Arc::<str>::from);
    let host = text(&one.authority);
    let port = match (one.port, &host) {
        (Some(WrittenPort::Number(port)), _) => RedirectPort::Number(port.get()),
        (Some(WrittenPort::Derived(DerivePort::FromProtocolDefault)), _) => RedirectPort::OfScheme,
        (Some(WrittenPort::Derived(DerivePort::FromRequestPort)), _) => RedirectPort::OfConnection,
        (None, Some(_)) => RedirectPort::OfScheme,
        (None, None) => RedirectPort::OfRequest,
    };
    Redirect {
        status: one.redirect_code.unwrap_or(301),
        scheme: text(&one.scheme),
        host,
        port,
        path: match text(&one.uri) {
            Some(path) => Some(PathChange::Whole(path)),
            None => path_change(text(&one.prefix_rewrite).as_deref(), None, matched),
        },
    }
}

fn respond(one: &HttpDirectResponse) -> Respond {
    let body = match &one.body {
        None => Vec::new(),
        Some(HttpBody::Text(text)) => text.clone().into_bytes(),
        Some(HttpBody::Bytes(bytes)) => bytes.clone(),
    };
    Respond { status: one.status, body }
}

fn cors(one: &CorsPolicy) -> Cors {
    let texts = |texts: &[String]| texts.iter().map(|text| Arc::from(text.as_str())).collect();
    let old = one.allow_origin.iter().map(|origin| match origin.as_str() {
        "*" => TextMatch::Present,
        origin => TextMatch::Exact(origin.into()),
    });
    Cors {
        origins: one.allow_origins.iter().filter_map(|origin| text(origin, false)).chain(old).collect(),
        methods: texts(&one.allow_methods),
        headers: texts(&one.allow_headers),
        exposed: texts(&one.expose_headers),
        max_age: one.max_age.map(|age| age.get()),
        credentials: one.allow_credentials.unwrap_or(false),
        forward_unmatched: one.unmatched_preflights != Some(UnmatchedPreflights::Ignore),
    }
}

/// Where no part is written nobody is meant, as in Istio; the author is told.
fn fault(one: &HttpFaultInjection) -> Fault {
    let delay = one.delay.as_ref().and_then(|delay| match delay.wait {
        Wait::Fixed(wait) => {
            let old = delay.percent.and_then(|percent| Share::fraction(percent, 100));
            Some(Delay { share: delay.percentage.map(part).or(old).unwrap_or(Share::NONE), wait: wait.get() })
        }
        Wait::Exponential(_) => None,
    });
    let abort = one.abort.as_ref().and_then(|abort| {
        let with = match &abort.failure {
            Failure::Http(status) => AbortWith::Status(*status),
            Failure::Grpc(status) => AbortWith::Grpc(grpc_status(status)?),
            Failure::Http2(_) => return None,
        };
        Some(Abort { share: abort.percentage.map_or(Share::NONE, part), with })
    });
    Fault { delay, abort }
}

/// By its name or its number.
pub(super) fn grpc_status(text: &str) -> Option<u32> {
    text.parse().ok().or_else(|| weft_l7::grpc::number(text))
}

/// The pause grows to so many times the first one (Envoy's `max_interval`, which Istio leaves alone).
const BACKOFF_GROWTH: u32 = 10;

fn retry(one: &HttpRetry) -> Retry {
    let usual = conditions::istio_default();
    let backoff = one.backoff.map(|backoff| backoff.get());
    // No conditions are as good as none written: Istio's own stand there.
    let on = one.retry_on.as_deref().filter(|text| !text.is_empty());
    Retry {
        retries: one.attempts,
        on: on.and_then(|text| conditions::parse(text).ok()).unwrap_or(usual.on),
        backoff: backoff.map_or(usual.backoff, |base| Backoff {
            base,
            max: base * BACKOFF_GROWTH,
            jitter: Jitter::Part,
        }),
        try_head: one.per_try_timeout.map(|timeout| timeout.get()).filter(|timeout| !timeout.is_zero()),
        elsewhere_first: one.retry_ignore_previous_hosts.unwrap_or(usual.elsewhere_first),
        other_localities: one.retry_remote_localities.unwrap_or(false),
    }
}
