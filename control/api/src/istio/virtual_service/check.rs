//! What a VirtualService may not say: the rules of its CRD, and those that Istio's admission adds for one object alone.

use super::VirtualServiceSpec;
use super::http::{
    Delegate, HeaderOperations, Headers, HttpRetry, HttpRewrite, HttpRoute, HttpRouteDestination,
    RETRY_CONDITIONS,
};
use crate::check::{Check, Findings, one_of};
use crate::istio::names::{NO_WILDCARD_HOST, export_to, gateways, is_wildcard_host};
use crate::istio::string_match::{StringMatch, regex};
use crate::text::{is_address, is_header_name, is_header_value, is_label, is_name, said};
use std::collections::BTreeMap;

/// The gateway that stands for traffic within the mesh.
const MESH: &str = "mesh";

impl Check for VirtualServiceSpec {
    fn check(&self, found: &mut Findings) {
        self.check_hosts(found);
        gateways(found, &self.gateways);
        export_to(found, &self.export_to);
        if self.http.is_empty() && self.tls.is_empty() && self.tcp.is_empty() {
            found.refuse("has no route: http, tls or tcp");
        }
        found.field("http", &self.http[..]);
        found.field("tls", &self.tls[..]);
        self.check_sni(found);
        found.field("tcp", &self.tcp[..]);
    }
}

impl VirtualServiceSpec {
    fn check_hosts(&self, found: &mut Findings) {
        let mesh = self.gateways.is_empty() || self.gateways.iter().any(|gateway| gateway == MESH);
        found.unique("hosts", &self.hosts, |host| Some(host.to_ascii_lowercase()));
        found.each("hosts", &self.hosts, |found, host| {
            if !is_wildcard_host(host) && !is_address(host) {
                found.refuse(NO_WILDCARD_HOST);
            } else if host == "*" && mesh {
                found.refuse("is every host, which only gateways may have");
            }
        });
        if self.hosts.is_empty() {
            let delegate = self.gateways.is_empty() && self.tls.is_empty() && self.tcp.is_empty();
            found.require("hosts", delegate, "is empty, which only http routes without gateways may have");
            let nested = self.http.iter().any(|route| route.delegate.is_some());
            found.require("http", !nested, "delegates, and without hosts it is a delegate itself");
        }
    }

    /// Names of the handshake belong to hosts, or they would never come here.
    fn check_sni(&self, found: &mut Findings) {
        found.each("tls", &self.tls, |found, route| {
            found.each("match", &route.matches, |found, one| {
                found.each("sniHosts", &one.sni_hosts, |found, sni| {
                    if !self.hosts.iter().any(|host| covers(host, sni)) {
                        found.refuse("belongs to none of the hosts");
                    }
                });
            });
        });
    }
}

/// True if a host that may begin with a star holds for all that another one holds for.
fn covers(host: &str, other: &str) -> bool {
    let (host, other) = (host.to_ascii_lowercase(), other.to_ascii_lowercase());
    match host.strip_prefix('*') {
        Some(end) => other.ends_with(end),
        None => host == other,
    }
}

impl Check for HttpRoute {
    fn check(&self, found: &mut Findings) {
        found.field("match", &self.matches[..]);
        self.check_action(found);
        found.field("route", &self.route[..]);
        weights(found, &self.route.iter().map(|one| one.weight).collect::<Vec<_>>());
        found.field("redirect", &self.redirect);
        self.check_redirected_prefix(found);
        found.field("directResponse", &self.direct_response);
        found.field("delegate", &self.delegate);
        found.field("rewrite", &self.rewrite);
        found.field("retries", &self.retries);
        found.field("fault", &self.fault);
        self.check_mirrors(found);
        found.field("corsPolicy", &self.cors_policy);
        found.field("headers", &self.headers);
        self.check_authority(found);
    }
}

impl HttpRoute {
    /// The host can be changed in one place only, or nobody knows which one counts.
    fn check_authority(&self, found: &mut Findings) {
        let request = self.headers.as_ref().and_then(|headers| headers.request.as_ref());
        let names = request.into_iter().flat_map(|request| request.set.keys().chain(request.add.keys()));
        let is_host = |name: &&String| name.eq_ignore_ascii_case("host") || *name == ":authority";
        let rewritten = self.rewrite.as_ref().and_then(|rewrite| said(rewrite.authority.as_ref())).is_some();
        let places = names.filter(is_host).count() + usize::from(rewritten);
        found.require("headers", places <= 1, "changes the host, which is changed elsewhere too");
    }

    fn check_action(&self, found: &mut Findings) {
        let actions = [
            ("route", !self.route.is_empty()),
            ("redirect", self.redirect.is_some()),
            ("directResponse", self.direct_response.is_some()),
            ("delegate", self.delegate.is_some()),
        ];
        if let Err(reason) = one_of(&actions).exactly() {
            found.refuse(reason);
        }
        let answered = self.redirect.is_some() || self.direct_response.is_some();
        for (key, set) in [("rewrite", self.rewrite.is_some()), ("fault", self.fault.is_some())] {
            // A fault may come before a response of its own, and never before a redirect.
            let before = key == "fault" && self.redirect.is_none();
            let reason = "is for requests that are sent on, and these are answered";
            found.require(key, !(answered && set) || before, reason);
        }
    }

    /// What takes the place of a prefix needs one.
    fn check_redirected_prefix(&self, found: &mut Findings) {
        let rewrites =
            self.redirect.as_ref().and_then(|redirect| said(redirect.prefix_rewrite.as_ref())).is_some();
        let is_prefix = |uri: &StringMatch| matches!(uri, StringMatch::Prefix(_));
        let prefixes = self.matches.iter().all(|one| one.uri.as_ref().is_none_or(is_prefix));
        found.at("redirect", |found| {
            let reason = "needs a prefix in every uri that is matched";
            found.require("prefixRewrite", !rewrites || prefixes, reason);
        });
    }

    fn check_mirrors(&self, found: &mut Findings) {
        found.field("mirror", &self.mirror);
        found.each("mirrors", &self.mirrors, |found, mirror| {
            found.field("destination", &mirror.destination);
            found.field("percentage", &mirror.percentage);
        });
        if let Err(reason) =
            one_of(&[("mirror", self.mirror.is_some()), ("mirrors", !self.mirrors.is_empty())]).at_most()
        {
            found.refuse(reason);
        }
        for (key, percent) in
            [("mirrorPercent", self.mirror_percent), ("mirror_percent", self.mirror_percent_snake)]
        {
            found.require(key, percent.is_none_or(|percent| percent <= 100), "is more than 100");
        }
        found.field("mirrorPercentage", &self.mirror_percentage);
    }
}

/// Of several destinations one has to take something.
pub(super) fn weights(found: &mut Findings, weights: &[u32]) {
    let sum: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
    found.require(
        "route",
        weights.len() <= 1 || sum > 0,
        "has weights that are all zero, so nobody takes anything",
    );
    // Envoy's sum of weights has 32 bits, and Istio's weights are for it.
    found.require("route", sum <= u64::from(u32::MAX), "has weights whose sum is beyond 4294967295");
}

impl Check for HttpRouteDestination {
    fn check(&self, found: &mut Findings) {
        found.field("destination", &self.destination);
        found.field("headers", &self.headers);
    }
}

impl Check for Headers {
    fn check(&self, found: &mut Findings) {
        found.field("request", &self.request);
        found.field("response", &self.response);
    }
}

impl Check for HeaderOperations {
    fn check(&self, found: &mut Findings) {
        for (key, headers) in [("set", &self.set), ("add", &self.add)] {
            found.at(key, |found| header_values(found, headers));
        }
        found.each("remove", &self.remove, |found, name| {
            if !is_operand(name) {
                found.refuse("is no name of a header");
            }
        });
    }
}

fn header_values(found: &mut Findings, headers: &BTreeMap<String, String>) {
    for (name, value) in headers {
        if !is_operand(name) {
            found.refuse(format!("{name:?} is no name of a header"));
        }
        found.require(name, is_header_value(value), "has a byte that no header may have");
    }
}

/// A header that can be changed. The host may be called by its name in HTTP/2.
fn is_operand(name: &str) -> bool {
    is_header_name(name) || name == ":authority"
}

impl Check for Delegate {
    fn check(&self, found: &mut Findings) {
        found.require("name", self.name.as_deref().is_some_and(is_name), "is missing or no name");
        found.require("namespace", self.namespace.as_deref().is_none_or(is_label), "is no namespace");
    }
}

impl Check for HttpRewrite {
    fn check(&self, found: &mut Findings) {
        let uri = [
            ("uri", said(self.uri.as_ref()).is_some()),
            ("uriRegexRewrite", self.uri_regex_rewrite.is_some()),
        ];
        if let Err(reason) = one_of(&uri).at_most() {
            found.refuse(reason);
        }
        if !uri.iter().any(|(_, written)| *written) && said(self.authority.as_ref()).is_none() {
            found.refuse("says nothing: uri, authority or uriRegexRewrite");
        }
        if let Some(rewrite) = &self.uri_regex_rewrite {
            found.at("uriRegexRewrite", |found| found.at("match", |found| regex(found, &rewrite.pattern)));
        }
    }
}

impl Check for HttpRetry {
    fn check(&self, found: &mut Findings) {
        let more = self.per_try_timeout.is_some()
            || self.retry_on.is_some()
            || self.retry_remote_localities.is_some();
        found.require(
            "attempts",
            self.attempts > 0 || !more,
            "is zero, so that nothing else here has a meaning",
        );
        let conditions = self.retry_on.iter().flat_map(|text| text.split(',')).map(str::trim);
        for condition in conditions.filter(|condition| !condition.is_empty()) {
            let status = condition.parse::<u16>().is_ok_and(|status| (100..=599).contains(&status));
            if !status && !RETRY_CONDITIONS.contains(&condition) {
                found.at("retryOn", |found| {
                    found.refuse(format!("{condition:?} is no condition for a retry"));
                });
            }
        }
    }
}
