//! What an HTTPRoute says, in the words of `weft-l7`.

use super::backend::Around;
use super::gateway_route::UnknownFilter;
use super::gateway_words::{Line, Rank, first_of_each, header_change, mirror, nowhere, origin};
use super::paths;
use super::session::session;
use std::cmp::Reverse;
use std::sync::Arc;
use weft_control_api::gateway_api::filter::cors;
use weft_control_api::gateway_api::filter::http::HttpFilter;
use weft_control_api::gateway_api::filter::redirect::{PathModifier, RequestRedirect, Scheme, UrlRewrite};
use weft_control_api::gateway_api::http_route::{
    HttpBackendRef, HttpRouteMatch, HttpRouteRetry, HttpRouteRule, HttpRouteSpec, HttpRouteTimeouts,
    PathMatchType,
};
use weft_l7::headers::HeaderChange;
use weft_l7::matches::{PathMatch, RequestMatch};
use weft_l7::pattern::Pattern;
use weft_l7::resilience::{Backoff, Jitter, Retry, RetryCondition, RetryOn, Timeouts};
use weft_l7::retry::conditions::DEFAULT_BACKOFF;
use weft_l7::rule::{
    Action, Backend, Cors, Forward, Mirror, PathChange, Redirect, RedirectPort, Rewrite, Rule, RuleOrigin,
};
use weft_l7::target::{Target, Weighted};
use weft_l7::text::TextMatch;

/// All matches of a route, in its own order. What was checked when it was read is not checked again: a pattern that is
/// none matches nothing.
pub(super) fn lines(spec: &HttpRouteSpec, around: &Around<'_>) -> Vec<Line> {
    let mut lines = Vec::new();
    // As the CRD has it, a route without rules has one that takes everything and sends it nowhere.
    let nothing = [HttpRouteRule::default()];
    let rules = if spec.rules.is_empty() { &nothing[..] } else { &spec.rules };
    for (number, rule) in rules.iter().enumerate() {
        let any = [HttpRouteMatch::default()];
        let matches = if rule.matches.is_empty() { &any[..] } else { &rule.matches };
        let origin = origin(rule.name.as_deref(), number, around);
        for one in matches {
            let Some(when) = request_match(one) else { continue };
            // What takes the place of the prefix depends on the prefix, and where a session holds on the path, so each match
            // has a rule of its own.
            let rule = Arc::new(read_rule(rule, (one, &when), &origin, around));
            lines.push(Line { rank: rank(one), when, rule });
        }
    }
    lines
}

/// What comes first (Gateway API, `HTTPRouteRule.matches`). Of patterns the specification says nothing; Istio has them
/// behind prefixes, but before a match that takes everything, beside which they would never count.
fn rank(one: &HttpRouteMatch) -> Rank {
    let path = match one.path.match_type {
        PathMatchType::Exact => 3,
        PathMatchType::PathPrefix if takes_everything(one) => 0,
        PathMatchType::PathPrefix => 2,
        PathMatchType::RegularExpression => 1,
    };
    let length = match one.path.match_type {
        PathMatchType::Exact | PathMatchType::PathPrefix => {
            paths::whole(&one.path.value).map(|path| path.len())
        }
        PathMatchType::RegularExpression => Ok(one.path.value.len()),
    };
    let method = usize::from(one.method.is_some());
    Reverse([path, length.unwrap_or(0), method, one.headers.len(), one.query_params.len()])
}

fn takes_everything(one: &HttpRouteMatch) -> bool {
    is_any_path(one) && one.method.is_none() && one.headers.is_empty() && one.query_params.is_empty()
}

fn is_any_path(one: &HttpRouteMatch) -> bool {
    one.path.match_type == PathMatchType::PathPrefix && one.path.value == "/"
}

fn request_match(one: &HttpRouteMatch) -> Option<RequestMatch> {
    let value = one.path.value.as_str();
    let path = match one.path.match_type {
        PathMatchType::Exact => PathMatch::Text(TextMatch::Exact(paths::whole(value).ok()?)),
        PathMatchType::PathPrefix => PathMatch::Within(paths::whole(value).ok()?),
        PathMatchType::RegularExpression => PathMatch::Text(TextMatch::Pattern(Pattern::new(value).ok()?)),
    };
    Some(RequestMatch {
        path: (!is_any_path(one)).then_some(path),
        method: one.method.map(|method| TextMatch::Exact(format!("{method:?}").to_uppercase().into())),
        headers: first_of_each(&one.headers, |name| name.to_ascii_lowercase())?,
        query: first_of_each(&one.query_params, str::to_owned)?,
        ..RequestMatch::default()
    })
}

fn read_rule(
    rule: &HttpRouteRule,
    (matched, when): (&HttpRouteMatch, &RequestMatch),
    origin: &RuleOrigin,
    around: &Around<'_>,
) -> Rule {
    let filters = &rule.filters;
    let is_prefix = matched.path.match_type == PathMatchType::PathPrefix;
    let prefix = paths::whole(&matched.path.value).ok().filter(|_| is_prefix);
    let prefix = prefix.as_deref();
    let redirect = filters.iter().find_map(|filter| match filter {
        HttpFilter::RequestRedirect(one) => Some(read_redirect(one, prefix)),
        _ => None,
    });
    let action = match (filters.iter().find_map(UnknownFilter::of_http), redirect) {
        (Some(unknown), _) => nowhere(&unknown),
        (None, Some(redirect)) => Action::Redirect(redirect),
        (None, None) => {
            let session = rule.session_persistence.as_ref().map(|one| session(one, origin, when));
            Action::Forward(Box::new(Forward { session, ..read_forward(rule, prefix, around) }))
        }
    };
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

fn read_forward(rule: &HttpRouteRule, prefix: Option<&str>, around: &Around<'_>) -> Forward {
    let backend = |one: &HttpBackendRef| Weighted {
        weight: one.weight,
        to: Backend {
            request_headers: request_headers(&one.filters),
            response_headers: response_headers(&one.filters),
            rewrite: rewrite(&one.filters, prefix),
            mirrors: mirrors(&one.filters, around),
            ..Backend::new(target(one, around))
        },
    };
    Forward {
        backends: rule.backend_refs.iter().map(backend).collect(),
        rewrite: rewrite(&rule.filters, prefix),
        mirrors: mirrors(&rule.filters, around),
        timeouts: rule.timeouts.as_ref().map(timeouts).unwrap_or_default(),
        retry: rule.retry.as_ref().map(retry),
        session: None,
    }
}

fn target(one: &HttpBackendRef, around: &Around<'_>) -> Target {
    match one.filters.iter().find_map(UnknownFilter::of_http_backend) {
        Some(unknown) => Target::Nowhere(unknown.to_string().into()),
        None => around.target(&one.target()),
    }
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

fn mirrors(filters: &[HttpFilter], around: &Around<'_>) -> Vec<Mirror> {
    let of = |filter: &HttpFilter| match filter {
        HttpFilter::RequestMirror(one) => Some(mirror(one, around)),
        _ => None,
    };
    filters.iter().filter_map(of).collect()
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
            (Some(port), _) => RedirectPort::Number(port.get()),
            (None, Some(_)) => RedirectPort::OfScheme,
            (None, None) => RedirectPort::OfListener,
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
/// The pause grows to so many times the first one.
const BACKOFF_GROWTH: u32 = 10;

fn retry(one: &HttpRouteRetry) -> Retry {
    let backoff = one.backoff.map_or(DEFAULT_BACKOFF, |backoff| {
        let base = backoff.get();
        Backoff { base, max: base * BACKOFF_GROWTH, jitter: Jitter::More }
    });
    let conditions = vec![
        RetryCondition::ConnectFailure,
        RetryCondition::RefusedStream,
        RetryCondition::Reset,
        RetryCondition::RetriableStatusCodes,
    ];
    Retry {
        retries: one.attempts.unwrap_or(RETRIES),
        on: RetryOn { conditions, statuses: one.codes.clone(), ..RetryOn::default() },
        backoff,
        try_head: None,
        elsewhere_first: true,
        other_localities: false,
    }
}
