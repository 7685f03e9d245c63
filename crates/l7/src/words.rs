//! How matches, targets and actions are told to people: by `weft routes`, and where a rule can never take a request.

use crate::matches::{NamedMatch, PathMatch, RequestMatch};
use crate::resilience::{Abort, AbortWith, Delay, Retry, RetryCondition};
use crate::rule::{Action, Forward, Redirect, Rule};
use crate::share::Share;
use crate::target::{ServiceTarget, Target};
use crate::text::TextMatch;
use std::fmt;

impl fmt::Display for TextMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(text) => write!(f, "= {text}"),
            Self::ExactIgnoringCase(text) => write!(f, "= {text} (in any case)"),
            Self::Prefix(text) => write!(f, "begins with {text}"),
            Self::PrefixIgnoringCase(text) => write!(f, "begins with {text} (in any case)"),
            Self::Suffix(text) => write!(f, "ends with {text}"),
            Self::Pattern(pattern) => write!(f, "~ {}", pattern.as_str()),
            Self::Present => f.write_str("is there"),
        }
    }
}

impl fmt::Display for PathMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Within(prefix) => write!(f, "path within {prefix}"),
            Self::Text(text) => write!(f, "path {text}"),
        }
    }
}

impl fmt::Display for RequestMatch {
    /// `every request`, or what has to hold, by commas.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |name: &str, want: &Option<TextMatch>| want.as_ref().map(|want| format!("{name} {want}"));
        let named = |what: &str, one: &NamedMatch| {
            let not = if one.not { "not: " } else { "" };
            format!("{not}{what} {} {}", one.name, one.value)
        };
        let client = &self.client;
        let mut parts: Vec<String> = self.path.iter().map(ToString::to_string).collect();
        parts.extend(text("method", &self.method));
        parts.extend(text("scheme", &self.scheme));
        parts.extend(text("host", &self.authority));
        parts.extend(self.headers.iter().map(|one| named("header", one)));
        parts.extend(self.query.iter().map(|one| named("query", one)));
        parts.extend(client.namespace.iter().map(|namespace| format!("from namespace {namespace}")));
        parts.extend(client.labels.iter().map(|(name, value)| format!("from a pod with {name}={value}")));
        f.write_str(if parts.is_empty() { "every request" } else { "" })?;
        f.write_str(&parts.join(", "))
    }
}

impl fmt::Display for ServiceTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.service, self.port)?;
        self.subset.as_ref().map_or(Ok(()), |subset| write!(f, " subset {subset}"))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(target) => target.fmt(f),
            Self::Nowhere(why) => write!(f, "nowhere: {why}"),
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", f64::from(u32::from(*self)) / 1e4)
    }
}

impl Rule {
    /// What it does beside sending requests to its backends, a sentence for each thing, in the order in which it is done.
    pub fn deeds(&self) -> Vec<String> {
        let mut deeds = Vec::new();
        if self.cors.is_some() {
            deeds.push("answers preflights of CORS".to_owned());
        }
        if let Some(fault) = &self.fault {
            deeds.extend(
                fault.delay.as_ref().map(|Delay { share, wait }| format!("delays {share} by {wait:?}")),
            );
            deeds.extend(fault.abort.as_ref().map(abort));
        }
        match &self.action {
            Action::Respond(respond) => deeds.push(format!("answers with {}", respond.status)),
            Action::Redirect(words) => deeds.push(redirect(words)),
            Action::Forward(words) => deeds.extend(forward(words)),
        }
        if !self.request_headers.is_empty() {
            deeds.push("changes headers of the request".to_owned());
        }
        if !self.response_headers.is_empty() {
            deeds.push("changes headers of the response".to_owned());
        }
        deeds
    }
}

fn abort(Abort { share, with }: &Abort) -> String {
    match with {
        AbortWith::Status(status) => format!("answers {share} with {status}, on purpose"),
        AbortWith::Grpc(status) => format!("answers {share} with gRPC status {status}, on purpose"),
    }
}

fn redirect(Redirect { status, scheme, host, .. }: &Redirect) -> String {
    let to = match (scheme, host) {
        (Some(scheme), Some(host)) => format!(" to {scheme}://{host}"),
        (Some(scheme), None) => format!(" to {scheme}"),
        (None, Some(host)) => format!(" to {host}"),
        (None, None) => String::new(),
    };
    format!("redirects{to} with {status}")
}

fn forward(words: &Forward) -> Vec<String> {
    let mut deeds = Vec::new();
    if !words.rewrite.is_empty() {
        deeds.push("rewrites the host or the path".to_owned());
    }
    let copies = words.mirrors.iter().chain(words.backends.iter().flat_map(|one| &one.to.mirrors));
    deeds.extend(copies.map(|mirror| format!("copies {} to {}", mirror.share, mirror.target)));
    deeds.extend(words.timeouts.request.map(|time| format!("gives up after {time:?}")));
    deeds.extend(words.timeouts.try_whole.map(|time| format!("gives a try up after {time:?}")));
    deeds.extend(words.retry.as_ref().filter(|retry| retry.retries > 0).map(retries));
    if words.session.is_some() {
        deeds.push("keeps sessions at their backend".to_owned());
    }
    deeds
}

fn retries(retry: &Retry) -> String {
    let on = &retry.on;
    let mut causes: Vec<String> = on.conditions.iter().map(|one| condition(*one).to_owned()).collect();
    causes.extend(on.statuses.iter().map(ToString::to_string));
    causes.extend(on.grpc.iter().map(|status| format!("gRPC status {status}")));
    causes.extend(on.headers.iter().map(|header| format!("header {header}")));
    format!("tries again up to {} times, on {}", retry.retries, causes.join(", "))
}

/// As Istio's `retryOn` calls it.
fn condition(condition: RetryCondition) -> &'static str {
    match condition {
        RetryCondition::ServerError => "5xx",
        RetryCondition::GatewayError => "gateway-error",
        RetryCondition::Reset => "reset",
        RetryCondition::ResetBeforeRequest => "reset-before-request",
        RetryCondition::ConnectFailure => "connect-failure",
        RetryCondition::Conflict => "retriable-4xx",
        RetryCondition::RefusedStream => "refused-stream",
        RetryCondition::RetriableStatusCodes => "retriable-status-codes",
        RetryCondition::RetriableHeaders => "retriable-headers",
        RetryCondition::EnvoyRatelimited => "envoy-ratelimited",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::{Respond, RuleOrigin};

    #[test]
    fn matches_are_told() {
        for (json, want) in [
            ("{}", "every request"),
            (r#"{"path": {"within": "/a"}, "method": {"exact": "GET"}}"#, "path within /a, method = GET"),
            (
                r#"{"headers": [{"name": "user-agent", "value": {"pattern": ".*Chrome.*"}}]}"#,
                "header user-agent ~ .*Chrome.*",
            ),
            (
                r#"{"headers": [{"name": "x", "value": "present", "not": true}], "client": {"namespace": "shop"}}"#,
                "not: header x is there, from namespace shop",
            ),
        ] {
            let when: RequestMatch =
                serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"));
            assert_eq!(when.to_string(), want);
        }
    }

    #[test]
    fn deeds_are_told() {
        let forward = r#"{"forward": {"backends": [], "timeouts": {"request": 1500}, "retry": {"retries": 2,
            "on": {"conditions": ["5xx", "connect-failure"], "statuses": [429]}, "backoff": {"base": 25, "max": 250}},
            "mirrors": [{"share": 500000, "target": {"service": {"service": "shop/v2", "port": 80}}}]}}"#;
        let forward = serde_json::from_str(forward).expect("an action");
        for (action, want) in [
            (Action::Respond(Respond { status: 503, body: Vec::new() }), vec!["answers with 503"]),
            (
                forward,
                vec![
                    "copies 50 % to shop/v2:80",
                    "gives up after 1.5s",
                    "tries again up to 2 times, on 5xx, connect-failure, 429",
                ],
            ),
        ] {
            let rule = Rule {
                origin: RuleOrigin {
                    kind: "x".into(),
                    namespace: "x".into(),
                    route: "x".into(),
                    rule: "0".into(),
                },
                action,
                request_headers: Default::default(),
                response_headers: Default::default(),
                cors: None,
                fault: None,
            };
            assert_eq!(rule.deeds(), want);
        }
    }
}
