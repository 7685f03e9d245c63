//! What Weft is told: Gateways, Services, and what Istio's resources say of them.

use anyhow::Result;
use serde_json::{Value, json};
use std::fmt::Write as _;
use weft_testkit::{Pod, World};

use super::row::{Entry, GRPC_PORT, GRPC_SERVICE_PORT, MANY, SERVICE_PORT, Scene};
use crate::load::HTTP_PORT;

/// The namespace of all of it.
pub(crate) const NAMESPACE: &str = "bench";
/// The service account of clients, and of whoever is measured.
pub(crate) const CLIENT: &str = "client";
pub(crate) const GATE: &str = "gate";
/// Addresses of the crowd's Services, behind those that the world gives away itself.
const CROWD_SLOT: usize = 1000;

/// Writes everything. `plain` are the endpoints of the crowd.
pub(crate) fn write(world: &World, plain: &[Pod; 2]) -> Result<()> {
    for scene in Scene::ALL {
        gateway(world, scene)?;
    }
    for (entry, app) in [
        (Entry::Plain, "plain"),
        (Entry::Tunnelled, "tunnelled"),
        (Entry::Native, "native"),
        (Entry::Crowd, "plain"),
        (Entry::Rules, "plain"),
    ] {
        let name = entry.service();
        let service = world.service(NAMESPACE, name).select([("app", app)]);
        let service =
            service.port("http", SERVICE_PORT, HTTP_PORT).port("grpc", GRPC_SERVICE_PORT, GRPC_PORT);
        service.label("weft.dev/waypoint", entry.scene().gate()).apply()?;
        let subset = |version: &str| json!({"name": version, "labels": {"version": version}});
        let subsets = [subset("v1"), subset("v2")];
        let spec = json!({"host": host(name), "subsets": subsets});
        apply(world, "networking.istio.io/v1", "DestinationRule", name, &spec)?;
        say_routes(world, entry, 0)?;
    }
    crowd(world, plain)
}

/// A Gateway, and who may ask there for what.
fn gateway(world: &World, scene: Scene) -> Result<()> {
    let name = scene.gate();
    let spec = json!({
        "gatewayClassName": "weft-waypoint",
        "listeners": [{"name": "mesh", "port": 15008, "protocol": "HBONE"}],
    });
    apply(world, "gateway.networking.k8s.io/v1", "Gateway", name, &spec)?;
    let principal = format!("cluster.local/ns/{NAMESPACE}/sa/{CLIENT}");
    let spec = json!({
        "targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": name}],
        "action": "ALLOW",
        "rules": [{
            "from": [{"source": {"principals": [principal]}}],
            "to": [{"operation": {"methods": ["GET", "POST"]}}],
        }],
    });
    apply(world, "security.istio.io/v1", "AuthorizationPolicy", name, &spec)
}

/// A service's routes: by a header to one version; below a path a split, and retries; [`super::row::MANY`] rules before
/// that in [`Scene::Rules`]; and a path where it says which `generation` of routes this is.
pub(crate) fn say_routes(world: &World, entry: Entry, generation: u64) -> Result<()> {
    let name = entry.service();
    let to = |version: &str, weight: u32| json!({"destination": {"host": host(name), "subset": version}, "weight": weight});
    let mut rules: Vec<Value> = Vec::new();
    if entry == Entry::Rules {
        let rule = |number: usize| json!({"match": [{"uri": {"prefix": format!("/team-{number}/")}}], "route": [to("v1", 100)]});
        rules.extend((0..MANY - 1).map(rule));
    }
    rules.extend([
        json!({
            "match": [{"uri": {"exact": GENERATION_PATH}}],
            "directResponse": {"status": 200, "body": {"string": generation.to_string()}},
        }),
        json!({"match": [{"headers": {"x-user": {"exact": "tester"}}}], "route": [to("v2", 100)]}),
        json!({
            "match": [{"uri": {"prefix": "/api/"}}],
            "route": [to("v1", 90), to("v2", 10)],
            "retries": {"attempts": 2, "retryOn": "5xx,connect-failure"},
        }),
        json!({"route": [to("v1", 100)]}),
    ]);
    let spec = json!({"hosts": [host(name)], "http": rules});
    apply(world, "networking.istio.io/v1", "VirtualService", name, &spec)
}

/// Where a service says which generation of its routes is in force.
pub(crate) const GENERATION_PATH: &str = "/generation";

/// The Services beside the one that is asked for, each with a route.
fn crowd(world: &World, pods: &[Pod; 2]) -> Result<()> {
    let mut text = String::new();
    for number in 1..MANY {
        let name = format!("crowd-{number}");
        let ip = world.plan().service(CROWD_SLOT + number)[0].to_string();
        let meta = json!({
            "name": name, "namespace": NAMESPACE, "labels": {"weft.dev/waypoint": Scene::Crowd.gate()},
        });
        let port = json!({"name": "http", "port": SERVICE_PORT, "targetPort": HTTP_PORT, "protocol": "TCP"});
        let service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": meta,
            "spec": {"clusterIP": ip, "clusterIPs": [ip], "ports": [port], "type": "ClusterIP"},
        });
        let endpoint = |pod: &Pod| -> Result<Value> {
            Ok(json!({
                "addresses": [pod.ip()], "conditions": {"ready": true, "serving": true}, "nodeName": "node1",
                "targetRef": {"kind": "Pod", "name": pod.name(), "namespace": NAMESPACE, "uid": pod.uid()?},
            }))
        };
        let meta = json!({
            "name": name, "namespace": NAMESPACE, "labels": {"kubernetes.io/service-name": name},
        });
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": meta, "addressType": "IPv4",
            "ports": [{"name": "http", "port": HTTP_PORT, "protocol": "TCP"}],
            "endpoints": [endpoint(&pods[0])?, endpoint(&pods[1])?],
        });
        let route = json!({
            "match": [{"uri": {"prefix": "/api/"}}],
            "route": [{"destination": {"host": host(&name)}}],
            "retries": {"attempts": 2, "retryOn": "5xx,connect-failure"},
        });
        let routes = json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"hosts": [host(&name)], "http": [route]},
        });
        for object in [service, slice, routes] {
            // JSON is YAML too.
            let _never = writeln!(text, "---\n{object}");
        }
    }
    world.apply_yaml("crowd.yaml", &text).map(drop)
}

fn host(service: &str) -> String {
    format!("{service}.{NAMESPACE}.svc.cluster.local")
}

fn apply(world: &World, api: &str, kind: &str, name: &str, spec: &Value) -> Result<()> {
    let object = json!({
        "apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec,
    });
    world.apply(&object).map(drop)
}
