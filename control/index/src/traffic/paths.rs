//! Paths as routes write them, in the one form that those of requests have when they are compared
//! ([`weft_l7::path::normalise`]): else a route for `/%7Ejoe` or `/a/../b` would never take a request.

use std::sync::Arc;
use weft_control_api::gateway_api::http_route::{HttpRouteSpec, PathMatchType};
use weft_control_api::istio::string_match::StringMatch;
use weft_control_api::istio::virtual_service::http::HttpRoute;
use weft_control_api::problem::Note;
use weft_l7::path::{BadPath, normalise};

/// A path, or whole segments of its beginning.
///
/// # Errors
/// If no path is or begins so.
pub(super) fn whole(written: &str) -> Result<Arc<str>, BadPath> {
    normalise(written).map(Arc::from)
}

/// The text of a path's beginning. Where it ends in dots, more may follow of that segment.
///
/// # Errors
/// If no path begins so.
pub(super) fn beginning(written: &str) -> Result<Arc<str>, BadPath> {
    match written.rsplit_once('/') {
        Some((head, tail @ ("." | ".."))) => {
            let head = format!("{head}/");
            Ok(format!("{}{tail}", normalise(&head)?).into())
        }
        _ => whole(written),
    }
}

/// What a VirtualService wants of a path; a pattern stays as it is.
///
/// # Errors
/// If no path is like this.
pub(super) fn of_uri(uri: &StringMatch) -> Result<StringMatch, BadPath> {
    Ok(match uri {
        StringMatch::Exact(path) => StringMatch::Exact(whole(path)?.to_string()),
        StringMatch::Prefix(text) => StringMatch::Prefix(beginning(text)?.to_string()),
        StringMatch::Regex(_) => uri.clone(),
    })
}

/// Notes paths of an HTTPRoute that no request has.
pub(super) fn check_http_route(spec: &HttpRouteSpec, notes: &mut Vec<Note>) {
    for (number, rule) in spec.rules.iter().enumerate() {
        let paths = rule.matches.iter().map(|one| &one.path).enumerate();
        for (place, path) in paths.filter(|(_, path)| path.match_type != PathMatchType::RegularExpression) {
            let field = format!("spec.rules[{number}].matches[{place}].path.value");
            notes.extend(whole(&path.value).err().map(|bad| never(field, bad)));
        }
    }
}

/// Notes paths of a VirtualService's route that no request has.
pub(super) fn check_uris(at: &str, route: &HttpRoute, notes: &mut Vec<Note>) {
    for (place, one) in route.matches.iter().enumerate() {
        let bad = one.uri.as_ref().and_then(|uri| of_uri(uri).err());
        notes.extend(bad.map(|bad| never(format!("{at}.match[{place}].uri"), bad)));
    }
}

fn never(field: String, bad: BadPath) -> Note {
    Note::error(field, format!("is no path that a request may have: {bad}"))
}
