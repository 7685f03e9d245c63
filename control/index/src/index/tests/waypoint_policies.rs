//! Policies for requests: who is told of them, what they say there, and what may not come past.

use super::world::{World, authorization, labelled, namespace, pod, service, service_name, waypoint, with};
use serde_json::{Value, json};
use weft_control_api::kind::Kind;
use weft_core::names::ServiceName;
use weft_core::policy::{Action, Enforcement};
use weft_l7::policy::{Operation, PolicyScope, Ruleset};

const GROUP: &str = "gateway.networking.k8s.io";

fn to_service() -> Value {
    json!({"targetRefs": [{"kind": "Service", "group": "", "name": "web"}], "rules": [{}]})
}

fn to_gateway() -> Value {
    json!({"targetRefs": [{"kind": "Gateway", "group": GROUP, "name": "wp"}], "rules": [{}]})
}

fn of_class(namespace: &str) -> Value {
    let spec = json!({"targetRefs": [{"kind": "GatewayClass", "group": GROUP, "name": "weft-waypoint"}], "rules": [{}]});
    with(authorization("p", spec), json!({"metadata": {"namespace": namespace}}))
}

fn bound(over: Value) -> Value {
    with(labelled(service("web", "10.1.0.1"), json!({"weft.dev/waypoint": "wp"})), over)
}

/// Services `web` (with a waypoint) and `db` (without), their pods, and this policy.
fn world(policy: Value) -> World {
    World::of([
        waypoint("wp"),
        bound(json!({})),
        service("db", "10.1.0.2"),
        pod("web", "10.0.0.1"),
        pod("db", "10.0.0.2"),
        policy,
    ])
}

fn web() -> PolicyScope {
    PolicyScope::Services(vec![service_name("web")])
}

#[test]
fn each_waypoint_is_told_of_the_policies_that_name_it_or_its_services() {
    let both = json!({"targetRefs": [
        {"kind": "Service", "name": "web"}, {"kind": "Gateway", "group": GROUP, "name": "wp"},
    ], "rules": [{}]});
    for (case, policy, scope) in [
        ("a service", authorization("p", to_service()), Some(web())),
        ("the gateway", authorization("p", to_gateway()), Some(PolicyScope::Waypoint)),
        ("both", authorization("p", both), Some(PolicyScope::Waypoint)),
        ("its class", of_class("weft-system"), Some(PolicyScope::Waypoint)),
        ("no target", authorization("p", json!({"rules": [{}]})), None),
        (
            "the older spelling",
            authorization("p", json!({"targetRef": {"kind": "Service", "name": "web"}, "rules": [{}]})),
            Some(web()),
        ),
        (
            "another service",
            authorization("p", json!({"targetRefs": [{"kind": "Service", "name": "db"}], "rules": [{}]})),
            None,
        ),
    ] {
        let world = world(policy);
        let told: Vec<_> = world.requests_at("wp").into_iter().map(|policy| policy.scope).collect();
        assert_eq!(told, scope.iter().cloned().collect::<Vec<_>>(), "{case}");
        assert_eq!(world.service("web").guarded, scope.is_some(), "{case}: nobody comes past it");
        assert!(!world.service("db").guarded, "{case}");
        assert!(world.policies_of("web").is_empty(), "{case}");
        let at_pods = world.0.policies().filter(|policy| &*policy.name.name == "p").count();
        assert_eq!(at_pods, usize::from(case == "no target"), "{case}: node proxies leave it alone");
    }
}

#[test]
fn what_comes_and_goes_is_told() {
    let mut world = world(authorization("p", to_service()));
    world.put(labelled(service("web", "10.1.0.1"), json!({})));
    assert!(world.requests_at("wp").is_empty() && !world.service("web").guarded, "no longer bound");
    world.put(bound(json!({})));
    assert!(world.requests_at("wp").len() == 1 && world.service("web").guarded);
    let dry = json!({"metadata": {"annotations": {"istio.io/dry-run": "true"}}});
    world.put(with(authorization("p", to_service()), dry));
    assert_eq!(world.requests_at("wp")[0].enforcement, Enforcement::DryRun);
    assert!(!world.service("web").guarded, "a trial refuses nothing");
    world.put(authorization("p", to_gateway()));
    assert!(world.service("web").guarded);
    let diff = world.delete(Kind::AuthorizationPolicy, "shop", "p");
    assert_eq!((diff.requests.removed.len(), diff.services.upserted.len()), (1, 1));
    assert!(world.requests_at("wp").is_empty() && !world.service("web").guarded);
}

#[test]
fn policy_is_never_skipped_because_its_waypoint_is_not_there() {
    for (case, policy) in [("service", to_service()), ("gateway", to_gateway())] {
        let mut world = world(authorization("p", policy));
        world.delete(Kind::Gateway, "shop", "wp");
        let web = world.service("web");
        assert_eq!((web.waypoint.is_some(), web.guarded), (false, true), "{case}");
        assert!(world.problems().iter().any(|one| one.contains("AuthorizationPolicy shop/p")), "{case}");
        world.put(bound(json!({"metadata": {"labels": {"weft.dev/waypoint": "none"}}})));
        assert!(!world.service("web").guarded, "{case}: nobody asks for one");
    }
    let world = world(authorization("p", json!({"targetRefs": [{"kind": "Service", "name": "nobody"}]})));
    let told = "warning test: AuthorizationPolicy shop/p: spec.targetRefs[0]: there is no Service shop/nobody: \
                the policy has no effect on it";
    assert_eq!(world.problems(), [told]);
}

fn entry(name: &str, hosts: &[&str], over: Value) -> Value {
    let spec = json!({
        "hosts": hosts, "resolution": "STATIC", "endpoints": [{"address": "192.0.2.1"}],
        "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
    });
    let object = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry",
        "metadata": {"name": name, "namespace": "shop", "labels": {"weft.dev/waypoint": "wp"}}, "spec": spec,
    });
    with(object, over)
}

/// A policy that names a ServiceEntry is for the hosts that this has, and for nothing else of its namespace.
#[test]
fn a_policy_for_a_service_entry() {
    let policy = || {
        let target = json!({"kind": "ServiceEntry", "group": "networking.istio.io", "name": "out"});
        authorization("p", json!({"targetRefs": [target], "action": "DENY", "rules": [{}]}))
    };
    let hosts = |world: &World| -> Vec<String> {
        let scopes = world.requests_at("wp").into_iter().flat_map(|policy| match policy.scope {
            PolicyScope::Services(services) => services,
            PolicyScope::Waypoint => panic!("it is for some hosts"),
        });
        scopes.map(|service| service.hostname.to_string()).collect()
    };
    let guarded = |world: &World, host: &str| {
        world.0.service(&ServiceName::new("shop", host)).is_some_and(|service| service.guarded)
    };
    let mut world = world(policy());
    let told =
        |why: &str| vec![format!("warning test: AuthorizationPolicy shop/p: spec.targetRefs[0]: {why}")];
    assert_eq!(world.problems(), told("there is no ServiceEntry shop/out: the policy has no effect on it"));
    assert!(world.policies_of("db").is_empty() && !world.service("web").guarded, "the others are left alone");

    world.put(entry("out", &["a.example.org", "b.example.org"], json!({})));
    assert_eq!(
        (hosts(&world).as_slice(), world.problems().len()),
        (&["a.example.org", "b.example.org"].map(String::from)[..], 0)
    );
    assert!(guarded(&world, "a.example.org") && guarded(&world, "b.example.org"));
    assert!(!world.service("web").guarded, "another service of its namespace");
    let at_pods = world.0.policies().any(|policy| &*policy.name.name == "p");
    assert!(!at_pods, "node proxies leave it alone");

    world.put(entry("out", &["b.example.org"], json!({})));
    assert_eq!(hosts(&world), ["b.example.org"]);
    world.put(entry("out", &["b.example.org"], json!({"metadata": {"labels": {"weft.dev/waypoint": null}}})));
    assert!(hosts(&world).is_empty());
    let none = told("no waypoint stands before Service shop/b.example.org: the policy has no effect on it");
    assert_eq!(world.problems(), none);

    // A host is the older entry's.
    let older = json!({"metadata": {"creationTimestamp": "2020-01-01T00:00:00Z"}});
    let younger = json!({"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}});
    world.put(entry("out", &["b.example.org"], younger));
    assert!(guarded(&world, "b.example.org"));
    world.put(entry("other", &["b.example.org"], older));
    assert!(hosts(&world).is_empty() && !guarded(&world, "b.example.org"));
    let has = "b.example.org is the host of ServiceEntry shop/other, which is older: the policy has no effect on it";
    assert!(world.problems().contains(&told(has)[0]), "{:?}", world.problems());
    world.delete(Kind::ServiceEntry, "shop", "other");
    assert_eq!(
        (hosts(&world).as_slice(), guarded(&world, "b.example.org")),
        (&["b.example.org".to_owned()][..], true)
    );
    world.delete(Kind::ServiceEntry, "shop", "out");
    assert!(hosts(&world).is_empty());
    world.delete(Kind::AuthorizationPolicy, "shop", "p");
    assert_eq!(world.problems(), [""; 0]);
}

#[test]
fn what_may_come_past() {
    let bypass = |value: &str| json!({"metadata": {"annotations": {"weft.dev/waypoint-bypass": value}}});
    let policy = || authorization("p", to_gateway());
    for (case, over, guarded) in [
        ("nothing", json!({}), true),
        ("who is let", bypass("allow"), false),
        ("misspelt", bypass("yes"), true),
        ("headless", json!({"spec": {"clusterIP": "None"}}), false),
    ] {
        let mut world = world(policy());
        world.put(bound(over));
        assert_eq!(world.service("web").guarded, guarded, "{case}");
    }
    let mut world = world(policy());
    world.put(namespace(json!({"weft.dev/waypoint-bypass": "allow"})));
    assert!(!world.service("web").guarded, "the namespace lets it");
    world.put(bound(bypass("refuse")));
    assert!(world.service("web").guarded, "its own word comes first");
}

#[test]
fn rules_become_words_for_waypoints() {
    let spec = with(
        to_service(),
        json!({"action": "DENY", "rules": [{
            "from": [{"source": {"principals": ["cluster.local/ns/shop/sa/web"], "remoteIpBlocks": ["10.0.0.0/8"]}}],
            "to": [{"operation": {"methods": ["GET"], "paths": ["/admin*"], "hosts": ["a.example"], "ports": ["80"]}}],
        }, {}]}),
    );
    let world = world(authorization("p", spec));
    let [policy] = &world.requests_at("wp")[..] else { panic!("one policy") };
    assert_eq!((policy.action, policy.enforcement), (Action::Deny, Enforcement::Enforced));
    let Ruleset::Rules(rules) = &policy.ruleset else { panic!("{policy:?}") };
    let json = serde_json::to_value(rules).unwrap();
    assert_eq!(
        json,
        json!([{
            "from": [{"principals": ["cluster.local/ns/shop/sa/web"], "remoteIpBlocks": ["10.0.0.0/8"]}],
            "to": [{"methods": ["GET"], "paths": ["/admin*"], "hosts": ["a.example"], "ports": [80]}],
        }, {}])
    );
    assert_eq!(rules[0].to.as_ref().map(Vec::len), Some(1));
    assert_ne!(rules[0].to.as_ref().unwrap()[0], Operation::default());
}

#[test]
fn what_a_waypoint_cannot_judge_denies_and_names_the_field() {
    let rule = |rule: Value| with(to_service(), json!({"rules": [rule]}));
    for (case, spec, field) in [
        (
            "when",
            rule(json!({"when": [{"key": "source.ip", "values": ["10.0.0.1"]}]})),
            "spec.rules[0].when[0]",
        ),
        (
            "tokens",
            rule(json!({"from": [{"source": {"requestPrincipals": ["*"]}}]})),
            "spec.rules[0].from[0].source.requestPrincipals",
        ),
        (
            "a path that never matches",
            rule(json!({"to": [{"operation": {"paths": ["/a/../b"]}}]})),
            "spec.rules[0].to[0].operation.paths[0]",
        ),
        ("no sources", rule(json!({"from": []})), "spec.rules[0].from"),
        ("custom", with(to_service(), json!({"action": "CUSTOM", "provider": {"name": "x"}})), "spec.action"),
        ("unknown field", with(to_service(), json!({"x": 1})), "spec.x"),
    ] {
        let world = world(authorization("p", spec));
        let [policy] = &world.requests_at("wp")[..] else { panic!("{case}: one policy") };
        let Ruleset::Unusable(why) = &policy.ruleset else { panic!("{case}: {policy:?}") };
        assert!(why.starts_with(&format!("{field}: ")), "{case}: {why}");
        assert!(world.service("web").guarded && policy.scope == web(), "{case}");
        assert_eq!(world.0.problems().next().unwrap().field, field, "{case}");
    }
    let audit = world(authorization("p", with(to_service(), json!({"action": "AUDIT"}))));
    assert!(audit.requests_at("wp").is_empty() && !audit.service("web").guarded, "it decides nothing");
}

#[test]
fn a_target_that_is_none_denies_the_namespace() {
    let target = |target: Value| json!({"targetRefs": [target], "rules": [{}]});
    for (case, spec, field) in [
        ("kind", target(json!({"kind": "Deployment", "name": "web"})), "spec.targetRefs[0].kind"),
        (
            "namespace",
            target(json!({"kind": "Service", "name": "web", "namespace": "bank"})),
            "spec.targetRefs[0].namespace",
        ),
        (
            "class outside the root",
            target(json!({"kind": "GatewayClass", "group": GROUP, "name": "weft-waypoint"})),
            "spec.targetRefs[0].kind",
        ),
    ] {
        let world = world(authorization("p", spec));
        let policy = world.policy("shop/p").unwrap_or_else(|| panic!("{case}: it denies"));
        assert!(matches!(policy.ruleset, weft_core::policy::Ruleset::Unusable(_)), "{case}");
        assert!(world.problems()[0].contains(field), "{case}: {:?}", world.problems());
    }
    let selector = json!({"selector": {"matchLabels": {"app": "web"}}});
    let world = world(authorization("p", with(to_service(), selector)));
    assert_eq!(world.policies_of("web"), ["shop/p"], "both are meant, perhaps");
    assert_eq!(world.requests_at("wp").len(), 1);
}

#[test]
fn one_policy_of_several_services_names_those_of_each_waypoint() {
    let spec = json!({"targetRefs": [{"kind": "Service", "name": "web"}, {"kind": "Service", "name": "db"}]});
    let mut world = world(authorization("p", spec));
    world.put(waypoint("other"));
    world.put(labelled(service("db", "10.1.0.2"), json!({"istio.io/use-waypoint": "other"})));
    let services = |world: &World, gateway: &str| -> Vec<ServiceName> {
        match &world.requests_at(gateway)[..] {
            [policy] => match &policy.scope {
                PolicyScope::Services(services) => services.clone(),
                PolicyScope::Waypoint => panic!("all of it"),
            },
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(services(&world, "wp"), [service_name("web")]);
    assert_eq!(services(&world, "other"), [service_name("db")]);
}
