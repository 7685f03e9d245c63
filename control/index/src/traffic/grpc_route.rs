//! What a GRPCRoute says, in the words of `weft-l7`: a call is a request whose path is `/service/method` (gRPC over
//! HTTP2, "Requests").

use super::backend::Around;
use super::gateway_route::UnknownFilter;
use super::gateway_words::{Line, Rank, first_of_each, header_change, mirror, nowhere, origin};
use super::session::session;
use std::cmp::Reverse;
use std::sync::Arc;
use weft_control_api::gateway_api::filter::grpc::GrpcFilter;
use weft_control_api::gateway_api::grpc_route::{
    GrpcBackendRef, GrpcMethodMatch, GrpcRouteMatch, GrpcRouteRule, GrpcRouteSpec,
};
use weft_control_api::gateway_api::matching::MatchType;
use weft_l7::headers::HeaderChange;
use weft_l7::matches::{PathMatch, RequestMatch};
use weft_l7::pattern::Pattern;
use weft_l7::rule::{Action, Backend, Forward, Mirror, Rule};
use weft_l7::target::{Target, Weighted};
use weft_l7::text::TextMatch;

/// All matches of a route, in its own order.
pub(super) fn lines(spec: &GrpcRouteSpec, around: &Around<'_>) -> Vec<Line> {
    let mut lines = Vec::new();
    for (number, rule) in spec.rules.iter().enumerate() {
        let any = [GrpcRouteMatch::default()];
        let matches = if rule.matches.is_empty() { &any[..] } else { &rule.matches };
        for one in matches {
            let Some(when) = request_match(one) else { continue };
            // Where a session holds depends on the path, so each match has a rule of its own.
            let rule = Arc::new(read_rule(rule, number, &when, around));
            lines.push(Line { rank: rank(one), when, rule });
        }
    }
    lines
}

/// What comes first (Gateway API, `GRPCRouteRule.matches`): the longer service, then the longer method, then more
/// headers.
fn rank(one: &GrpcRouteMatch) -> Rank {
    let length = |text: Option<&String>| text.map_or(0, String::len);
    let method = one.method.as_ref();
    let service = length(method.and_then(|method| method.service.as_ref()));
    let name = length(method.and_then(|method| method.method.as_ref()));
    Reverse([service, name, one.headers.len(), 0, 0])
}

fn request_match(one: &GrpcRouteMatch) -> Option<RequestMatch> {
    let path = match &one.method {
        None => None,
        Some(method) => Some(PathMatch::Text(path(method)?)),
    };
    let headers = first_of_each(&one.headers, |name| name.to_ascii_lowercase())?;
    Some(RequestMatch { path, headers, ..RequestMatch::default() })
}

/// A service or method that is not there may be any, though never an empty one.
fn path(one: &GrpcMethodMatch) -> Option<TextMatch> {
    const ANY: &str = "[^/]+";
    let (service, method) = (one.service.as_deref(), one.method.as_deref());
    let pattern = |text: String| Pattern::new(text.as_str()).ok().map(TextMatch::Pattern);
    match (one.match_type, service, method) {
        (MatchType::Exact, Some(service), Some(method)) => {
            Some(TextMatch::Exact(format!("/{service}/{method}").into()))
        }
        (MatchType::Exact, Some(service), None) => Some(TextMatch::Prefix(format!("/{service}/").into())),
        // A name of Protobuf has no character that means something in a pattern.
        (MatchType::Exact, None, Some(method)) => pattern(format!("/{ANY}/{method}")),
        (MatchType::RegularExpression, ..) => {
            pattern(format!("/(?:{})/(?:{})", service.unwrap_or(ANY), method.unwrap_or(ANY)))
        }
        (MatchType::Exact, None, None) => Some(TextMatch::Present),
    }
}

fn read_rule(rule: &GrpcRouteRule, number: usize, when: &RequestMatch, around: &Around<'_>) -> Rule {
    let filters = &rule.filters;
    let origin = origin(rule.name.as_deref(), number, around);
    let action = match filters.iter().find_map(UnknownFilter::of_grpc) {
        Some(unknown) => nowhere(&unknown),
        None => {
            let session = rule.session_persistence.as_ref().map(|one| session(one, &origin, when));
            Action::Forward(Box::new(Forward { session, ..read_forward(rule, around) }))
        }
    };
    Rule {
        origin,
        action,
        request_headers: request_headers(filters),
        response_headers: response_headers(filters),
        cors: None,
        fault: None,
    }
}

fn read_forward(rule: &GrpcRouteRule, around: &Around<'_>) -> Forward {
    let backend = |one: &GrpcBackendRef| Weighted {
        weight: one.weight,
        to: Backend {
            request_headers: request_headers(&one.filters),
            response_headers: response_headers(&one.filters),
            mirrors: mirrors(&one.filters, around),
            ..Backend::new(target(one, around))
        },
    };
    Forward {
        backends: rule.backend_refs.iter().map(backend).collect(),
        mirrors: mirrors(&rule.filters, around),
        ..Forward::default()
    }
}

fn target(one: &GrpcBackendRef, around: &Around<'_>) -> Target {
    match one.filters.iter().find_map(UnknownFilter::of_grpc) {
        Some(unknown) => Target::Nowhere(unknown.to_string().into()),
        None => around.target(&one.target()),
    }
}

fn request_headers(filters: &[GrpcFilter]) -> HeaderChange {
    let of = |filter: &GrpcFilter| match filter {
        GrpcFilter::RequestHeaderModifier(one) => Some(header_change(one)),
        _ => None,
    };
    filters.iter().find_map(of).unwrap_or_default()
}

fn response_headers(filters: &[GrpcFilter]) -> HeaderChange {
    let of = |filter: &GrpcFilter| match filter {
        GrpcFilter::ResponseHeaderModifier(one) => Some(header_change(one)),
        _ => None,
    };
    filters.iter().find_map(of).unwrap_or_default()
}

fn mirrors(filters: &[GrpcFilter], around: &Around<'_>) -> Vec<Mirror> {
    let of = |filter: &GrpcFilter| match filter {
        GrpcFilter::RequestMirror(one) => Some(mirror(one, around)),
        _ => None,
    };
    filters.iter().filter_map(of).collect()
}
