//! Who is in the mesh, and what discovery and the agents are told of a pod.

use super::world::{World, meshed, namespace, node, pod, service, with};
use crate::agent::AgentPodKey;
use serde_json::json;
use weft_control_api::kind::Kind;
use weft_core::enrolment::{Acceleration, Existing, Membership};
use weft_core::identity::Identity;
use weft_core::names::NodeName;
use weft_core::workload::{Health, NetworkMode, TunnelPlace, TunnelProtocol, WorkloadKind};

#[test]
fn labels_enrol_and_some_pods_never_are() {
    let labels = |labels| json!({"metadata": {"labels": labels}});
    let enabled = json!({"weft.dev/mesh": "enabled"});
    let none = json!({});
    for (case, of_namespace, of_pod, want) in [
        ("nothing", none.clone(), json!({}), false),
        ("namespace", enabled.clone(), json!({}), true),
        ("pod leaves", enabled.clone(), labels(json!({"weft.dev/mesh": "disabled"})), false),
        ("pod joins", none, labels(json!({"weft.dev/mesh": "enabled"})), true),
        (
            "pod leaves by the other label",
            enabled.clone(),
            labels(json!({"istio.io/dataplane-mode": "none"})),
            false,
        ),
        (
            "pod joins a namespace that is out",
            json!({"weft.dev/mesh": "disabled"}),
            { labels(json!({"istio.io/dataplane-mode": "ambient"})) },
            true,
        ),
        ("a slip on the namespace", json!({"weft.dev/mesh": "on"}), json!({}), true),
        (
            "a slip on the pod",
            json!({"weft.dev/mesh": "disabled"}),
            labels(json!({"weft.dev/mesh": "true", "istio.io/dataplane-mode": "none"})),
            true,
        ),
        (
            "another mode of Istio's on the pod: its namespace counts",
            enabled.clone(),
            labels(json!({"istio.io/dataplane-mode": "sidecar"})),
            true,
        ),
        ("ambient namespace", json!({"istio.io/dataplane-mode": "ambient"}), json!({}), true),
        ("host network", enabled.clone(), json!({"spec": {"hostNetwork": true}}), false),
        ("sidecar", enabled.clone(), json!({"spec": {"containers": [{"name": "istio-proxy"}]}}), false),
        ("native sidecar", enabled, json!({"spec": {"initContainers": [{"name": "istio-proxy"}]}}), false),
    ] {
        let world = World::of([namespace(of_namespace), with(pod("web", "10.0.0.1"), of_pod)]);
        assert_eq!(world.pod("web").unwrap().is_enrolled(), want, "{case}");
        let agent = world.0.agent_pods_on(&NodeName::new("n1")).next().unwrap();
        assert_eq!(agent.membership == Membership::Enrolled, want, "{case}, for the agent");
        let identity = Identity::new("cluster.local", "shop", "web").unwrap();
        assert_eq!(world.0.has_enrolled_pod(&NodeName::new("n1"), &identity), want, "{case}, for the CA");
    }
}

#[test]
fn a_pod_is_told_with_all_that_is_known_of_it() {
    let owner = json!({"metadata": {
        "labels": {"pod-template-hash": "5d4f", "app.kubernetes.io/name": "shop-web", "version": "v2"},
        "ownerReferences": [{
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-5d4f", "uid": "u", "controller": true,
        }],
    }});
    let world = World::of([meshed(), node("n1"), with(pod("web", "10.0.0.1"), owner)]);
    let web = world.pod("web").unwrap();
    assert_eq!(web.uid.as_str(), "Kubernetes//Pod/shop/web");
    assert_eq!((web.kind, &*web.workload_name), (WorkloadKind::Deployment, "web"));
    assert_eq!((&*web.canonical_name, &*web.canonical_revision), ("shop-web", "v2"));
    assert_eq!((&*web.locality.region, &*web.locality.zone, &*web.locality.subzone), ("r", "z", "s"));
    assert_eq!(web.identity.to_string(), "spiffe://cluster.local/ns/shop/sa/web");
    assert_eq!(web.network_mode, NetworkMode::Standard);
    let tunnel = web.node_tunnel.as_ref().unwrap();
    let addresses: Vec<_> = tunnel.addresses().iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["172.16.0.1:15008", "[fd00::1]:15008"]);
    assert_eq!(tunnel.versions, [1]);
}

#[test]
fn tunnels_end_at_the_node_unless_a_network_policy_selects_the_pod() {
    let network_policy = |selector| {
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": "np", "namespace": "shop"}, "spec": {"podSelector": selector},
        })
    };
    let by_name = || json!({"matchLabels": {"app": "web"}});
    let expression = json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["web", "db"]}]});
    let old_node = || with(node("n1"), json!({"metadata": {"annotations": null}}));
    let at_node = Some((NODE, &[1][..]));
    let at_pod = Some((POD, &[1][..]));
    for (case, extra, want) in [
        ("nothing against it", vec![meshed(), node("n1")], at_node),
        ("not enrolled", vec![node("n1")], None),
        ("no such node", vec![meshed()], None),
        ("node without the annotation", vec![meshed(), old_node()], None),
        ("selected", vec![meshed(), node("n1"), network_policy(json!({}))], at_pod),
        ("selected by name", vec![meshed(), node("n1"), network_policy(by_name())], at_pod),
        ("selected by expression", vec![meshed(), node("n1"), network_policy(expression)], at_pod),
        ("selected, not enrolled", vec![node("n1"), network_policy(by_name())], None),
        (
            "selected, on a node without the annotation",
            vec![meshed(), old_node(), network_policy(by_name())],
            Some((POD, &[][..])),
        ),
        ("selected, no such node", vec![meshed(), network_policy(by_name())], Some((POD, &[][..]))),
        (
            "whom it selects cannot be read",
            vec![meshed(), node("n1"), network_policy(json!({"matchLabels": {"app": 1}}))],
            at_pod,
        ),
        (
            "an operator that is none",
            vec![
                meshed(),
                node("n1"),
                network_policy(json!({"matchExpressions": [{"key": "a", "operator": "in"}]})),
            ],
            at_pod,
        ),
        (
            "another is selected, and a field is not known",
            vec![
                meshed(),
                node("n1"),
                with(network_policy(json!({"matchLabels": {"app": "db"}})), json!({"spec": {"x": 1}})),
            ],
            at_pod,
        ),
        (
            "another is selected",
            vec![meshed(), node("n1"), network_policy(json!({"matchLabels": {"app": "db"}}))],
            at_node,
        ),
    ] {
        let mut world = World::of(extra);
        world.put(pod("web", "10.0.0.1"));
        assert_eq!(tunnel_of(&world), want.map(|(place, versions)| (place, versions.to_vec())), "{case}");
        if want == at_pod {
            world.delete(Kind::NetworkPolicy, "shop", "np");
            assert_eq!(tunnel_of(&world), Some((NODE, vec![1])), "{case}, then no more");
        }
    }
}

const NODE: &str = "at the node";
const POD: &str = "at the pod";

fn tunnel_of(world: &World) -> Option<(&'static str, Vec<u16>)> {
    let tunnel = world.pod("web")?.node_tunnel.clone()?;
    let place = if tunnel.place == TunnelPlace::Workload { POD } else { NODE };
    Some((place, tunnel.versions))
}

#[test]
fn health_follows_phase_readiness_and_deletion() {
    let status = |status| json!({"status": status});
    let healthy = Some((Health::Healthy, false));
    let unhealthy = Some((Health::Unhealthy, false));
    for (case, over, want) in [
        ("ready", json!({}), healthy),
        ("not ready", status(json!({"conditions": [{"type": "Ready", "status": "False"}]})), unhealthy),
        (
            "not yet ready",
            status(json!({"conditions": [{"type": "Initialized", "status": "True"}]})),
            unhealthy,
        ),
        ("a manifest without conditions", status(json!({"conditions": null})), healthy),
        ("pending with an address", status(json!({"phase": "Pending"})), unhealthy),
        ("pending", status(json!({"phase": "Pending", "podIP": null, "podIPs": null})), None),
        ("succeeded", status(json!({"phase": "Succeeded"})), None),
        ("failed", status(json!({"phase": "Failed"})), None),
        ("leaving", json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}), {
            Some((Health::Healthy, true))
        }),
    ] {
        let world = World::of([with(pod("web", "10.0.0.1"), over)]);
        let got = world.pod("web").map(|web| (web.health, web.terminating));
        assert_eq!(got, want, "{case}");
    }
}

#[test]
fn a_stateful_pod_has_a_name_where_its_headless_service_exists() {
    let db = || with(pod("db-0", "10.0.0.1"), json!({"spec": {"hostname": "db-0", "subdomain": "db"}}));
    let hostname = |world: &World| world.pod("db-0").unwrap().hostname.to_string();
    let mut world = World::of([db()]);
    assert_eq!(hostname(&world), "");
    world.put(service("db", "10.1.0.1"));
    assert_eq!(hostname(&world), "", "the service is not headless");
    world.put(service("db", "None"));
    assert_eq!(hostname(&world), "db-0.db.shop.svc.cluster.local");
    world.delete(Kind::Service, "shop", "db");
    assert_eq!(hostname(&world), "");
}

#[test]
fn a_pods_own_acceleration_beats_its_namespaces() {
    let says = |value: &str| json!({"metadata": {"annotations": {"weft.dev/acceleration": value}}});
    let level = |world: &World| world.0.agent_pods().next().unwrap().acceleration;
    let mut world = World::of([meshed(), pod("web", "10.0.0.1")]);
    assert_eq!(level(&world), Acceleration::Standard);
    let diff = world.put(with(meshed(), says("proxy")));
    assert_eq!((diff.agent_pods.upserted.len(), level(&world)), (1, Acceleration::Proxy), "the namespace's");
    world.put(with(pod("web", "10.0.0.1"), says("full")));
    assert_eq!(level(&world), Acceleration::Full, "its own");
    world.put(with(pod("web", "10.0.0.1"), says("fast")));
    assert_eq!(level(&world), Acceleration::Off, "unknown is off, whatever the namespace says");
    world.put(pod("web", "10.0.0.1"));
    assert_eq!(level(&world), Acceleration::Proxy);
}

#[test]
fn an_agent_is_told_of_its_own_pods() {
    let annotations = json!({"metadata": {"annotations": {
        "weft.dev/netns": "/run/netns/web", "weft.dev/acceleration": "full", "weft.dev/existing": "reset",
    }}});
    let mut world = World::of([meshed(), with(pod("web", "10.0.0.1"), annotations)]);
    let n1 = NodeName::new("n1");
    let web = world.0.agent_pods_on(&n1).next().unwrap().clone();
    assert_eq!(web.netns.as_deref(), Some("/run/netns/web"));
    assert_eq!((web.acceleration, web.existing), (Acceleration::Full, Existing::Reset));
    assert_eq!(world.0.node_of("shop", "web", "uid-web"), Some(&n1));
    assert_eq!(world.0.node_of("shop", "web", "another"), None, "another pod of that name");

    let starting =
        json!({"spec": {"nodeName": "n1"}, "status": {"phase": "Pending", "podIP": null, "podIPs": null}});
    let diff = world.put(with(pod("new", "10.0.0.2"), starting));
    assert!(diff.workloads.is_empty(), "discovery has no use for it yet");
    assert_eq!(diff.agent_pods.upserted[0].addresses, [] as [std::net::IpAddr; 0]);

    let diff = world.put(with(pod("web", "10.0.0.1"), json!({"spec": {"nodeName": "n2"}})));
    assert_eq!(diff.agent_pods.removed, [AgentPodKey::of(&web)], "the old node gives it up");
    assert_eq!(diff.agent_pods.upserted[0].node, NodeName::new("n2"));
    let who = Identity::new("cluster.local", &*web.namespace, &*web.service_account).unwrap();
    let foreign = Identity::new("other.domain", &*web.namespace, &*web.service_account).unwrap();
    assert!(!world.0.has_enrolled_pod(&NodeName::new("n2"), &foreign), "another trust domain");
    assert!(!world.0.has_enrolled_pod(&n1, &who));
    assert!(world.0.has_enrolled_pod(&NodeName::new("n2"), &who));

    let diff = world.put(with(
        pod("web", "10.0.0.1"),
        json!({"spec": {"nodeName": "n2"}, "status": {"phase": "Failed"}}),
    ));
    assert_eq!((diff.agent_pods.removed.len(), diff.workloads.removed.len()), (1, 1));
    assert!(!world.0.has_enrolled_pod(&NodeName::new("n2"), &who));
    assert_eq!(world.0.node_of("shop", "web", "uid-web"), None, "it is over");
}

#[test]
fn what_becomes_of_older_connections_is_said_by_the_pod_or_its_namespace() {
    let says = |place: &str, value: &str| json!({"metadata": {place: {"weft.dev/existing": value}}});
    for (case, of_namespace, of_pod, want) in [
        ("nothing", json!({}), json!({}), Existing::Keep),
        ("a namespace's label", says("labels", "reset"), json!({}), Existing::Reset),
        ("a namespace's annotation", says("annotations", "reset"), json!({}), Existing::Reset),
        ("a pod's label", json!({}), says("labels", "reset"), Existing::Reset),
        ("the pod's word counts", says("labels", "reset"), says("annotations", "keep"), Existing::Keep),
        ("a word that means nothing", says("labels", "reset"), says("annotations", "drop"), Existing::Keep),
    ] {
        let mut world = World::of([meshed(), with(pod("web", "10.0.0.1"), of_pod)]);
        // The namespace speaks last: its pods have to hear.
        world.put(with(meshed(), of_namespace));
        let agent = world.0.agent_pods().next().unwrap();
        assert_eq!(agent.existing, want, "{case}");
    }
}

#[test]
fn host_network_pods_are_told_in_plain_text() {
    let world =
        World::of([meshed(), with(pod("agent", "172.16.0.1"), json!({"spec": {"hostNetwork": true}}))]);
    let agent = world.pod("agent").unwrap();
    assert_eq!((agent.protocol, agent.network_mode), (TunnelProtocol::Plain, NetworkMode::HostNetwork));
}
