//! What an HTTPRoute says, in the words of `weft-l7`.

use super::grants::Grants;
use crate::name::Name;
use std::cmp::Reverse;
use std::sync::Arc;
use weft_control_api::gateway_api::filter::cors;
use weft_control_api::gateway_api::filter::headers::HeaderModifier;
use weft_control_api::gateway_api::filter::http::HttpFilter;
use weft_control_api::gateway_api::filter::mirror::RequestMirror;
use weft_control_api::gateway_api::filter::redirect::{PathModifier, RequestRedirect, Scheme, UrlRewrite};
use weft_control_api::gateway_api::http_route::{
    HttpBackendRef, HttpRoute, HttpRouteMatch, HttpRouteRetry, HttpRouteRule, HttpRouteTimeouts,
    PathMatchType,
};
use weft_control_api::gateway_api::matching::{MatchType, ValueMatch};
use weft_control_api::gateway_api::reference::BackendObjectReference;
use weft_control_api::gateway_api::session::{CookieLifetime, SessionPersistence, SessionType};
use weft_core::names::ServiceName;
use weft_l7::headers::{HeaderChange, Name as HeaderName, Value};
use weft_l7::matches::{NamedMatch, PathMatch, RequestMatch};
use weft_l7::pattern::Pattern;
use weft_l7::resilience::{Backoff, Retry, RetryCondition, RetryOn, Timeouts};
use weft_l7::rule::{
    Action, Backend, Cors, Forward, Mirror, PathChange, Redirect, RedirectPort, Rewrite, Rule, RuleOrigin,
    Session, SessionCarrier,
};
use weft_l7::share::Share;
use weft_l7::target::{ServiceTarget, Target, Weighted};
use weft_l7::text::TextMatch;

/// A match of a route, and its rule.
pub(super) struct Line {
    pub(super) rank: Rank,
    pub(super) when: RequestMatch,
    pub(super) rule: Arc<Rule>,
}

/// What comes first (Gateway API, `HTTPRouteRule.matches`): the smaller one does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    path: Reverse<PathRank>,
    length: Reverse<usize>,
    method: Reverse<bool>,
    headers: Reverse<usize>,
    query: Reverse<usize>,
}

/// Where a path of this kind stands. Of patterns the specification says nothing; Istio has them behind prefixes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum PathRank {
    Pattern,
    Prefix,
    Exact,
}

/// What the rules of a route need to know around it.
pub(super) struct Around<'a> {
    pub(super) grants: &'a Grants,
    /// The end of all services' names.
    pub(super) cluster_domain: &'a str,
}

/// All matches of a route, in its own order. What was checked when it was read is not checked again: a pattern that is
/// none matches nothing.
pub(super) fn lines(route: &HttpRoute, name: &Name, around: &Around<'_>) -> Vec<Line> {
    let numbered = route.spec.rules.iter().enumerate();
    let mut lines = Vec::new();
    for (number, rule) in numbered {
        let any = [HttpRouteMatch::default()];
        let matches = if rule.matches.is_empty() { &any[..] } else { &rule.matches };
        let own_name = rule.name.clone().unwrap_or_else(|| number.to_string());
        let origin = RuleOrigin {
            kind: "HTTPRoute".into(),
            namespace: name.namespace.clone(),
            route: name.name.clone(),
            rule: own_name.into(),
        };
        for one in matches {
            let Some(when) = request_match(one) else { continue };
            // What takes the place of the prefix depends on the prefix, so each match has a rule of its own.
            let rule = Arc::new(read_rule(rule, one, &origin, name, around));
            lines.push(Line { rank: Rank::of(one), when, rule });
        }
    }
    lines
}

impl Rank {
    fn of(one: &HttpRouteMatch) -> Self {
        let path = match one.path.match_type {
            PathMatchType::Exact => PathRank::Exact,
            PathMatchType::PathPrefix => PathRank::Prefix,
            PathMatchType::RegularExpression => PathRank::Pattern,
        };
        Self {
            path: Reverse(path),
            length: Reverse(one.path.value.len()),
            method: Reverse(one.method.is_some()),
            headers: Reverse(one.headers.len()),
            query: Reverse(one.query_params.len()),
        }
    }
}

fn request_match(one: &HttpRouteMatch) -> Option<RequestMatch> {
    let value = one.path.value.as_str();
    let path = match one.path.match_type {
        PathMatchType::Exact => PathMatch::Text(TextMatch::Exact(value.into())),
        PathMatchType::PathPrefix => PathMatch::Within(value.into()),
        PathMatchType::RegularExpression => PathMatch::Text(TextMatch::Pattern(Pattern::new(value).ok()?)),
    };
    let everything = one.path.match_type == PathMatchType::PathPrefix && value == "/";
    Some(RequestMatch {
        path: (!everything).then_some(path),
        method: one.method.map(|method| TextMatch::Exact(format!("{method:?}").to_uppercase().into())),
        headers: first_of_each(&one.headers, |name| name.to_ascii_lowercase())?,
        query: first_of_each(&one.query_params, str::to_owned)?,
        ..RequestMatch::default()
    })
}

/// Of several of one name the first counts (Gateway API, `HTTPHeaderMatch.name`).
fn first_of_each(matches: &[ValueMatch], key: impl Fn(&str) -> String) -> Option<Vec<NamedMatch>> {
    let mut found: Vec<NamedMatch> = Vec::new();
    for one in matches {
        let name: Arc<str> = key(&one.name).into();
        if found.iter().any(|known| known.name == name) {
            continue;
        }
        let value = match one.match_type {
            MatchType::Exact => TextMatch::Exact(one.value.as_str().into()),
            MatchType::RegularExpression => TextMatch::Pattern(Pattern::new(one.value.as_str()).ok()?),
        };
        found.push(NamedMatch { name, value, not: false });
    }
    Some(found)
}

fn read_rule(
    rule: &HttpRouteRule,
    matched: &HttpRouteMatch,
    origin: &RuleOrigin,
    route: &Name,
    around: &Around<'_>,
) -> Rule {
    let filters = &rule.filters;
    let prefix =
        (matched.path.match_type == PathMatchType::PathPrefix).then_some(matched.path.value.as_str());
    let redirect = filters.iter().find_map(|filter| match filter {
        HttpFilter::RequestRedirect(one) => Some(read_redirect(one, prefix)),
        _ => None,
    });
    let action = redirect.map_or_else(
        || Action::Forward(Box::new(read_forward(rule, prefix, route, around))),
        Action::Redirect,
    );
    Rule {
        origin: origin.clone(),
        action,
        request_headers: request_headers(filters),
        response_headers: response_headers(filters),
        cors: filters.iter().find_map(|filter| match filter {
            HttpFilter::Cors(one) => Some(read_cors(one)),
            _ => None,
        }),
        fault: None,
    }
}

fn read_forward(rule: &HttpRouteRule, prefix: Option<&str>, route: &Name, around: &Around<'_>) -> Forward {
    let backend = |one: &HttpBackendRef| Weighted {
        weight: one.weight,
        to: Backend {
            request_headers: request_headers(&one.filters),
            response_headers: response_headers(&one.filters),
            rewrite: rewrite(&one.filters, prefix),
            mirrors: mirrors(&one.filters, route, around),
            ..Backend::new(target(&one.target(), route, around))
        },
    };
    Forward {
        backends: rule.backend_refs.iter().map(backend).collect(),
        rewrite: rewrite(&rule.filters, prefix),
        mirrors: mirrors(&rule.filters, route, around),
        timeouts: rule.timeouts.as_ref().map(timeouts).unwrap_or_default(),
        retry: rule.retry.as_ref().map(retry),
        session: rule.session_persistence.as_ref().map(session),
    }
}

/// Where a reference leads. What the waypoint finds out by itself, such as a service that is not there, is not asked here.
fn target(reference: &BackendObjectReference, route: &Name, around: &Around<'_>) -> Target {
    let namespace = reference.namespace.as_deref().unwrap_or(&route.namespace);
    if !reference.is_service() {
        return Target::Nowhere(format!("{} {} is no Service", reference.kind, reference.name).into());
    }
    let Some(port) = reference.port else {
        return Target::Nowhere(format!("no port of Service {namespace}/{} is named", reference.name).into());
    };
    if *namespace != *route.namespace
        && !around.grants.allow("HTTPRoute", &route.namespace, namespace, &reference.name)
    {
        let why = format!("no ReferenceGrant of namespace {namespace} allows Service {}", reference.name);
        return Target::Nowhere(why.into());
    }
    let hostname = format!("{}.{namespace}.svc.{}", reference.name, around.cluster_domain);
    let service = ServiceName::new(namespace, hostname);
    Target::Service(ServiceTarget { service, port: port.get(), subset: None })
}

fn request_headers(filters: &[HttpFilter]) -> HeaderChange {
    let of = |filter: &HttpFilter| match filter {
        HttpFilter::RequestHeaderModifier(one) => Some(header_change(one)),
        _ => None,
    };
    filters.iter().find_map(of).unwrap_or_default()
}

fn response_headers(filters: &[HttpFilter]) -> HeaderChange {
    let of = |filter: &HttpFilter| match filter {
        HttpFilter::ResponseHeaderModifier(one) => Some(header_change(one)),
        _ => None,
    };
    filters.iter().find_map(of).unwrap_or_default()
}

fn header_change(one: &HeaderModifier) -> HeaderChange {
    let name = |text: &str| text.parse().ok().map(HeaderName);
    let pairs = |headers: &[weft_control_api::gateway_api::filter::headers::Header]| {
        let pair = |header: &weft_control_api::gateway_api::filter::headers::Header| {
            Some((name(&header.name)?, Value(header.value.parse().ok()?)))
        };
        headers.iter().filter_map(pair).collect()
    };
    HeaderChange {
        remove: one.remove.iter().filter_map(|text| name(text)).collect(),
        set: pairs(&one.set),
        add: pairs(&one.add),
    }
}

fn rewrite(filters: &[HttpFilter], prefix: Option<&str>) -> Rewrite {
    let of = |filter: &HttpFilter| match filter {
        HttpFilter::UrlRewrite(UrlRewrite { hostname, path }) => Some(Rewrite {
            host: hostname.as_deref().map(Arc::from),
            path: path.as_ref().map(|path| path_change(path, prefix)),
        }),
        _ => None,
    };
    filters.iter().find_map(of).unwrap_or_default()
}

fn path_change(path: &PathModifier, prefix: Option<&str>) -> PathChange {
    match path {
        PathModifier::ReplaceFullPath(whole) => PathChange::Whole(whole.as_str().into()),
        PathModifier::ReplacePrefixMatch(by) => {
            PathChange::Segments { prefix: prefix.unwrap_or("/").into(), by: by.as_str().into() }
        }
    }
}

fn mirrors(filters: &[HttpFilter], route: &Name, around: &Around<'_>) -> Vec<Mirror> {
    let of = |filter: &HttpFilter| match filter {
        HttpFilter::RequestMirror(one) => {
            Some(Mirror { share: mirror_share(one), target: target(&one.backend_ref, route, around) })
        }
        _ => None,
    };
    filters.iter().filter_map(of).collect()
}

fn mirror_share(one: &RequestMirror) -> Share {
    let share = match (one.percent, one.fraction) {
        (Some(percent), _) => Share::fraction(percent, 100),
        (None, Some(fraction)) => Share::fraction(fraction.numerator, fraction.denominator),
        (None, None) => None,
    };
    share.unwrap_or(Share::ALL)
}

fn read_redirect(one: &RequestRedirect, prefix: Option<&str>) -> Redirect {
    let scheme = one.scheme.map(|scheme| match scheme {
        Scheme::Http => "http",
        Scheme::Https => "https",
    });
    Redirect {
        status: one.status_code,
        scheme: scheme.map(Arc::from),
        host: one.hostname.as_deref().map(Arc::from),
        port: match (one.port, scheme) {
            (Some(port), _) => Some(RedirectPort::Number(port.get())),
            (None, Some(_)) => Some(RedirectPort::OfScheme),
            (None, None) => Some(RedirectPort::OfRequest),
        },
        path: one.path.as_ref().map(|path| path_change(path, prefix)),
    }
}

fn read_cors(one: &cors::Cors) -> Cors {
    let texts = |texts: &[String]| texts.iter().map(|text| Arc::from(text.as_str())).collect();
    Cors {
        origins: one.allow_origins.iter().filter_map(|origin| origin_match(origin)).collect(),
        methods: texts(&one.allow_methods),
        headers: texts(&one.allow_headers),
        exposed: texts(&one.expose_headers),
        max_age: Some(std::time::Duration::from_secs(one.max_age.into())),
        credentials: one.allow_credentials.unwrap_or(false),
        forward_unmatched: false,
    }
}

/// An origin, in whose host a star stands for any labels.
fn origin_match(origin: &str) -> Option<TextMatch> {
    if origin == "*" {
        return Some(TextMatch::Present);
    }
    match origin.split_once('*') {
        None => Some(TextMatch::Exact(origin.into())),
        Some((head, tail)) => {
            let quoted = |text: &str| text.replace('.', "\\.");
            Pattern::new(format!("{}[^/:]+{}", quoted(head), quoted(tail))).ok().map(TextMatch::Pattern)
        }
    }
}

/// Zero is no limit.
fn timeouts(one: &HttpRouteTimeouts) -> Timeouts {
    let limit = |duration: Option<weft_control_api::duration::GatewayDuration>| {
        duration.map(|duration| duration.get()).filter(|duration| !duration.is_zero())
    };
    Timeouts { request: limit(one.request), try_whole: limit(one.backend_request) }
}

/// Tries beyond the first, where a route says that there are some and not how many.
const RETRIES: u32 = 2;
/// The pause before the first of them, where a route does not say.
const BACKOFF: std::time::Duration = std::time::Duration::from_millis(25);
/// The pause grows to so many times the first one.
const BACKOFF_GROWTH: u32 = 10;

fn retry(one: &HttpRouteRetry) -> Retry {
    let base = one.backoff.map_or(BACKOFF, |backoff| backoff.get());
    let conditions = vec![
        RetryCondition::ConnectFailure,
        RetryCondition::RefusedStream,
        RetryCondition::Reset,
        RetryCondition::RetriableStatusCodes,
    ];
    Retry {
        retries: one.attempts.unwrap_or(RETRIES),
        on: RetryOn { conditions, statuses: one.codes.clone(), ..RetryOn::default() },
        backoff: Backoff { base, max: base * BACKOFF_GROWTH },
        try_head: None,
        elsewhere_first: true,
        other_localities: false,
    }
}

/// The cookie or header of a session that has no name.
const SESSION_NAME: &str = "weft-session";

fn session(one: &SessionPersistence) -> Session {
    let name = one.session_name.as_deref().unwrap_or(SESSION_NAME);
    let permanent = one.cookie_config.is_some_and(|cookie| cookie.lifetime_type == CookieLifetime::Permanent);
    let cookie = || SessionCarrier::Cookie { name: name.into(), permanent };
    Session {
        carrier: match one.session_type {
            SessionType::Cookie => cookie(),
            SessionType::Header => {
                name.parse().map_or_else(|_| cookie(), |name| SessionCarrier::Header(HeaderName(name)))
            }
        },
        absolute: one.absolute_timeout.map(|duration| duration.get()),
        idle: one.idle_timeout.map(|duration| duration.get()),
    }
}
