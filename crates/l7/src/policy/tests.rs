//! The truth table of [`decide`].

use super::*;
use weft_core::policy::Denial;

fn web() -> Peer {
    Peer::new(Identity::new("cluster.local", "shop", "web").expect("an identity"))
}

fn request(peer: &Peer) -> Request<'_> {
    Request {
        peer: Some(peer),
        source_ip: "10.0.0.1".parse().expect("an address"),
        remote_ip: "192.0.2.7".parse().expect("an address"),
        port: 80,
        authority: "reviews:80",
        method: "GET",
        path: "/reviews/7",
    }
}

fn read(rules: &str) -> Vec<Rule> {
    serde_json::from_str(rules).unwrap_or_else(|error| panic!("{rules}: {error}"))
}

fn policy(name: &str, action: Action, rules: &str) -> Policy {
    Policy {
        name: PolicyName::new("shop", name),
        scope: PolicyScope::Waypoint,
        action,
        enforcement: Enforcement::Enforced,
        ruleset: Ruleset::Rules(read(rules)),
    }
}

fn allow(rules: &str) -> Policy {
    policy("allow", Action::Allow, rules)
}

fn deny(rules: &str) -> Policy {
    policy("deny", Action::Deny, rules)
}

fn judged(policies: Vec<Policy>, request: &Request<'_>) -> Judgement {
    let policies: Vec<_> = policies.into_iter().map(Arc::new).collect();
    decide(&Applying::to(None, &policies), request)
}

fn allowed() -> Verdict {
    Verdict::Allowed(Some(PolicyName::new("shop", "allow")))
}

fn denied() -> Verdict {
    Verdict::Denied(Denial::Matched(PolicyName::new("shop", "deny")))
}

/// Every field, for a client with an identity and for one without.
#[test]
fn fields() {
    let from = |source: &str| format!(r#"[{{"from": [{source}]}}]"#);
    let to = |operation: &str| format!(r#"[{{"to": [{operation}]}}]"#);
    for (rules, known, stranger) in [
        ("[{}]".to_owned(), true, true),
        ("[]".to_owned(), false, false),
        (r#"[{"from": []}]"#.to_owned(), false, false),
        (r#"[{"to": []}]"#.to_owned(), false, false),
        (from("{}"), true, true),
        (from(r#"{"principals": ["cluster.local/ns/shop/sa/web"]}"#), true, false),
        (from(r#"{"principals": ["cluster.local/ns/shop/*"]}"#), true, false),
        (from(r#"{"principals": ["*/sa/web"]}"#), true, false),
        (from(r#"{"principals": ["*"]}"#), true, false),
        (from(r#"{"principals": ["cluster.local/ns/shop/sa/other"]}"#), false, false),
        (from(r#"{"notPrincipals": ["*"]}"#), false, true),
        (from(r#"{"namespaces": ["bank", "shop"]}"#), true, false),
        (from(r#"{"notNamespaces": ["shop"]}"#), false, true),
        (from(r#"{"serviceAccounts": ["shop/web"]}"#), true, false),
        (from(r#"{"serviceAccounts": ["bank/web"]}"#), false, false),
        (from(r#"{"notServiceAccounts": ["shop/web"]}"#), false, true),
        (from(r#"{"ipBlocks": ["10.0.0.0/24"]}"#), true, true),
        (from(r#"{"ipBlocks": ["192.0.2.0/24"]}"#), false, false),
        (from(r#"{"notIpBlocks": ["10.0.0.1/32"]}"#), false, false),
        (from(r#"{"remoteIpBlocks": ["192.0.2.0/24"]}"#), true, true),
        (from(r#"{"notRemoteIpBlocks": ["192.0.2.0/24"]}"#), false, false),
        (from(r#"{"namespaces": ["bank"]}, {"ipBlocks": ["10.0.0.1/32"]}"#), true, true),
        (from(r#"{"namespaces": ["shop"], "ipBlocks": ["10.0.0.2/32"]}"#), false, false),
        (to(r#"{"hosts": ["Reviews:80"]}"#), true, true),
        (to(r#"{"notHosts": ["reviews"]}"#), false, false),
        (to(r#"{"ports": [80]}"#), true, true),
        (to(r#"{"notPorts": [80]}"#), false, false),
        (to(r#"{"methods": ["GET", "HEAD"]}"#), true, true),
        (to(r#"{"methods": ["get"]}"#), false, false),
        (to(r#"{"notMethods": ["G*"]}"#), false, false),
        (to(r#"{"paths": ["/reviews/*"]}"#), true, true),
        (to(r#"{"paths": ["/reviews/{*}"]}"#), true, true),
        (to(r#"{"notPaths": ["/reviews/7"]}"#), false, false),
        (to(r#"{"methods": ["GET"], "paths": ["/other"]}"#), false, false),
        (to(r#"{"methods": ["PUT"]}, {"paths": ["/reviews/7"]}"#), true, true),
        (r#"[{"from": [{"namespaces": ["shop"]}], "to": [{"methods": ["PUT"]}]}]"#.to_owned(), false, false),
        (r#"[{"to": [{"methods": ["PUT"]}]}, {"from": [{"namespaces": ["shop"]}]}]"#.to_owned(), true, false),
    ] {
        let peer = web();
        let unknown = Request { peer: None, ..request(&peer) };
        for (who, asks, want) in [("known", request(&peer), known), ("stranger", unknown, stranger)] {
            let got = judged(vec![allow(&rules)], &asks).verdict;
            let none_allows = Verdict::Denied(Denial::NoneAllows);
            assert_eq!(got, if want { allowed() } else { none_allows }, "{rules}, {who}");
        }
    }
}

#[test]
fn the_verdict_follows_deny_then_allow() {
    let (all, none) = ("[{}]", r#"[{"to": [{"methods": ["PUT"]}]}]"#);
    let unusable = Policy {
        ruleset: Ruleset::Unusable("CUSTOM is not supported".into()),
        ..policy("broken", Action::Allow, "[]")
    };
    let why = Denial::Unusable(PolicyName::new("shop", "broken"), "CUSTOM is not supported".into());
    for (case, policies, want) in [
        ("no policy", vec![], Verdict::Allowed(None)),
        ("deny matches", vec![deny(all)], denied()),
        ("deny does not match", vec![deny(none)], Verdict::Allowed(None)),
        ("allow matches", vec![allow(all)], allowed()),
        ("allow does not match", vec![allow(none)], Verdict::Denied(Denial::NoneAllows)),
        ("deny beats allow", vec![allow(all), deny(all)], denied()),
        ("what cannot be understood denies", vec![allow(all), unusable], Verdict::Denied(why)),
    ] {
        let peer = web();
        assert_eq!(judged(policies, &request(&peer)).verdict, want, "{case}");
    }
}

#[test]
fn a_dry_run_is_reported_and_decides_nothing() {
    let peer = web();
    let dry = Policy { enforcement: Enforcement::DryRun, ..deny("[{}]") };
    let got = judged(vec![dry], &request(&peer));
    assert_eq!(got, Judgement { verdict: Verdict::Allowed(None), dry_run: Some(denied()) });
    let dry = Policy { enforcement: Enforcement::DryRun, ..deny(r#"[{"to": [{"paths": ["/a/b"]}]}]"#) };
    let got = judged(vec![dry], &Request { path: "/a//b", ..request(&peer) });
    assert_eq!(
        got,
        Judgement { verdict: Verdict::Allowed(None), dry_run: Some(denied()) },
        "its other reading"
    );
}

#[test]
fn every_reading_of_a_path_has_to_be_allowed() {
    let none_allows = Verdict::Denied(Denial::NoneAllows);
    let public = || allow(r#"[{"to": [{"paths": ["/public/*", "/public%2F*"]}]}]"#);
    let no_admin = || deny(r#"[{"to": [{"paths": ["/admin", "/admin/*"]}]}]"#);
    for (case, policies, path, want) in [
        ("plain", vec![public()], "/public/a", allowed()),
        ("an escaped way out", vec![public()], "/public%2F..%2Fadmin", none_allows.clone()),
        ("an escaped slash within", vec![public()], "/public/a%2Fb", allowed()),
        ("two slashes before what is denied", vec![no_admin()], "//admin", denied()),
        ("an escaped slash before what is denied", vec![no_admin()], "/x%2F..%2Fadmin/keys", denied()),
        ("two slashes elsewhere", vec![no_admin()], "/a//b", Verdict::Allowed(None)),
        (
            "allowed only with two slashes",
            vec![allow(r#"[{"to": [{"paths": ["/a//b"]}]}]"#)],
            "/a//b",
            none_allows,
        ),
        ("no policy", vec![], "/public%2F..%2Fadmin", Verdict::Allowed(None)),
    ] {
        let peer = web();
        let got = judged(policies, &Request { path, ..request(&peer) }).verdict;
        assert_eq!(got, want, "{case}");
    }
}

#[test]
fn a_policy_for_a_service_is_for_it_alone() {
    let (reviews, ratings) = (ServiceName::new("shop", "reviews"), ServiceName::new("shop", "ratings"));
    let scope = PolicyScope::Services(vec![reviews.clone()]);
    for (service, want) in
        [(Some(&reviews), denied()), (Some(&ratings), Verdict::Allowed(None)), (None, Verdict::Allowed(None))]
    {
        let peer = web();
        let policy = Arc::new(Policy { scope: scope.clone(), ..deny("[{}]") });
        let got = decide(&Applying::to(service, &[policy]), &request(&peer)).verdict;
        assert_eq!(got, want, "{service:?}");
    }
}

#[test]
fn what_is_written_is_read_back_and_what_nobody_knows_is_refused() {
    let text = r#"{"name":"shop/p","scope":{"services":["shop/reviews"]},"action":"deny","enforcement":"dryRun",
        "ruleset":{"rules":[{"from":[{"principals":["td/*"],"notServiceAccounts":["a/b"],"ipBlocks":["10.0.0.0/8"]}],
        "to":[{"hosts":["*.org"],"notMethods":["*"],"paths":["/a/{**}","/b*"]}]}]}}"#;
    let policy: Policy = serde_json::from_str(text).expect("a policy");
    let again = serde_json::to_string(&policy).expect("text");
    assert_eq!(again, text.split_whitespace().collect::<String>());
    for (from, to) in [
        ("\"hosts\"", "\"weather\""),
        ("deny", "audit"),
        ("td/*", "t*d"),
        ("a/b", "b"),
        ("/a/{**}", "/%61"),
        ("10.0.0.0/8", "10"),
        ("shop/p", "p"),
        ("shop/reviews", "reviews"),
    ] {
        assert!(serde_json::from_str::<Policy>(&text.replace(from, to)).is_err(), "{to}");
    }
    let star = Source { principals: vec![StringMatch::Exact("a*".into())], ..Source::default() };
    assert!(serde_json::to_string(&star).is_err(), "it would be read back as one that matches more");
}

/// What is said of requests counts against a connection on which none is read.
#[test]
fn connections() {
    let ends = r#"[{"from": [{"principals": ["cluster.local/ns/shop/sa/web"]}]}]"#;
    let path = r#"[{"to": [{"paths": ["/a"]}]}]"#;
    let not_path = r#"[{"to": [{"notPaths": ["/a"]}]}]"#;
    let port = r#"[{"to": [{"ports": [80]}]}]"#;
    let other = r#"[{"to": [{"ports": [81], "methods": ["GET"]}]}]"#;
    for (case, policies, want) in [
        ("nothing said", vec![], true),
        ("who it is", vec![allow(ends)], true),
        ("which port", vec![allow(port)], true),
        ("a path that is allowed", vec![allow(path)], false),
        ("a path that is not allowed", vec![allow(not_path)], false),
        ("a path that is denied", vec![deny(path)], false),
        ("all paths but one denied", vec![deny(not_path)], false),
        ("a method on another port denied", vec![deny(other)], true),
    ] {
        let policies: Vec<_> = policies.into_iter().map(Arc::new).collect();
        let peer = web();
        let ask =
            ConnectionAsk { peer: Some(&peer), source_ip: "10.0.0.1".parse().expect("an address"), port: 80 };
        let judged = decide_connection(&Applying::to(None, &policies), &ask);
        assert_eq!(matches!(judged.verdict, Verdict::Allowed(_)), want, "{case}");
    }
}
