//! Rules on whole heads.

use super::*;
use crate::rule::{Action, PathChange, Rewrite, RuleOrigin};
use crate::target::Target;

fn rule(change: HeaderChange, back: HeaderChange) -> Rule {
    Rule {
        origin: RuleOrigin {
            kind: "HTTPRoute".into(),
            namespace: "shop".into(),
            route: "web".into(),
            rule: "0".into(),
        },
        action: Action::Forward(Box::default()),
        request_headers: change,
        response_headers: back,
        cors: None,
        fault: None,
    }
}

fn change(text: &str) -> HeaderChange {
    serde_json::from_str(text).expect("a change")
}

fn head(uri: &str) -> request::Parts {
    http::Request::get(uri)
        .header("host", "web")
        .header("x-gone", "1")
        .body(())
        .expect("a request")
        .into_parts()
        .0
}

#[test]
fn the_backend_has_the_last_word() {
    let rule = rule(
        change(r#"{"set": [["x-who", "rule"]], "remove": ["x-gone"]}"#),
        change(r#"{"set": [["x-who", "rule"]]}"#),
    );
    let backend = Backend {
        request_headers: change(r#"{"set": [["x-who", "backend"]]}"#),
        response_headers: change(r#"{"set": [["x-who", "backend"], ["x-backend", "1"]]}"#),
        ..Backend::new(Target::Nowhere("a test".into()))
    };
    let mut parts = head("/a");
    request(&rule, &Forward::default(), &backend, &mut parts).expect("a path");
    assert_eq!(
        (parts.headers["x-who"].as_bytes(), parts.headers.contains_key("x-gone")),
        (&b"backend"[..], false)
    );
    let mut headers = HeaderMap::new();
    response(&rule, Some(&backend), &mut headers);
    assert_eq!((headers["x-who"].as_bytes(), headers["x-backend"].as_bytes()), (&b"backend"[..], &b"1"[..]));
}

#[test]
fn rewrites_of_the_backend_stand_instead_of_the_rules_field_by_field() {
    let rewrite = |host: Option<&str>, path: Option<&str>| Rewrite {
        host: host.map(Into::into),
        path: path.map(|path| PathChange::Whole(path.into())),
    };
    for (own, of_backend, want) in [
        ((None, None), (None, None), "web /a?q"),
        ((Some("h"), Some("/p")), (None, None), "h /p?q"),
        ((Some("h"), Some("/p")), (Some("b"), None), "b /p?q"),
        ((Some("h"), None), (None, Some("/b")), "h /b?q"),
    ] {
        let forward = Forward { rewrite: rewrite(own.0, own.1), ..Forward::default() };
        let backend = Backend {
            rewrite: rewrite(of_backend.0, of_backend.1),
            ..Backend::new(Target::Nowhere("a test".into()))
        };
        let mut parts = head("/a?q");
        let rule = rule(HeaderChange::default(), HeaderChange::default());
        request(&rule, &forward, &backend, &mut parts).expect("a path");
        let host = parts.headers["host"].to_str().expect("text").to_owned();
        assert_eq!(format!("{host} {}", parts.uri), want, "{own:?} {of_backend:?}");
    }
}

#[test]
fn a_host_that_is_set_as_a_header_is_the_host() {
    let rule = rule(change(r#"{"set": [["Host", "other"]]}"#), HeaderChange::default());
    let backend = Backend::new(Target::Nowhere("a test".into()));
    let mut parts = head("http://web/a");
    request(&rule, &Forward::default(), &backend, &mut parts).expect("a path");
    assert_eq!(
        (parts.uri.to_string().as_str(), parts.headers["host"].as_bytes()),
        ("http://other/a", &b"other"[..])
    );
}

#[test]
fn a_server_as_a_whole_has_no_path_to_rewrite() {
    let rule = rule(change("{}"), change("{}"));
    let prefix = PathChange::Segments { prefix: "/".into(), by: "/v2".into() };
    let forward =
        Forward { rewrite: Rewrite { path: Some(prefix), host: Some("inner".into()) }, ..Forward::default() };
    let backend = Backend::new(Target::Nowhere("a test".into()));
    for (uri, want) in [("/a", "/v2/a"), (WHOLE_SERVER, WHOLE_SERVER)] {
        let mut parts = head(uri);
        request(&rule, &forward, &backend, &mut parts).expect("a path");
        assert_eq!((parts.uri.path(), parts.headers["host"].as_bytes()), (want, &b"inner"[..]), "{uri}");
    }
}
