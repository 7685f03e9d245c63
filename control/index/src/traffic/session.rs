//! How requests of one session are kept together (Gateway API, GEP-1619).

use weft_control_api::gateway_api::session::{CookieLifetime, SessionPersistence, SessionType};
use weft_l7::balance::hash::hash;
use weft_l7::headers::Name as HeaderName;
use weft_l7::matches::{PathMatch, RequestMatch};
use weft_l7::rule::{RuleOrigin, Session, SessionCarrier};
use weft_l7::text::TextMatch;

/// What a rule says of sessions, for the requests that one of its matches takes.
pub(super) fn session(one: &SessionPersistence, origin: &RuleOrigin, when: &RequestMatch) -> Session {
    // Two rules of one host must not take each other's sessions for their own (GEP-1619, "Name").
    let own = || format!("weft-session-{:016x}", hash(origin.to_string().as_bytes()));
    let name = one.session_name.clone().unwrap_or_else(own);
    let permanent = one.cookie_config.is_some_and(|cookie| cookie.lifetime_type == CookieLifetime::Permanent);
    let cookie = || {
        let path = cookie_path(when.path.as_ref()).into();
        SessionCarrier::Cookie { name: name.as_str().into(), path, permanent }
    };
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

/// Where a client sends the cookie back (RFC 6265 §5.1.4): the path that the rule matches, of a pattern as many whole segments
/// as it begins with (GEP-1619, "Path").
fn cookie_path(path: Option<&PathMatch>) -> &str {
    let path = match path {
        Some(PathMatch::Within(prefix)) => prefix.trim_end_matches('/'),
        Some(PathMatch::Text(TextMatch::Exact(path))) => &**path,
        Some(PathMatch::Text(TextMatch::Prefix(prefix))) => segments(prefix),
        Some(PathMatch::Text(TextMatch::Pattern(pattern))) => of_pattern(pattern.as_str()),
        Some(PathMatch::Text(
            TextMatch::ExactIgnoringCase(_)
            | TextMatch::PrefixIgnoringCase(_)
            | TextMatch::Suffix(_)
            | TextMatch::Present,
        ))
        | None => "",
    };
    // What would end the attribute cannot stand in it.
    let path = path.find([';', ',']).map_or(path, |end| segments(&path[..end]));
    if path.starts_with('/') { path } else { "/" }
}

fn of_pattern(pattern: &str) -> &str {
    let pattern = pattern.strip_prefix('^').unwrap_or(pattern);
    let pattern = pattern.strip_suffix('$').unwrap_or(pattern);
    let mut depth = 0_usize;
    for char in pattern.chars() {
        match char {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            // What follows has nothing in common with what stands before.
            '|' if depth == 0 => return "",
            _ => {}
        }
    }
    match pattern.find(['\\', '.', '+', '*', '?', '(', ')', '|', '[', ']', '{', '}', '^', '$']) {
        Some(end) => segments(&pattern[..end]),
        None => pattern,
    }
}

/// The segments that are whole.
fn segments(path: &str) -> &str {
    path.rfind('/').map_or("", |end| &path[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use weft_l7::pattern::Pattern;

    #[test]
    fn paths_of_cookies() {
        let text = |text| Some(PathMatch::Text(text));
        let within = |path: &str| Some(PathMatch::Within(path.into()));
        let exact = |path: &str| text(TextMatch::Exact(path.into()));
        let pattern = |path: &str| text(TextMatch::Pattern(Pattern::new(path).expect("a pattern")));
        for (path, want) in [
            (None, "/"),
            (within("/"), "/"),
            (within("/cart"), "/cart"),
            (within("/cart/"), "/cart"),
            (within("/a/b;c/d"), "/a"),
            (exact("/cart"), "/cart"),
            (exact("/cart/"), "/cart/"),
            (exact("/a,b"), "/"),
            (text(TextMatch::Prefix("/shop.Reviews/".into())), "/shop.Reviews"),
            (text(TextMatch::Present), "/"),
            (text(TextMatch::Suffix("/x".into())), "/"),
            (pattern("/p1/p2/.*/p3"), "/p1/p2"),
            (pattern("^/cart$"), "/cart"),
            (pattern("/cart/*"), "/cart"),
            (pattern("/car(t|s)/x"), "/"),
            (pattern("/a/b(c|d)"), "/a"),
            (pattern("/a/b|/c"), "/"),
            (pattern("(?i)/cart"), "/"),
            (pattern(r"/a\.b/c"), "/"),
            (pattern(".*"), "/"),
        ] {
            assert_eq!(cookie_path(path.as_ref()), want, "{path:?}");
        }
    }
}
