//! Tokens that are good, and all the ways in which they are not.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::*;
use crate::review::Fault;

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn subject() -> TokenSubject {
    TokenSubject {
        service_account: ServiceAccount::new("weft-system", "weft-node-proxy"),
        pod: Some(("proxy-one".into(), "uid-1".into())),
        node: Some(NodeName::new("one")),
    }
}

/// The claims of a good token, to be spoilt.
fn claims() -> Value {
    serde_json::to_value(Claims::new(&subject(), &[AUDIENCE], 1_000, 100)).unwrap()
}

fn signed(tokens: &LocalTokens, claims: &Value) -> String {
    jws::sign(&tokens.key, &serde_json::to_vec(claims).unwrap()).unwrap()
}

fn part(token: &str, index: usize) -> Value {
    let text = token.split('.').nth(index).unwrap();
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap()
}

fn short(result: Result<Caller, ReviewError>) -> String {
    result.map_or_else(|error| format!("{error:?}"), |caller| caller.service_account.to_string())
}

#[test]
fn a_token_says_who_the_caller_is() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = LocalTokens::open_or_create(folder.path()).unwrap();
    let token =
        tokens.issue_token(&subject(), &["other", AUDIENCE], Duration::from_secs(100), at(1_000)).unwrap();
    let caller = tokens.check(&token, AUDIENCE, at(1_050)).unwrap();
    assert_eq!(caller.service_account, subject().service_account);
    assert_eq!(caller.node, Some(NodeName::new("one")));
    let pod = caller.pod.unwrap();
    assert_eq!((&*pod.namespace, &*pod.name, &*pod.uid), ("weft-system", "proxy-one", "uid-1"));
    let bare = TokenSubject { pod: None, node: None, ..subject() };
    let token = tokens.issue_token(&bare, &[AUDIENCE], Duration::MAX, at(1_000)).unwrap();
    let caller = tokens.check(&token, AUDIENCE, at(u64::from(u32::MAX))).unwrap();
    assert_eq!((caller.pod, caller.node), (None, None));
}

#[test]
fn tokens_have_the_shape_of_kubernetes() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = LocalTokens::open_or_create(folder.path()).unwrap();
    let token = tokens.issue_token(&subject(), &[AUDIENCE], Duration::from_secs(100), at(1_000)).unwrap();
    assert_eq!(part(&token, 0), json!({"alg": "ES256"}));
    assert_eq!(
        part(&token, 1),
        json!({
            "iss": "weft-local",
            "sub": "system:serviceaccount:weft-system:weft-node-proxy",
            "aud": ["istio-ca"],
            "iat": 1_000, "nbf": 1_000, "exp": 1_100,
            "kubernetes.io": {
                "namespace": "weft-system",
                "serviceaccount": {"name": "weft-node-proxy"},
                "pod": {"name": "proxy-one", "uid": "uid-1"},
                "node": {"name": "one"},
            },
        })
    );
}

#[test]
fn claims_that_do_not_hold_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = LocalTokens::open_or_create(folder.path()).unwrap();
    let with = |key: &str, value: Value| {
        let mut claims = claims();
        claims[key] = value;
        claims
    };
    for (case, claims, now, want) in [
        ("good", claims(), 1_050, "weft-system/weft-node-proxy"),
        ("first second", claims(), 1_000, "weft-system/weft-node-proxy"),
        ("last second", claims(), 1_099, "weft-system/weft-node-proxy"),
        ("expired", claims(), 1_100, "Expired"),
        ("before its time", claims(), 999, "NotYetValid"),
        ("another audience", with("aud", json!(["vault"])), 1_050, "WrongAudience"),
        ("part of an audience", with("aud", json!(["istio-ca-2"])), 1_050, "WrongAudience"),
        ("no audience", with("aud", json!([])), 1_050, "WrongAudience"),
        ("another issuer", with("iss", json!("kubernetes")), 1_050, "WrongIssuer"),
        (
            "two names",
            with("sub", json!("system:serviceaccount:weft-system:admin")),
            1_050,
            "NotAServiceAccount",
        ),
        ("a user", with("sub", json!("admin")), 1_050, "NotAServiceAccount"),
        ("no end", with("exp", json!(null)), 1_050, "Malformed"),
        ("an end that is a text", with("exp", json!("1100")), 1_050, "Malformed"),
        ("an end before 1970", with("exp", json!(-5)), 1_050, "Malformed"),
        ("bound to nothing", with("kubernetes.io", json!({})), 1_050, "Malformed"),
        ("a list", json!([1, 2]), 1_050, "Malformed"),
    ] {
        let got = tokens.check(&signed(&tokens, &claims), AUDIENCE, at(now));
        if let Err(error) = &got {
            assert_eq!(error.fault(), Fault::Caller, "{case}");
        }
        assert_eq!(short(got), want, "{case}");
    }
}

#[test]
fn tokens_that_were_tampered_with_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = LocalTokens::open_or_create(folder.path()).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let other = LocalTokens::open_or_create(elsewhere.path()).unwrap();
    let good = signed(&tokens, &claims());
    let (signed_part, signature) = good.rsplit_once('.').unwrap();
    let (header, payload) = signed_part.split_once('.').unwrap();
    let encoded = |value: Value| BASE64_URL_SAFE_NO_PAD.encode(serde_json::to_vec(&value).unwrap());
    let mut admin = claims();
    admin["sub"] = json!("system:serviceaccount:weft-system:admin");
    for (case, token, want) in [
        ("another key", signed(&other, &claims()), "BadSignature"),
        ("other claims", format!("{header}.{}.{signature}", encoded(admin)), "BadSignature"),
        ("no signature", format!("{signed_part}."), "BadSignature"),
        ("half a signature", format!("{signed_part}.{}", &signature[..40]), "BadSignature"),
        ("algorithm none", format!("{}.{payload}.", encoded(json!({"alg": "none"}))), "Malformed"),
        (
            "algorithm HS256",
            format!("{}.{payload}.{signature}", encoded(json!({"alg": "HS256"}))),
            "Malformed",
        ),
        (
            "a critical extension",
            format!("{}.{payload}.{signature}", encoded(json!({"alg": "ES256", "crit": ["x"]}))),
            "Malformed",
        ),
        ("two parts", signed_part.to_owned(), "Malformed"),
        ("four parts", format!("{good}.{signature}"), "Malformed"),
        ("padding", format!("{good}=="), "Malformed"),
        ("a line end", format!("{good}\n"), "Malformed"),
        ("nothing", String::new(), "Malformed"),
        ("dots", "..".to_owned(), "Malformed"),
        ("too long", "a".repeat(jws::TOKEN_BYTES_MAX + 1), "Malformed"),
    ] {
        assert_eq!(short(tokens.check(&token, AUDIENCE, at(1_050))), want, "{case}");
    }
    for index in 0..good.len() {
        let mut bytes = good.clone().into_bytes();
        bytes[index] = if bytes[index] == b'A' { b'B' } else { b'A' };
        let token = String::from_utf8(bytes).unwrap();
        assert!(tokens.check(&token, AUDIENCE, at(1_050)).is_err(), "character {index}");
    }
}

#[test]
fn the_key_is_kept_and_its_owners_alone() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("ca");
    let first = LocalTokens::open_or_create(&home).unwrap();
    let path = home.join(TOKEN_KEY_FILE);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let again = LocalTokens::open_or_create(&home).unwrap();
    assert_eq!(
        short(again.check(&signed(&first, &claims()), AUDIENCE, at(1_050))),
        "weft-system/weft-node-proxy"
    );
    assert_eq!(format!("{first:?}"), "LocalTokens { .. }");
    assert_eq!(fs::read_dir(&home).unwrap().count(), 1, "nothing is left behind");

    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(LocalTokens::open_or_create(&home), Err(TokenKeyError::Read { .. })), "readable by all");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&path, "no key").unwrap();
    assert!(matches!(LocalTokens::open_or_create(&home), Err(TokenKeyError::Unusable { .. })), "no key");
}
