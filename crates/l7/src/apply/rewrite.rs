//! Another path and another host than a request asked for.

use crate::path::{self, BadPath};
use crate::rule::PathChange;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderValue, Uri, Version, header, request};
use std::borrow::Cow;

/// What a path becomes. The path comes and goes without its query.
pub fn path<'a>(change: &'a PathChange, path: &'a str) -> Cow<'a, str> {
    match change {
        PathChange::Whole(by) => Cow::Borrowed(by),
        PathChange::Segments { prefix, by } => Cow::Owned(path::replace_prefix(path, prefix, by)),
        PathChange::Text { prefix, by } => match path.split_at_checked(prefix.len()) {
            Some((head, rest)) if head.eq_ignore_ascii_case(prefix) => Cow::Owned(format!("{by}{rest}")),
            // It is not what matched: nothing is known of it, so nothing is changed.
            _ => Cow::Borrowed(path),
        },
        PathChange::Pattern { find, by } => find.replace_all(path, by),
    }
}

/// The request asks for this path now, with the query that it had. What a rewrite makes is brought into the one form of
/// paths, so that what goes on is what every server reads alike.
///
/// # Errors
/// If it is no path.
pub fn set_path(parts: &mut request::Parts, new: &str) -> Result<(), BadPath> {
    // A rule may leave the slash out that a path begins with.
    let rooted = if new.starts_with('/') { Cow::Borrowed(new) } else { Cow::Owned(format!("/{new}")) };
    let new = path::normalise(&rooted)?;
    let whole = match parts.uri.query() {
        Some(query) => format!("{new}?{query}"),
        None => new.into_owned(),
    };
    // What fails leaves the request as it came, for whoever writes it down.
    let mut uri = parts.uri.clone().into_parts();
    uri.path_and_query = Some(PathAndQuery::try_from(whole).map_err(|_| BadPath::Byte)?);
    parts.uri = Uri::from_parts(uri).map_err(|_| BadPath::Byte)?;
    Ok(())
}

/// The request asks for this host now: in its target, if a host is there, and in its `host` header, if there is one or its
/// version has no other place for it. A host that is none changes nothing; whoever writes rules refuses those.
pub fn set_host(parts: &mut request::Parts, host: &str) {
    let (Ok(authority), Ok(value)) = (Authority::try_from(host), HeaderValue::try_from(host)) else { return };
    if parts.headers.contains_key(header::HOST) || parts.version < Version::HTTP_2 {
        parts.headers.insert(header::HOST, value);
    }
    if parts.uri.authority().is_some() {
        let mut uri = parts.uri.clone().into_parts();
        uri.authority = Some(authority);
        // What had an authority may have another one.
        if let Ok(uri) = Uri::from_parts(uri) {
            parts.uri = uri;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pattern::Search;
    use std::sync::Arc;

    #[test]
    fn what_a_path_becomes() {
        let whole = |by: &str| PathChange::Whole(by.into());
        let segments = |prefix: &str, by: &str| PathChange::Segments { prefix: prefix.into(), by: by.into() };
        let text = |prefix: &str, by: &str| PathChange::Text { prefix: prefix.into(), by: by.into() };
        let pattern = |find: &str, by: &str| PathChange::Pattern {
            find: Search::new(Arc::from(find)).expect("a pattern"),
            by: by.into(),
        };
        for (change, path, want) in [
            (whole("/new"), "/old/x", "/new"),
            (segments("/v1", "/v2"), "/v1/users", "/v2/users"),
            (segments("/v1", "/"), "/v1", "/"),
            (text("/v1", "/v2"), "/v1x/users", "/v2x/users"),
            (text("/v1/", "/"), "/v1/users", "/users"),
            (text("/V1", "/v2"), "/v1/users", "/v2/users"),
            (text("/other", "/v2"), "/v1/users", "/v1/users"),
            (text("/v1/long", "/v2"), "/v1", "/v1"),
            (
                pattern("^/service/([^/]+)(/.*)$", r"\2/instance/\1"),
                "/service/foo/v1/api",
                "/v1/api/instance/foo",
            ),
            (pattern("one", "two"), "/xxx/one/yyy/one/zzz", "/xxx/two/yyy/two/zzz"),
            (pattern("^(.*?)one(.*)$", r"\1two\2"), "/xxx/one/yyy/one/zzz", "/xxx/two/yyy/one/zzz"),
            (pattern("(?i)/xxx/", "/yyy/"), "/aaa/XxX/bbb", "/aaa/yyy/bbb"),
            (pattern("b+", r"[\0]"), "/abba", "/a[bb]a"),
            (pattern("a", r"\\$1"), "/a", r"/\$1"),
            (pattern("none", "x"), "/a", "/a"),
        ] {
            assert_eq!(super::path(&change, path), want, "{change:?} on {path}");
        }
    }

    #[test]
    fn the_query_stays_and_what_comes_out_is_a_path() {
        for (uri, new, want) in [
            ("/old?q=1", "/new", Ok("/new?q=1")),
            ("/old", "new/../x", Ok("/x")),
            ("/old?", "", Ok("/?")),
            ("http://web/old?q", "/new", Ok("http://web/new?q")),
            ("/old", "/a b", Err(BadPath::Byte)),
            ("/old", "/%zz", Err(BadPath::Escape)),
        ] {
            let (mut parts, ()) = http::Request::get(uri).body(()).expect("a request").into_parts();
            let got = set_path(&mut parts, new).map(|()| parts.uri.to_string());
            assert_eq!(got.as_deref().map_err(|bad| *bad), want, "{uri} to {new}");
        }
    }

    #[test]
    fn the_host_in_both_places() {
        for (version, uri, header, want_uri, want_header) in [
            (Version::HTTP_11, "/a", Some("old"), "/a", Some("new:81")),
            (Version::HTTP_11, "/a", None, "/a", Some("new:81")),
            (Version::HTTP_2, "http://old/a?b", None, "http://new:81/a?b", None),
            (Version::HTTP_2, "http://old/a", Some("old"), "http://new:81/a", Some("new:81")),
        ] {
            let mut builder = http::Request::get(uri).version(version);
            if let Some(host) = header {
                builder = builder.header("host", host);
            }
            let (mut parts, ()) = builder.body(()).expect("a request").into_parts();
            set_host(&mut parts, "new:81");
            set_host(&mut parts, "no host");
            let has = parts.headers.get("host").and_then(|host| host.to_str().ok());
            assert_eq!(
                (parts.uri.to_string().as_str(), has),
                (want_uri, want_header),
                "{version:?} {uri} {header:?}"
            );
        }
    }
}
