//! What a rule does to the heads of requests and responses, and the responses that are made here.

pub mod cookies;
pub mod cors;
pub mod hop;
pub mod redirect;
pub mod reply;
pub mod rewrite;

use crate::headers::HeaderChange;
use crate::path::{BadPath, WHOLE_SERVER};
use crate::rule::{Backend, Forward, Rule};
use http::{HeaderMap, header, request};

/// What a request goes on as: the rule's changes of headers, then the backend's, so that the closer one has the last
/// word, then host and path.
///
/// # Errors
/// If what a rewrite makes is no path. The request goes nowhere then.
pub fn request(
    rule: &Rule,
    forward: &Forward,
    backend: &Backend,
    parts: &mut request::Parts,
) -> Result<(), BadPath> {
    for change in [&rule.request_headers, &backend.request_headers] {
        change.apply(&mut parts.headers);
    }
    if sets_host(&rule.request_headers) || sets_host(&backend.request_headers) {
        // The host is in two places in HTTP/2, and must be the same in both (RFC 9113 §8.3.1).
        let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok()).map(str::to_owned);
        host.iter().for_each(|host| rewrite::set_host(parts, host));
    }
    let host = backend.rewrite.host.as_ref().or(forward.rewrite.host.as_ref());
    let path = backend.rewrite.path.as_ref().or(forward.rewrite.path.as_ref());
    if let Some(path) = path.filter(|_| parts.uri.path() != WHOLE_SERVER) {
        let new = rewrite::path(path, parts.uri.path()).into_owned();
        rewrite::set_path(parts, &new)?;
    }
    if let Some(host) = host {
        rewrite::set_host(parts, host);
    }
    Ok(())
}

/// What a response goes back as, whoever made it: in the same order, so here too the backend's changes have the last word.
pub fn response(rule: &Rule, backend: Option<&Backend>, headers: &mut HeaderMap) {
    rule.response_headers.apply(headers);
    if let Some(backend) = backend {
        backend.response_headers.apply(headers);
    }
}

fn sets_host(change: &HeaderChange) -> bool {
    change.set.iter().chain(&change.add).any(|(name, _)| name.0 == header::HOST)
}

#[cfg(test)]
mod tests;
