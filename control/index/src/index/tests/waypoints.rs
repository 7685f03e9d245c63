//! What stands before what: labels, Gateways, and the instances of waypoints.

use super::world::{
    World, instance, labelled, meshed, namespace, node, pod, served, service, waypoint, with,
};
use serde_json::{Value, json};
use weft_control_api::kind::Kind;
use weft_core::enrolment::Membership;
use weft_core::names::GatewayName;
use weft_core::workload::{Health, NodeTunnel, TunnelPlace, TunnelProtocol};

const HOST: &str = "wp.shop.svc.cluster.local";

fn taking(what: &str) -> Value {
    labelled(waypoint("wp"), json!({ "istio.io/waypoint-for": what }))
}

fn account(labels: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": "web", "namespace": "shop", "labels": labels}})
}

/// A world with these labels on the namespace, the service and the pod `web`.
fn world(gateway: Value, of_namespace: Value, of_service: Value, of_pod: Value) -> World {
    let pod = labelled(pod("web", "10.0.0.1"), of_pod);
    let service = labelled(service("web", "10.1.0.1"), of_service);
    World::of([gateway, namespace(of_namespace), service, pod])
}

#[test]
fn labels_bind_services_and_pods_to_what_a_waypoint_takes() {
    let (none, own, istio) =
        (json!({}), json!({"weft.dev/waypoint": "wp"}), json!({"istio.io/use-waypoint": "wp"}));
    let out = json!({"weft.dev/waypoint": "none"});
    for (case, gateway, on_namespace, on_service, on_pod, service, pod) in [
        ("nobody asks", waypoint("wp"), &none, &none, &none, false, false),
        ("the namespace", waypoint("wp"), &own, &none, &none, true, false),
        ("Istio's label", waypoint("wp"), &istio, &none, &none, true, false),
        ("the service", waypoint("wp"), &none, &own, &none, true, false),
        ("the pod, of a waypoint for services", waypoint("wp"), &none, &none, &own, false, false),
        ("the service opts out", waypoint("wp"), &own, &out, &none, false, false),
        ("all, by the namespace", taking("all"), &own, &none, &none, true, true),
        ("the pod opts out", taking("all"), &own, &none, &out, true, false),
        ("the pod alone", taking("all"), &none, &none, &istio, false, true),
        ("workloads", taking("workload"), &own, &none, &none, false, true),
        ("services", taking("service"), &own, &own, &own, true, false),
        ("nothing", taking("none"), &own, &own, &own, false, false),
    ] {
        let world = world(gateway, on_namespace.clone(), on_service.clone(), on_pod.clone());
        let want = |bound: bool| bound.then(|| HOST.to_owned());
        assert_eq!(world.waypoint_of("web"), want(service), "{case}: service");
        assert_eq!(world.waypoint_of_pod("web"), want(pod), "{case}: pod");
        assert!(!world.service("web").guarded, "{case}: there is no policy");
    }
}

#[test]
fn a_service_account_speaks_for_its_pods() {
    let own = json!({"weft.dev/waypoint": "wp"});
    let out = json!({"istio.io/use-waypoint": "none"});
    let mut world = World::of([taking("workload"), pod("web", "10.0.0.1"), pod("db", "10.0.0.2")]);
    world.put(account(own.clone()));
    assert_eq!(world.waypoint_of_pod("web").as_deref(), Some(HOST));
    assert_eq!(world.waypoint_of_pod("db"), None);
    world.put(labelled(pod("web", "10.0.0.1"), out.clone()));
    assert_eq!(world.waypoint_of_pod("web"), None, "the pod's word comes first");
    world.put(pod("web", "10.0.0.1"));
    world.put(namespace(own));
    world.put(account(out));
    assert_eq!(world.waypoint_of_pod("web"), None, "the account's comes before the namespace's");
    world.delete(Kind::ServiceAccount, "shop", "web");
    assert_eq!(world.waypoint_of_pod("web").as_deref(), Some(HOST));
}

#[test]
fn a_class_speaks_for_gateways_that_do_not() {
    let class = |what: &str| {
        json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass",
            "metadata": {"name": "weft-waypoint", "labels": {"istio.io/waypoint-for": what}},
            "spec": {"controllerName": "weft.dev/waypoint"}})
    };
    let own = json!({"weft.dev/waypoint": "wp"});
    let mut world = world(waypoint("wp"), own, json!({}), json!({}));
    world.put(class("all"));
    assert_eq!((world.waypoint_of("web").is_some(), world.waypoint_of_pod("web").is_some()), (true, true));
    world.put(taking("workload"));
    assert_eq!((world.waypoint_of("web").is_some(), world.waypoint_of_pod("web").is_some()), (false, true));
    world.put(waypoint("wp"));
    world.delete(Kind::GatewayClass, "", "weft-waypoint");
    assert_eq!((world.waypoint_of("web").is_some(), world.waypoint_of_pod("web").is_some()), (true, false));
}

#[test]
fn other_namespaces_need_leave() {
    let allowing = |namespaces: Value| {
        let listener = json!([{"name": "mesh", "port": 15008, "protocol": "HBONE",
            "allowedRoutes": {"namespaces": namespaces}}]);
        let spec = json!({"metadata": {"namespace": "infra"}, "spec": {"listeners": listener}});
        with(waypoint("wp"), spec)
    };
    let elsewhere = json!({"istio.io/use-waypoint": "wp", "istio.io/use-waypoint-namespace": "infra"});
    let selector = |value: &str| json!({"from": "Selector", "selector": {"matchLabels": {"team": value}}});
    let in_team = with(elsewhere.clone(), json!({"team": "a"}));
    for (case, gateway, labels, bound) in [
        ("not said", with(waypoint("wp"), json!({"metadata": {"namespace": "infra"}})), &elsewhere, false),
        ("its own", allowing(json!({"from": "Same"})), &elsewhere, false),
        ("nobody", allowing(json!({"from": "None"})), &elsewhere, false),
        ("all", allowing(json!({"from": "All"})), &elsewhere, true),
        ("labelled", allowing(selector("a")), &in_team, true),
        ("labelled otherwise", allowing(selector("b")), &in_team, false),
        ("not labelled", allowing(selector("a")), &elsewhere, false),
    ] {
        let mut world = world(gateway, labels.clone(), json!({}), json!({}));
        let host = bound.then(|| "wp.infra.svc.cluster.local".to_owned());
        assert_eq!(world.waypoint_of("web"), host, "{case}");
        let told = world.problems().iter().any(|problem| {
            problem.contains(
                "Namespace shop: metadata.labels.istio.io/use-waypoint: Gateway infra/wp does not allow",
            )
        });
        assert_eq!(told, !bound, "{case}: {:?}", world.problems());
        world.put(namespace(in_team.clone()));
        assert_eq!(
            world.waypoint_of("web").is_some(),
            bound || case == "not labelled",
            "{case}, labelled since"
        );
    }
}

#[test]
fn what_cannot_stand_there_is_told_and_traffic_goes_without() {
    let ask = || labelled(service("web", "10.1.0.1"), json!({"weft.dev/waypoint": "wp"}));
    let class = |class: &str| with(waypoint("wp"), json!({"spec": {"gatewayClassName": class}}));
    let mut world = World::of([ask()]);
    let problem = |why: &str| {
        let at = "warning test: Service shop/web: metadata.labels.weft.dev/waypoint";
        vec![format!("{at}: {why}: traffic goes without a waypoint")]
    };
    let of_service = |world: &World| -> Vec<String> {
        let all = world.problems().into_iter();
        all.filter(|problem| problem.contains("Service shop/web")).collect()
    };
    assert_eq!(of_service(&world), problem("there is no Gateway shop/wp"));
    world.put(class("nginx"));
    assert_eq!(of_service(&world), problem("Gateway shop/wp is of class nginx, and no waypoint"));
    assert_eq!(world.waypoint_of("web"), None);
    assert!(
        world.0.service(&super::world::service_name("wp")).is_none(),
        "somebody else's Gateway has no service"
    );
    let diff = world.put(waypoint("wp"));
    assert_eq!(of_service(&world), [""; 0]);
    assert!(diff.problems.iter().any(|(key, problems)| key.kind == Kind::Service && problems.is_empty()));
    assert_eq!(world.waypoint_of("web").as_deref(), Some(HOST));
    world.put(taking("workload"));
    let other = "Gateway shop/wp is a waypoint for other traffic (istio.io/waypoint-for: workload)";
    assert_eq!(of_service(&world), problem(other));
    world.delete(Kind::Gateway, "shop", "wp");
    assert_eq!(of_service(&world), problem("there is no Gateway shop/wp"));
    world.delete(Kind::Service, "shop", "web");
    assert_eq!(world.problems(), [""; 0]);
}

#[test]
fn gateways_that_are_no_waypoint_are_refused_by_name_and_the_last_good_one_stays() {
    let listener = |over: Value| {
        let listener = with(json!({"name": "mesh", "port": 15008, "protocol": "HBONE"}), over);
        json!({"spec": {"listeners": [listener]}})
    };
    for (case, over, field) in [
        ("port", listener(json!({"port": 15009})), "spec.listeners[0].port"),
        ("protocol", listener(json!({"protocol": "HTTP"})), "spec.listeners[0].protocol"),
        ("host", listener(json!({"hostname": "a.example"})), "spec.listeners[0].hostname"),
        (
            "two",
            json!({"spec": {"listeners": [
                {"name": "mesh", "port": 15008, "protocol": "HBONE"}, {"name": "b", "port": 80, "protocol": "HTTP"},
            ]}}),
            "spec.listeners",
        ),
        ("addresses", json!({"spec": {"addresses": [{"value": "10.0.0.1"}]}}), "spec.addresses"),
        (
            "for what",
            json!({"metadata": {"labels": {"istio.io/waypoint-for": "services"}}}),
            "metadata.labels.istio.io/waypoint-for",
        ),
        (
            "Istio's former way",
            json!({"metadata": {"annotations": {"istio.io/for-service-account": "web"}}}),
            "metadata.annotations.istio.io/for-service-account",
        ),
    ] {
        let ask = json!({"weft.dev/waypoint": "wp"});
        let mut world = world(waypoint("wp"), ask, json!({}), json!({}));
        let diff = world.put(with(waypoint("wp"), over.clone()));
        assert_eq!(diff.problems[0].1[0].field, field, "{case}");
        assert_eq!(world.waypoint_of("web").as_deref(), Some(HOST), "{case}: the last good one");
        let mut fresh = World::of([labelled(service("web", "10.1.0.1"), json!({"weft.dev/waypoint": "wp"}))]);
        fresh.put(with(waypoint("wp"), over));
        assert_eq!(fresh.waypoint_of("web"), None, "{case}: never a good one");
    }
}

#[test]
fn instances_end_tunnels_themselves_and_are_never_captured() {
    let gateway = json!({"gateway.networking.k8s.io/gateway-name": "wp"});
    let mut world = World::of([meshed(), node("n1"), instance("wp-1", "wp", "10.0.0.9"), waypoint("wp")]);
    world.put(labelled(pod("odd", "10.0.0.8"), with(gateway, json!({"weft.dev/mesh": "enabled"}))));
    for name in ["wp-1", "odd"] {
        let workload = world.pod(name).expect("it is told");
        let native = (workload.protocol, workload.native_tunnel, workload.node_tunnel.is_some());
        assert_eq!(native, (TunnelProtocol::Hbone, true, false), "{name}");
        assert_eq!(workload.identity.service_account(), name);
        assert_eq!(world.services_of(name), ["wp 15008>15008"], "{name}");
        let agent = world.0.agent_pods().find(|one| *one.name == *name).expect("it runs");
        assert_eq!(agent.membership, Membership::Outside, "{name}");
    }
    let (gateway, who) = world.0.waypoint_of("shop", "wp-1").expect("it is one");
    assert_eq!((gateway, who.service_account()), (GatewayName::new("shop", "wp"), "wp-1"));
    let made = world.service("wp");
    assert!(made.vips.is_empty() && made.waypoint.is_none() && made.ports.len() == 1);
    world.delete(Kind::Gateway, "shop", "wp");
    assert!(world.0.service(&super::world::service_name("wp")).is_none());
    assert!(world.pod("wp-1").expect("it is told").node_tunnel.is_some(), "a pod as any other");
    assert!(world.0.waypoint_of("shop", "wp-1").is_none());
}

#[test]
fn instances_say_themselves_what_they_speak() {
    let says = |object: Value, text: &str| {
        with(object, json!({"metadata": {"annotations": {"weft.dev/tunnel-versions": text}}}))
    };
    let tunnel_of = |world: &World, name: &str| world.pod(name).expect("it is told").node_tunnel.clone();
    let at_itself =
        |versions: &[u16]| Some(NodeTunnel { place: TunnelPlace::Workload, versions: versions.to_vec() });
    let instance = || instance("wp-1", "wp", "10.0.0.9");
    for (case, object, want, problems) in [
        ("nothing: one of another mesh, or an older one", instance(), None, 0),
        ("a version", says(instance(), "1"), at_itself(&[1]), 0),
        ("several", says(instance(), "1, 2"), at_itself(&[1, 2]), 0),
        ("what is none", says(instance(), "one"), None, 1),
    ] {
        // Its node's proxy is another program.
        let world = World::of([meshed(), node("n1"), waypoint("wp"), object]);
        assert_eq!(tunnel_of(&world, "wp-1"), want, "{case}");
        assert_eq!(world.problems().len(), problems, "{case}: {:?}", world.problems());
    }
    let world = World::of([meshed(), waypoint("wp"), says(pod("web", "10.0.0.1"), "1")]);
    assert_eq!(tunnel_of(&world, "web"), None, "for a pod its node speaks");
}

#[test]
fn a_service_that_was_written_for_the_gateway_is_used() {
    let written = with(
        service("wp", "10.1.0.9"),
        json!({"spec": {
            "selector": {"app": null, "gateway.networking.k8s.io/gateway-name": "wp"},
            "ports": [{"name": "mesh", "port": 15008, "targetPort": 15008}],
        }}),
    );
    let ask = json!({"weft.dev/mesh": "enabled", "weft.dev/waypoint": "wp"});
    let mut world = World::of([namespace(ask), waypoint("wp"), instance("wp-1", "wp", "10.0.0.9")]);
    world.put(written.clone());
    assert_eq!(world.service("wp").vips.len(), 1);
    assert_eq!(world.waypoint_of("wp"), None, "nothing stands before a waypoint");
    assert_eq!(world.waypoint_of_pod("wp-1"), None);
    let workload = world.pod("wp-1").expect("it is told");
    assert_eq!(workload.services.iter().map(served).collect::<Vec<_>>(), ["wp 15008>15008"]);
    assert_eq!(workload.health, Health::Healthy);
    assert_eq!((world.problems(), world.0.findings()), (vec![], vec![]));
    world.put(service("wp", "10.1.0.9"));
    let findings: Vec<_> =
        world.0.findings().into_iter().map(|(key, note)| format!("{key}: {}", note.text())).collect();
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(
        findings[0].starts_with("Service shop/wp: metadata.name: is the name of a waypoint's Gateway too")
            && findings[0].contains("waypoint shop/wp;"),
        "{findings:?}"
    );
    world.put(labelled(service("wp", "10.1.0.9"), json!({"weft.dev/waypoint": "none"})));
    assert_eq!(world.0.findings(), [], "it asks for none");
    world.put(service("wp", "10.1.0.9"));
    assert!(
        world.problems()[0]
            .contains("Gateway shop/wp: metadata.name: Service of the same name has no port 15008")
    );
    world.delete(Kind::Service, "shop", "wp");
    assert_eq!(world.problems(), [""; 0]);
    assert!(world.service("wp").vips.is_empty(), "made again");
    world.put(written);
    world.delete(Kind::Gateway, "shop", "wp");
    assert_eq!(world.service("wp").vips.len(), 1, "it is not the Gateway's to take");
}

#[test]
fn a_change_of_a_gateway_costs_what_it_concerns() {
    let bound = |name: &str| labelled(service(name, "10.1.0.1"), json!({"weft.dev/waypoint": "wp"}));
    let mut world =
        World::of([bound("a"), service("b", "10.1.0.2"), pod("a", "10.0.0.1"), pod("b", "10.0.0.2")]);
    let diff = world.put(waypoint("wp"));
    let names: Vec<_> = diff.services.upserted.iter().map(|one| one.short_name.to_string()).collect();
    assert_eq!((names, diff.workloads.upserted.len()), (vec!["a".to_owned(), "wp".to_owned()], 0));
    assert!(world.put(waypoint("wp")).is_empty());
    let diff = world.put(taking("all"));
    assert!(diff.services.is_empty() && diff.workloads.is_empty(), "{diff:?}");
}
