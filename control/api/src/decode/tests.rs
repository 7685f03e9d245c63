//! Values that become objects, and values that do not.

use super::*;
use crate::authorization_policy::AuthorizationPolicySpec;
use crate::peer_authentication::PeerAuthenticationSpec;
use crate::problem::Severity;
use crate::testing::assert_whole;
use serde_json::json;

fn policy(spec: &Value) -> Value {
    json!({
        "apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
        "metadata": {"name": "web", "namespace": "shop"}, "spec": spec,
    })
}

fn refusal(value: &Value) -> Refusal {
    match decode(value) {
        Decoded::Refused(refusal) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn a_field_that_is_wrong_is_named() {
    let pod =
        |spec: Value| json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": spec});
    for (case, value, field, reason) in [
        (
            "unknown field of a policy",
            policy(&json!({"rules": [{"form": []}]})),
            "spec.rules[0].form",
            "unknown field `form`",
        ),
        (
            "unknown field deep in a policy",
            policy(&json!({"rules": [{}, {"from": [{"source": {"principal": ["a"]}}]}]})),
            "spec.rules[1].from[0].source.principal",
            "unknown field `principal`",
        ),
        (
            "unknown field at the top",
            json!({"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
                "metadata": {"name": "web"}, "sepc": {}}),
            "sepc",
            "unknown field `sepc`",
        ),
        (
            "unknown field of metadata",
            json!({"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
                "metadata": {"name": "web", "anotations": {}}, "spec": {}}),
            "metadata.anotations",
            "unknown field",
        ),
        (
            "a number where text is due",
            policy(&json!({"rules": [{"to": [{"operation": {"ports": ["80", 81]}}]}]})),
            "spec.rules[0].to[0].operation.ports[1]",
            "invalid type: integer `81`, expected a text: write it in quotes",
        ),
        ("action", policy(&json!({"action": "PERMIT"})), "spec.action", "unknown variant `PERMIT`"),
        (
            "unknown field of a pod",
            pod(json!({"containers": [], "hostNetwrok": true})),
            "spec.hostNetwrok",
            "unknown",
        ),
        (
            "malformed field of a pod",
            pod(json!({"containers": [{"name": "a", "ports": [{"containerPort": "x"}]}]})),
            "spec.containers[0].ports[0].containerPort",
            "invalid type: string \"x\", expected a number",
        ),
        (
            "no name",
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {}}),
            "metadata.name",
            "is missing",
        ),
        (
            "version",
            json!({"apiVersion": "security.istio.io/v2", "kind": "PeerAuthentication", "metadata": {"name": "a"}}),
            "apiVersion",
            "v1beta1",
        ),
    ] {
        let refusal = refusal(&value);
        assert_eq!(refusal.notes[0].field, field, "{case}");
        assert!(refusal.notes[0].reason.contains(reason), "{case}: {}", refusal.notes[0].reason);
    }
}

#[test]
fn every_field_of_the_policies_is_understood() {
    let refs = json!([{"group": "", "kind": "Service", "name": "web", "namespace": "shop"}]);
    let lists = |names: &[&str]| -> Value {
        names.iter().map(|name| ((*name).to_owned(), json!(["a"]))).collect::<serde_json::Map<_, _>>().into()
    };
    let source = lists(&[
        "principals",
        "notPrincipals",
        "requestPrincipals",
        "notRequestPrincipals",
        "namespaces",
        "notNamespaces",
        "serviceAccounts",
        "notServiceAccounts",
        "ipBlocks",
        "notIpBlocks",
        "remoteIpBlocks",
        "notRemoteIpBlocks",
    ]);
    let operation =
        lists(&["hosts", "notHosts", "ports", "notPorts", "methods", "notMethods", "paths", "notPaths"]);
    let spec = json!({
        "selector": {"matchLabels": {"app": "web"}}, "targetRef": refs[0], "targetRefs": refs, "action": "CUSTOM",
        "provider": {"name": "x"},
        "rules": [{"from": [{"source": source}], "to": [{"operation": operation}],
            "when": [{"key": "source.ip", "values": ["a"], "notValues": ["b"]}]}],
    });
    assert_whole::<AuthorizationPolicySpec>("security.istio.io/v1", "AuthorizationPolicy", &[spec]);
    let spec = json!({
        "selector": {"matchLabels": {"app": "web"}}, "mtls": {"mode": "STRICT"},
        "portLevelMtls": {"80": {"mode": "DISABLE"}},
    });
    assert_whole::<PeerAuthenticationSpec>("security.istio.io/v1beta1", "PeerAuthentication", &[spec]);
    let peer = json!({
        "apiVersion": "security.istio.io/v1beta1", "kind": "PeerAuthentication", "metadata": {"name": "web"},
        "spec": {"selector": {}, "mtls": {"mode": "STRICT"}, "portLevelMtls": {"80": {"mode": "DISABLE"}}},
        "status": {"conditions": []},
    });
    let Decoded::Object(object, notes) = decode(&peer) else { panic!("refused") };
    assert_eq!((object.key().to_string().as_str(), notes.len()), ("PeerAuthentication default/web", 0));
}

#[test]
fn a_policy_without_readable_metadata_denies_where_it_belongs() {
    for (case, metadata, want) in [
        ("a number", json!({"name": "a", "namespace": 7}), Some("AuthorizationPolicy 7/a")),
        ("no name", json!({"namespace": "shop"}), Some("AuthorizationPolicy shop/(unnamed)")),
        ("neither", json!({}), Some("AuthorizationPolicy default/(unnamed)")),
        ("a list", json!({"name": "a", "namespace": []}), None),
        ("no namespace has such a name", json!({"name": "a", "namespace": "Shop"}), None),
        ("another word for it", json!({"name": "a", "namespce": "shop"}), None),
        ("an unknown field besides", json!({"name": "a", "namespace": "shop", "x": 1}), {
            Some("AuthorizationPolicy shop/a")
        }),
        ("no metadata at all", json!(null), None),
        ("metadata that are none", json!([]), None),
    ] {
        let policy = json!({
            "apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": metadata,
        });
        let key = match decode(&policy) {
            Decoded::Refused(refusal) => Some(refusal.key.to_string()),
            Decoded::Unplaced(notes) => {
                assert!(!notes.is_empty(), "{case}");
                None
            }
            other => panic!("{case}: {other:?}"),
        };
        assert_eq!(key.as_deref(), want, "{case}");
    }
}

#[test]
fn what_looks_like_a_policy_is_not_passed_over() {
    let missing = refusal(&json!({"kind": "PeerAuthentication", "metadata": {"name": "a"}}));
    assert_eq!(missing.notes, [Note::error("apiVersion", "is missing")]);
    let other = json!({"apiVersion": "policy.linkerd.io/v1alpha1", "kind": "AuthorizationPolicy"});
    let Decoded::Skipped(note) = decode(&other) else { panic!("it is another's") };
    assert_eq!((note.severity, note.field.as_str()), (Severity::Warning, "apiVersion"));
}

#[test]
fn quantities_may_be_numbers_as_in_kubernetes() {
    let resources = json!({"limits": {"cpu": 1, "memory": 134_217_728}, "requests": {"cpu": 0.5}});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"},
        "spec": {"containers": [{"name": "app", "resources": resources}]}});
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"},
        "status": {"capacity": {"cpu": 2, "pods": "110"}}});
    for value in [pod, node] {
        match decode(&value) {
            Decoded::Object(_, notes) => assert_eq!(notes, [], "{value}"),
            other => panic!("{other:?}"),
        }
    }
    let text = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"},
        "spec": {"containers": [{"name": "app", "resources": {"limits": {"cpu": true}}}]}});
    assert_eq!(refusal(&text).notes[0].field, "spec.containers[0].resources.limits.cpu");
}

#[test]
fn a_status_may_be_newer_than_this_build() {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "status": {"novelty": 1}});
    let Decoded::Object(_, notes) = decode(&pod) else { panic!("refused") };
    assert_eq!(notes, [Note::warning("status.novelty", "unknown field, not read")]);
}
