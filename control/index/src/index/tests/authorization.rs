//! AuthorizationPolicy: scope, rules, and what cannot be judged at L4.

use super::world::{World, authorization, pod, with};
use serde_json::{Value, json};
use weft_control_api::kind::Kind;
use weft_core::identity::Identity;
use weft_core::policy::{
    Action, Applicable, Connection, Denial, Enforcement, PolicyScope, Ruleset, Verdict, decide,
};

/// What a policy makes of a connection from `shop/web` (or a stranger) at 10.0.0.1 to port 80.
fn judge(world: &World, policy: &str, stranger: bool) -> Verdict {
    let policy = world.policy(policy).expect("the policy is told").clone();
    let source = Identity::new("cluster.local", "shop", "web").unwrap();
    let connection = Connection {
        source_ip: "10.0.0.1".parse().unwrap(),
        source: (!stranger).then_some(source),
        destination_ip: "10.0.0.2".parse().unwrap(),
        destination_port: 80,
    };
    decide(&[Applicable::Known(policy)], &connection).verdict
}

fn allows(spec: Value) -> [bool; 2] {
    let world = World::of([authorization("p", spec)]);
    [false, true].map(|stranger| matches!(judge(&world, "shop/p", stranger), Verdict::Allowed(_)))
}

fn from(source: Value) -> Value {
    json!({"rules": [{"from": [{"source": source}]}]})
}

fn to(operation: Value) -> Value {
    json!({"rules": [{"to": [{"operation": operation}]}]})
}

fn when(key: &str, values: Value) -> Value {
    json!({"rules": [{"when": [with(json!({ "key": key }), values)]}]})
}

#[test]
fn every_l4_field_means_what_istio_says() {
    for (case, spec, web, stranger) in [
        ("nothing allowed", json!({}), false, false),
        ("no rules", json!({"rules": []}), false, false),
        ("a rule that matches all", json!({"rules": [{}]}), true, true),
        ("principal", from(json!({"principals": ["cluster.local/ns/shop/sa/web"]})), true, false),
        ("other principal", from(json!({"principals": ["cluster.local/ns/shop/sa/db"]})), false, false),
        ("any principal", from(json!({"principals": ["*"]})), true, false),
        ("principal by prefix", from(json!({"principals": ["cluster.local/ns/shop/*"]})), true, false),
        ("principal by suffix", from(json!({"principals": ["*/sa/web"]})), true, false),
        ("not a principal", from(json!({"notPrincipals": ["*"]})), false, true),
        ("namespace", from(json!({"namespaces": ["bank", "shop"]})), true, false),
        ("not a namespace", from(json!({"notNamespaces": ["shop"]})), false, true),
        ("account", from(json!({"serviceAccounts": ["web"]})), true, false),
        ("account elsewhere", from(json!({"serviceAccounts": ["bank/web"]})), false, false),
        ("not an account", from(json!({"notServiceAccounts": ["shop/web"]})), false, true),
        ("address", from(json!({"ipBlocks": ["10.0.0.0/24"]})), true, true),
        ("not an address", from(json!({"notIpBlocks": ["10.0.0.1"]})), false, false),
        (
            "both have to hold",
            from(json!({"namespaces": ["shop"], "ipBlocks": ["192.0.2.0/24"]})),
            false,
            false,
        ),
        ("port", to(json!({"ports": ["80"]})), true, true),
        ("other port", to(json!({"ports": ["81"]})), false, false),
        ("not a port", to(json!({"notPorts": ["80"]})), false, false),
        ("when namespace", when("source.namespace", json!({"values": ["shop"]})), true, false),
        ("when principal", when("source.principal", json!({"notValues": ["*"]})), false, true),
        ("when account", when("source.serviceAccount", json!({"values": ["web"]})), true, false),
        ("when address", when("source.ip", json!({"values": ["10.0.0.1"]})), true, true),
        ("when destination", when("destination.ip", json!({"notValues": ["10.0.0.2"]})), false, false),
        ("when port", when("destination.port", json!({"values": ["80"], "notValues": ["81"]})), true, true),
        (
            "one of two sources",
            json!({"rules": [{"from": [{"source": {"namespaces": ["bank"]}}, {"source": {"namespaces": ["shop"]}}]}]}),
            true,
            false,
        ),
        (
            "all conditions",
            json!({"rules": [{"when": [
                {"key": "source.namespace", "values": ["shop"]}, {"key": "destination.port", "values": ["81"]},
            ]}]}),
            false,
            false,
        ),
    ] {
        assert_eq!(allows(spec), [web, stranger], "{case}");
    }
}

#[test]
fn what_needs_a_waypoint_denies_more_not_less() {
    let get = json!({"methods": ["GET"], "ports": ["80"]});
    let rule = |rule: Value| json!({ "rules": [rule] });
    let mixed = rule(
        json!({"from": [{"source": {"requestPrincipals": ["*"]}}, {"source": {"namespaces": ["shop"]}}]}),
    );
    for (case, spec, web, stranger) in [
        ("operation", to(get.clone()), false, false),
        ("one alternative can be judged", mixed, true, false),
        ("source", from(json!({"remoteIpBlocks": ["10.0.0.0/8"]})), false, false),
        ("condition", when("request.headers[x]", json!({"values": ["y"]})), false, false),
    ] {
        assert_eq!(allows(spec.clone()), [web, stranger], "ALLOW, {case}");
    }
    for (case, spec, web, stranger) in [
        ("operation", to(get), false, false),
        ("its port is another", to(json!({"methods": ["GET"], "ports": ["81"]})), true, true),
        ("source", from(json!({"requestPrincipals": ["*"], "namespaces": ["shop"]})), false, true),
        ("condition", when("request.headers[x]", json!({"values": ["y"]})), false, false),
    ] {
        let deny = with(spec, json!({"action": "DENY"}));
        assert_eq!(allows(deny), [web, stranger], "DENY, {case}");
    }
    let world = World::of([authorization("p", to(json!({"methods": ["GET"]})))]);
    assert_eq!(
        world.problems(),
        ["warning test: AuthorizationPolicy shop/p: spec.rules[0].to[0].operation.methods: \
         needs a waypoint: this alternative allows nothing"]
    );
}

#[test]
fn what_cannot_be_understood_denies_and_names_the_field() {
    let action = |action: &str| json!({"action": action, "rules": [{}]});
    for (case, spec, field) in [
        ("unknown field", json!({"rule": []}), "spec.rule"),
        ("star inside", from(json!({"namespaces": ["sh*p"]})), "spec.rules[0].from[0].source.namespaces[0]"),
        (
            "bad address",
            from(json!({"ipBlocks": ["10.0.0.0/8", "x"]})),
            "spec.rules[0].from[0].source.ipBlocks[1]",
        ),
        ("bad port", to(json!({"ports": ["http"]})), "spec.rules[0].to[0].operation.ports[0]"),
        ("number for a port", to(json!({"ports": [80]})), "spec.rules[0].to[0].operation.ports[0]"),
        ("empty list", from(json!({"principals": []})), "spec.rules[0].from[0].source.principals"),
        ("no sources", json!({"rules": [{"from": []}]}), "spec.rules[0].from"),
        ("empty source", json!({"rules": [{"from": [{}]}]}), "spec.rules[0].from[0].source"),
        ("a source without a word", from(json!({"notNamespaces": []})), "spec.rules[0].from[0].source"),
        ("an operation without a word", to(json!({"notPorts": []})), "spec.rules[0].to[0].operation"),
        ("a condition without a word", when("source.ip", json!({"notValues": []})), "spec.rules[0].when[0]"),
        ("empty operation", to(json!({})), "spec.rules[0].to[0].operation"),
        ("unknown attribute", when("source.name", json!({"values": ["x"]})), "spec.rules[0].when[0].key"),
        ("no values", when("source.ip", json!({})), "spec.rules[0].when[0]"),
        (
            "accounts beside namespaces",
            from(json!({"serviceAccounts": ["a"], "namespaces": ["b"]})),
            "spec.rules[0].from[0].source.serviceAccounts",
        ),
        ("custom", with(action("CUSTOM"), json!({"provider": {"name": "x"}})), "spec.action"),
        ("provider", with(action("DENY"), json!({"provider": {"name": "x"}})), "spec.provider"),
        ("unknown action", action("PERMIT"), "spec.action"),
    ] {
        let world = World::of([authorization("p", spec)]);
        let Verdict::Denied(Denial::Unusable(_, why)) = judge(&world, "shop/p", false) else {
            panic!("{case} is understood");
        };
        assert!(why.starts_with(&format!("{field}: ")), "{case}: {why}");
        assert_eq!(world.0.problems().next().unwrap().field, field, "{case}");
    }
}

#[test]
fn scope_follows_namespace_and_selector() {
    let app = json!({"selector": {"matchLabels": {"app": "web"}}, "rules": [{}]});
    let root = json!({"metadata": {"namespace": "istio-system"}});
    let broken = |spec: &Value| with(spec.clone(), json!({"x": 1}));
    for (case, object, key, scope, selected) in [
        ("namespace", authorization("p", json!({})), "shop/p", PolicyScope::Namespace, false),
        (
            "empty selector",
            authorization("p", json!({"selector": {}})),
            "shop/p",
            PolicyScope::Namespace,
            false,
        ),
        ("selector", authorization("p", app.clone()), "shop/p", PolicyScope::Selector, true),
        (
            "root",
            with(authorization("p", json!({})), root.clone()),
            "istio-system/p",
            PolicyScope::Global,
            false,
        ),
        (
            "root with a selector",
            with(authorization("p", app.clone()), root.clone()),
            "istio-system/p",
            PolicyScope::Selector,
            true,
        ),
        ("broken", authorization("p", broken(&app)), "shop/p", PolicyScope::Selector, true),
        (
            "broken in the root",
            with(authorization("p", json!({"x": 1})), root),
            { "istio-system/p" },
            PolicyScope::Global,
            false,
        ),
        (
            "broken selector",
            authorization("p", json!({"selector": {"labels": {"app": "web"}}})),
            "shop/p",
            PolicyScope::Namespace,
            false,
        ),
    ] {
        let mut world = World::of([pod("web", "10.0.0.1"), pod("db", "10.0.0.2"), object]);
        assert_eq!(world.policy(key).unwrap().scope, scope, "{case}");
        let want = if selected { vec![key.to_owned()] } else { vec![] };
        assert_eq!(world.policies_of("web"), want, "{case}");
        assert!(world.policies_of("db").is_empty(), "{case}");
        let (namespace, name) = key.split_once('/').unwrap();
        world.delete(Kind::AuthorizationPolicy, namespace, name);
        assert!(world.policy(key).is_none() && world.policies_of("web").is_empty(), "{case}, gone");
        assert!(world.problems().is_empty(), "{case}, gone");
    }
}

#[test]
fn a_valid_policy_that_is_broken_denies_at_once_and_allows_when_mended() {
    let good = json!({"rules": [{}]});
    let mut world = World::of([authorization("p", good.clone())]);
    assert!(matches!(judge(&world, "shop/p", false), Verdict::Allowed(_)));
    let diff = world.put(authorization("p", json!({"rules": [{"form": []}]})));
    assert!(
        matches!(&diff.policies.upserted[0].ruleset, Ruleset::Unusable(why) if why.contains("spec.rules[0].form"))
    );
    assert_eq!(diff.problems[0].1.len(), 1);
    let diff = world.put(authorization("p", good));
    assert!(matches!(&diff.policies.upserted[0].ruleset, Ruleset::Rules(_)));
    assert!(diff.problems[0].1.is_empty(), "told as mended");
}

#[test]
fn policies_that_decide_nothing_here_are_not_told() {
    let service = json!([{"kind": "Service", "name": "web"}]);
    for (case, spec, notes) in [
        ("target", json!({"targetRefs": service, "rules": [{}]}), 1),
        ("broken with a target", json!({"targetRefs": service, "x": 1}), 2),
        ("audit", json!({"action": "AUDIT", "rules": [{}]}), 1),
    ] {
        let world = World::of([authorization("p", spec)]);
        assert!(world.policy("shop/p").is_none(), "{case}");
        assert_eq!(world.problems().len(), notes, "{case}");
    }
}

#[test]
fn dry_run_is_an_annotation() {
    let annotated = |text: &str| json!({"metadata": {"annotations": {"istio.io/dry-run": text}}});
    for (case, over, want) in [
        ("none", json!({}), Enforcement::Enforced),
        ("true", annotated("true"), Enforcement::DryRun),
        ("false", annotated("false"), Enforcement::Enforced),
        ("nonsense", annotated("yes"), Enforcement::Enforced),
        ("broken, on trial", with(annotated("true"), json!({"spec": {"x": 1}})), Enforcement::DryRun),
    ] {
        let world = World::of([with(authorization("p", json!({"action": "DENY"})), over)]);
        assert_eq!(world.policy("shop/p").unwrap().enforcement, want, "{case}");
    }
    let world = World::of([authorization("p", json!({"action": "DENY"}))]);
    assert_eq!(world.policy("shop/p").unwrap().action, Action::Deny);
}
