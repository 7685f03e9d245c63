//! What an HTTPRoute may not say: the rules of its CRD.

use super::{
    HttpBackendRef, HttpRouteMatch, HttpRouteRetry, HttpRouteRule, HttpRouteSpec, HttpRouteTimeouts,
};
use super::{PathMatch, PathMatchType};
use crate::check::{Check, Findings};
use crate::gateway_api::filter::http::{HttpFilter, HttpFilterType, together};
use crate::gateway_api::matching::{headers, named, pattern};
use crate::gateway_api::route::{hostnames, parents, rule_name};

/// Most rules of a route, filters of a rule, and backends of a rule.
const ITEMS_MAX: usize = 16;
/// Most matches of a rule.
const RULE_MATCHES_MAX: usize = 64;
/// Most matches of all rules together.
pub(crate) const ROUTE_MATCHES_MAX: usize = 128;

impl Check for HttpRouteSpec {
    fn check(&self, found: &mut Findings) {
        parents(found, &self.parent_refs);
        hostnames(found, &self.hostnames);
        found.count("rules", &self.rules, 0..=ITEMS_MAX);
        found.field("rules", &self.rules[..]);
        found.unique("rules", &self.rules, |rule| rule.name.clone());
        let matches: usize = self.rules.iter().map(|rule| rule.matches.len()).sum();
        let reason = "have more than 128 matches together";
        found.require("rules", matches <= ROUTE_MATCHES_MAX, reason);
    }
}

impl Check for HttpRouteRule {
    fn check(&self, found: &mut Findings) {
        rule_name(found, self.name.as_deref());
        found.count("matches", &self.matches, 0..=RULE_MATCHES_MAX);
        found.field("matches", &self.matches[..]);
        found.field("filters", &self.filters[..]);
        together(found, &self.filters);
        found.count("backendRefs", &self.backend_refs, 0..=ITEMS_MAX);
        found.field("backendRefs", &self.backend_refs[..]);
        found.each("backendRefs", &self.backend_refs, |found, backend| together(found, &backend.filters));
        self.check_redirect(found);
        self.check_prefixes(found);
        found.field("timeouts", &self.timeouts);
        found.field("retry", &self.retry);
        found.field("sessionPersistence", &self.session_persistence);
    }
}

impl HttpRouteRule {
    fn check_redirect(&self, found: &mut Findings) {
        let redirects =
            self.filters.iter().any(|filter| filter.filter_type() == HttpFilterType::RequestRedirect);
        let reason = "is there besides the filter RequestRedirect, after which nothing is sent on";
        found.require("backendRefs", !redirects || self.backend_refs.is_empty(), reason);
    }

    /// A prefix can be replaced if it is known which one: that of the only match.
    fn check_prefixes(&self, found: &mut Findings) {
        let known = match &self.matches[..] {
            [] => true,
            [only] => only.path.match_type == PathMatchType::PathPrefix,
            _ => false,
        };
        if known {
            return;
        }
        let refuse = |found: &mut Findings, filters: &[HttpFilter]| {
            found.each("filters", filters, |found, filter| {
                if filter.needs_prefix() {
                    found.refuse("has ReplacePrefixMatch, which needs exactly one match, by PathPrefix");
                }
            });
        };
        refuse(found, &self.filters);
        found.each("backendRefs", &self.backend_refs, |found, backend: &HttpBackendRef| {
            refuse(found, &backend.filters);
        });
    }
}

impl Check for HttpRouteMatch {
    fn check(&self, found: &mut Findings) {
        found.field("path", &self.path);
        headers(found, &self.headers);
        named(found, "queryParams", &self.query_params);
    }
}

/// Longest path.
const PATH_BYTES_MAX: usize = 1024;
/// What no path has that was normalised, so that it would never match.
const NEVER_INSIDE: [&str; 6] = ["//", "/./", "/../", "%2f", "%2F", "#"];
/// The same at its end.
const NEVER_LAST: [&str; 2] = ["/..", "/."];

impl Check for PathMatch {
    fn check(&self, found: &mut Findings) {
        found.at("value", |found| {
            if self.value.len() > PATH_BYTES_MAX {
                found.refuse("is longer than 1024 bytes");
            }
            match self.match_type {
                PathMatchType::RegularExpression => pattern(found, &self.value),
                PathMatchType::Exact | PathMatchType::PathPrefix => check_path(found, &self.value),
            }
        });
    }
}

fn check_path(found: &mut Findings, path: &str) {
    if !path.starts_with('/') {
        found.refuse("does not start with /");
    }
    for never in NEVER_INSIDE.iter().filter(|never| path.contains(**never)) {
        found.refuse(format!("has {never}, which no normalised path has"));
    }
    for never in NEVER_LAST.iter().filter(|never| path.ends_with(**never)) {
        found.refuse(format!("ends in {never}, which no normalised path does"));
    }
    if !path.split('%').enumerate().all(|(index, part)| is_path_part(part, index > 0)) {
        found.refuse("has a character that a path may have only as % and two hexadecimal digits");
    }
}

/// Characters of a path (RFC 3986 §3.3) up to the next percent sign.
fn is_path_part(part: &str, after_percent: bool) -> bool {
    let skip = if after_percent { 2 } else { 0 };
    let Some((code, rest)) = part.as_bytes().split_at_checked(skip) else {
        return false;
    };
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-/._~!$&'()*+,;=:@".contains(byte);
    code.iter().all(u8::is_ascii_hexdigit) && rest.iter().all(plain)
}

impl Check for HttpRouteTimeouts {
    fn check(&self, found: &mut Findings) {
        let (Some(request), Some(backend)) = (self.request, self.backend_request) else {
            return;
        };
        let fits = request.get().is_zero() || backend <= request;
        found.require("backendRequest", fits, "is longer than the timeout of the request");
    }
}

impl Check for HttpRouteRetry {
    fn check(&self, found: &mut Findings) {
        found.each("codes", &self.codes, |found, code| {
            if !(400..=599).contains(code) {
                found.refuse(format!("{code} is no status of a failure: 400 to 599 are"));
            }
        });
    }
}
