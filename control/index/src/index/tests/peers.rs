//! PeerAuthentication: what is inherited, and the policies that come of it.

use super::world::{World, peer, pod, with};
use serde_json::{Value, json};
use weft_control_api::kind::Kind;
use weft_core::policy::{Applicable, Connection, PolicyScope, Ruleset, Verdict, decide};
use weft_core::snapshot::Snapshot;

const STRICT: &str = "weft-system/istio_converted_static_strict";
const OWN: &str = "shop/converted_peer_authentication_own";

/// Whether plain text gets to pod `web` on ports 80 and 81. Its agent is told the same as its proxy.
fn accepts_plain(world: &World) -> [bool; 2] {
    let mut snapshot = Snapshot::default();
    world.0.policies().for_each(|policy| snapshot.insert_policy(policy.clone()));
    let policies = snapshot.policies_of(world.pod("web").expect("the test made the pod"));
    assert!(policies.iter().all(|one| matches!(one, Applicable::Known(_))), "all that are named are told");
    let agent = world.0.agent_pods().find(|one| &*one.name == "web").expect("the test made the pod");
    [80, 81].map(|destination_port| {
        let connection = Connection {
            source_ip: "192.0.2.1".parse().unwrap(),
            source: None,
            destination_ip: "10.0.0.1".parse().unwrap(),
            destination_port,
        };
        let accepted = matches!(decide(&policies, &connection).verdict, Verdict::Allowed(_));
        assert_eq!(agent.plain_text.refuses(destination_port), !accepted, "port {destination_port}");
        accepted
    })
}

fn mode(mode: &str) -> Value {
    json!({"mtls": {"mode": mode}})
}

fn own(over: Value) -> Value {
    peer("shop", "own", with(json!({"selector": {"matchLabels": {"app": "web"}}}), over))
}

fn ports(all: &str, of_80: &str) -> Value {
    own(with(mode(all), json!({"portLevelMtls": {"80": {"mode": of_80}}})))
}

#[test]
fn the_narrower_wins_and_unset_inherits() {
    let mesh = |text: &str| peer("weft-system", "default", mode(text));
    let space = |text: &str| peer("shop", "default", mode(text));
    for (case, objects, accepted, named) in [
        ("nothing", vec![], [true, true], vec![]),
        ("mesh", vec![mesh("STRICT")], [false, false], vec![STRICT]),
        (
            "mesh of the other root",
            vec![peer("istio-system", "x", mode("STRICT"))],
            [false, false],
            vec![STRICT],
        ),
        ("namespace over mesh", vec![mesh("STRICT"), space("PERMISSIVE")], [true, true], vec![]),
        ("namespace unset", vec![mesh("STRICT"), space("UNSET")], [false, false], vec![STRICT]),
        ("namespace", vec![space("STRICT")], [false, false], vec![STRICT]),
        ("disable is permissive", vec![mesh("STRICT"), space("DISABLE")], [true, true], vec![]),
        ("workload over namespace", vec![space("STRICT"), own(mode("PERMISSIVE"))], [true, true], vec![]),
        ("workload", vec![own(mode("STRICT"))], [false, false], vec![STRICT]),
        ("workload unset", vec![space("STRICT"), own(json!({}))], [false, false], vec![STRICT]),
        ("strict but for a port", vec![ports("STRICT", "PERMISSIVE")], [true, false], vec![OWN]),
        ("strict, port disabled", vec![ports("STRICT", "DISABLE")], [true, false], vec![OWN]),
        ("a strict port", vec![ports("PERMISSIVE", "STRICT")], [false, true], vec![OWN]),
        ("a strict port, rest inherited", vec![ports("UNSET", "STRICT")], [false, true], vec![OWN]),
        (
            "inherited strict but for a port",
            vec![space("STRICT"), ports("UNSET", "PERMISSIVE")],
            [true, false],
            { vec![OWN] },
        ),
        ("a port that is as the rest", vec![ports("STRICT", "STRICT")], [false, false], vec![STRICT]),
        ("a port unset", vec![ports("STRICT", "UNSET")], [false, false], vec![STRICT]),
        (
            "another pod's",
            vec![peer(
                "shop",
                "db",
                json!({
                    "selector": {"matchLabels": {"app": "db"}}, "mtls": {"mode": "STRICT"},
                }),
            )],
            [true, true],
            vec![],
        ),
    ] {
        let mut world = World::of([pod("web", "10.0.0.1")]);
        // Both orders of arrival come to the same.
        for object in &objects {
            world.put(object.clone());
        }
        assert_eq!(accepts_plain(&world), accepted, "{case}");
        assert_eq!(world.policies_of("web"), named, "{case}");
        let mut later = World::of(objects);
        later.put(pod("web", "10.0.0.1"));
        assert_eq!(accepts_plain(&later), accepted, "{case}, pod last");
    }
}

#[test]
fn what_is_inherited_changes_with_its_source() {
    let mut world = World::of([pod("web", "10.0.0.1"), ports("UNSET", "STRICT")]);
    assert_eq!(accepts_plain(&world), [false, true]);
    world.put(peer("weft-system", "default", mode("STRICT")));
    assert_eq!(accepts_plain(&world), [false, false]);
    assert_eq!(world.policies_of("web"), [STRICT], "the port is no exception any more");
    assert!(world.policy(OWN).is_none());
    world.put(peer("shop", "default", mode("PERMISSIVE")));
    assert_eq!(accepts_plain(&world), [false, true]);
    world.delete(Kind::PeerAuthentication, "shop", "default");
    world.delete(Kind::PeerAuthentication, "weft-system", "default");
    world.delete(Kind::PeerAuthentication, "shop", "own");
    assert_eq!(accepts_plain(&world), [true, true]);
    assert_eq!(world.0.policies().len(), 1, "only the fixed one is left");
}

#[test]
fn the_oldest_of_one_scope_wins() {
    let born = |day: u8| json!({"metadata": {"creationTimestamp": format!("2026-01-0{day}T00:00:00Z")}});
    let of = |name: &str, text: &str, over: Value| with(peer("shop", name, mode(text)), over);
    for (case, objects, accepted) in [
        ("by age", [of("a", "STRICT", born(2)), of("b", "PERMISSIVE", born(1))], true),
        ("with a date before without", [of("a", "STRICT", json!({})), of("b", "PERMISSIVE", born(1))], true),
        ("by name", [of("a", "STRICT", json!({})), of("b", "PERMISSIVE", json!({}))], false),
    ] {
        let mut world = World::of(objects);
        world.put(pod("web", "10.0.0.1"));
        assert_eq!(accepts_plain(&world)[0], accepted, "{case}");
    }
}

#[test]
fn what_cannot_be_understood_denies_in_its_scope() {
    let good = own(mode("PERMISSIVE"));
    for (case, object, name, scope) in [
        ("mode", own(mode("STRIKT")), OWN, PolicyScope::Selector),
        ("port", own(json!({"portLevelMtls": {"http": {"mode": "STRICT"}}})), OWN, PolicyScope::Selector),
        ("field", own(json!({"mtlss": {}})), OWN, PolicyScope::Selector),
        ("selector", peer("shop", "own", json!({"selector": []})), OWN, PolicyScope::Namespace),
        (
            "ports without a selector",
            peer("shop", "own", json!({"portLevelMtls": {"80": {"mode": "STRICT"}}})),
            { OWN },
            PolicyScope::Namespace,
        ),
        (
            "in the root",
            peer("weft-system", "own", json!({"x": 1})),
            "weft-system/converted_peer_authentication_own",
            PolicyScope::Global,
        ),
    ] {
        let mut world = World::of([pod("web", "10.0.0.1"), good.clone()]);
        assert_eq!(accepts_plain(&world), [true, true]);
        world.put(object);
        assert_eq!(accepts_plain(&world), [false, false], "{case}");
        let policy = world.policy(name).unwrap();
        assert!(matches!(policy.ruleset, Ruleset::Unusable(_)), "{case}");
        assert_eq!(policy.scope, scope, "{case}");
        assert!(world.problems()[0].starts_with("error "), "{case}");
    }
}
