//! Whatever happened before, what is told is what an index would tell that has only ever seen what is there now.

use super::world::{
    World, at_pod, authorization, bound, change, gateway_route, instance, labelled, namespace, node, peer,
    pod, service, slice, waypoint, with,
};
use crate::change::Diff;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Display;
use weft_control_api::kind::ObjectKey;
use weft_core::names::{GatewayName, NodeName, WorkloadUid};

/// Histories, each of so many steps.
const HISTORIES: u64 = 8;
const STEPS: usize = 150;

#[test]
fn what_is_told_follows_from_what_is_there() {
    let all = versions();
    let mut wrong = Vec::new();
    for seed in 1..=HISTORIES {
        let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let (mut world, mut reader) = (World::new(), told(&World::new()));
        let mut there: BTreeMap<ObjectKey, Value> = BTreeMap::new();
        for step in 0..STEPS {
            let object = all[dice.below(all.len())].clone();
            let key = change(object.clone()).key();
            let before = there.get(&key).cloned();
            let (done, diff) = if before.is_some() && dice.below(3) == 0 {
                there.remove(&key);
                (format!("{key} went"), world.delete(key.kind, &key.namespace, &key.name))
            } else {
                there.insert(key.clone(), object.clone());
                (format!("{key} became {object}, was {before:?}"), world.put(object))
            };
            follow(&mut reader, &diff);
            let fresh = World::of(there.values().cloned());
            let want = told(&fresh);
            let (index, changes) = (differences(&told(&world), &want), differences(&reader, &want));
            for (who, differ) in [("the index", index), ("who follows it", changes)] {
                if !differ.is_empty() {
                    wrong.push(format!("history {seed}, step {step}, {who}: {done}\n{}", differ.join("\n")));
                    (world, reader) = (World::of(there.values().cloned()), want.clone());
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} times:\n{}", wrong.len(), wrong.join("\n"));
}

/// What a reader knows who takes each change as the control plane's own readers do: what is there first, then what is gone.
fn follow(reader: &mut BTreeMap<String, String>, diff: &Diff) {
    let Diff {
        workloads,
        services,
        policies,
        traffic,
        requests,
        telemetries,
        agent_pods,
        problems,
        statuses,
    } = diff;
    reader.extend(workloads.upserted.iter().map(|one| (format!("workload {}", one.uid), format!("{one:?}"))));
    reader.extend(services.upserted.iter().map(|one| (format!("service {}", one.name), format!("{one:?}"))));
    reader.extend(policies.upserted.iter().map(|one| (format!("policy {}", one.name), format!("{one:?}"))));
    reader.extend(
        agent_pods.upserted.iter().map(|one| (agent_key(&one.node, &one.workload), format!("{one:?}"))),
    );
    let said = |kind: &str, gateway: &GatewayName, name: &dyn Display| format!("{kind} {gateway} {name}");
    for one in &traffic.upserted {
        reader.insert(said("traffic", &one.gateway, &one.said.service), format!("{one:?}"));
    }
    for one in &requests.upserted {
        reader.insert(said("request", &one.gateway, &one.said.name), format!("{one:?}"));
    }
    for one in &telemetries.upserted {
        reader.insert(said("telemetry", &one.gateway, &one.said.name), format!("{one:?}"));
    }
    let mut gone: Vec<String> = workloads.removed.iter().map(|uid| format!("workload {uid}")).collect();
    gone.extend(services.removed.iter().map(|name| format!("service {name}")));
    gone.extend(policies.removed.iter().map(|name| format!("policy {name}")));
    gone.extend(agent_pods.removed.iter().map(|key| agent_key(&key.node, &key.workload_uid)));
    gone.extend(traffic.removed.iter().map(|one| said("traffic", &one.gateway, &one.said)));
    gone.extend(requests.removed.iter().map(|one| said("request", &one.gateway, &one.said)));
    gone.extend(telemetries.removed.iter().map(|one| said("telemetry", &one.gateway, &one.said)));
    for key in &gone {
        reader.remove(key);
    }
    for (key, problems) in problems {
        reader.retain(|line, _| !line.starts_with(&format!("problem test: {key}: ")));
        reader.extend(problems.iter().map(|one| (format!("problem {one}"), String::new())));
    }
    for (key, status) in statuses {
        match status {
            Some(status) => reader.insert(format!("status {key}"), format!("{status:?}")),
            None => reader.remove(&format!("status {key}")),
        };
    }
}

fn agent_key(node: &NodeName, workload: &WorkloadUid) -> String {
    format!("agent {node} {workload}")
}

/// Chance that is the same each time (xorshift64*).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33).unwrap_or_default() % end
    }
}

fn differences(now: &BTreeMap<String, String>, want: &BTreeMap<String, String>) -> Vec<String> {
    let keys: std::collections::BTreeSet<_> = now.keys().chain(want.keys()).collect();
    let differ = keys.into_iter().filter(|key| now.get(*key) != want.get(*key));
    differ.map(|key| format!("{key}\n  is {:?}\n  not {:?}", now.get(key), want.get(key))).collect()
}

/// All that an index tells, in a comparable form.
fn told(world: &World) -> BTreeMap<String, String> {
    let index = &world.0;
    let mut all = BTreeMap::new();
    all.extend(index.workloads().map(|one| (format!("workload {}", one.uid), format!("{one:?}"))));
    all.extend(index.services().map(|one| (format!("service {}", one.name), format!("{one:?}"))));
    all.extend(index.policies().map(|one| (format!("policy {}", one.name), format!("{one:?}"))));
    all.extend(index.agent_pods().map(|one| (agent_key(&one.node, &one.workload), format!("{one:?}"))));
    all.extend(
        index
            .traffic()
            .map(|one| (format!("traffic {} {}", one.gateway, one.said.service), format!("{one:?}"))),
    );
    all.extend(
        index
            .requests()
            .map(|one| (format!("request {} {}", one.gateway, one.said.name), format!("{one:?}"))),
    );
    all.extend(
        index
            .telemetries()
            .map(|one| (format!("telemetry {} {}", one.gateway, one.said.name), format!("{one:?}"))),
    );
    all.extend(index.statuses().map(|(key, status)| (format!("status {key}"), format!("{status:?}"))));
    all.extend(index.problems().map(|one| (format!("problem {one}"), String::new())));
    all
}

/// Objects that interact, most of them in several versions.
fn versions() -> Vec<Value> {
    [places(), services(), gateways(), routes(), istio(), entries(), policies(), telemetries()].concat()
}

fn born(object: Value, year: u32) -> Value {
    with(object, json!({"metadata": {"creationTimestamp": format!("{year}-01-01T00:00:00Z")}}))
}

fn places() -> Vec<Value> {
    let bank = |labels: Value| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "bank", "labels": labels}});
    let web = |labels: Value| labelled(pod("web", "10.0.0.1"), labels);
    let of_bank = |object: Value| with(object, json!({"metadata": {"namespace": "bank"}}));
    vec![
        namespace(json!({"weft.dev/mesh": "enabled"})),
        namespace(json!({"weft.dev/mesh": "enabled", "weft.dev/waypoint": "wp"})),
        namespace(json!({"weft.dev/waypoint": "gone", "team": "a"})),
        bank(json!({"weft.dev/mesh": "enabled"})),
        bank(json!({"weft.dev/mesh": "enabled", "team": "a", "weft.dev/waypoint": "wp",
            "weft.dev/waypoint-namespace": "shop"})),
        node("n1"),
        with(
            node("n1"),
            json!({"metadata": {"labels": {"topology.kubernetes.io/zone": "other"}},
            "spec": {"podCIDRs": ["10.0.0.0/24"]}}),
        ),
        with(node("n2"), json!({"spec": {"podCIDR": "10.0.1.0/24"}})),
        web(json!({})),
        web(json!({"version": "v1"})),
        web(json!({"version": "v2", "weft.dev/waypoint": "wp"})),
        with(
            web(json!({"version": "v2"})),
            json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}}),
        ),
        with(web(json!({})), json!({"status": {"podIP": "10.0.0.7", "podIPs": [{"ip": "10.0.0.7"}]}})),
        with(web(json!({})), json!({"spec": {"hostname": "web", "subdomain": "db"}})),
        with(web(json!({})), json!({"spec": {"hostNetwork": true}})),
        with(web(json!({})), json!({"status": {"phase": "Succeeded"}})),
        with(web(json!({})), json!({"metadata": {"deletionTimestamp": "2024-01-01T00:00:00Z"}})),
        pod("db", "10.0.0.2"),
        with(pod("db", "10.0.0.2"), json!({"spec": {"nodeName": "n2"}})),
        with(pod("db", "10.0.0.1"), json!({"metadata": {"labels": {"app": "web"}}})),
        of_bank(pod("teller", "10.0.0.3")),
        json!({"apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": "web", "namespace": "shop", "labels": {"istio.io/use-waypoint": "wp"}}}),
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "web", "namespace": "shop"}}),
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": "np", "namespace": "shop"}, "spec": {"podSelector": {"matchLabels": {"app": "web"}}}}),
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": "np", "namespace": "shop"}, "spec": {"podSelector": {}}}),
    ]
}

fn services() -> Vec<Value> {
    let ports = |ports: Value| json!({"spec": {"ports": ports}});
    let two = json!([{"name": "http", "port": 80, "targetPort": 8080}, {"name": "tcp", "port": 81, "targetPort": 8081}]);
    let ledger = with(service("ledger", "10.1.0.9"), json!({"metadata": {"namespace": "bank"}}));
    vec![
        service("web", "10.1.0.1"),
        bound("web", "wp"),
        bound("web", "wp2"),
        with(bound("web", "wp"), ports(two)),
        with(
            bound("web", "wp"),
            ports(json!([{"name": "tls", "port": 80, "targetPort": 8080, "appProtocol": "tls"}])),
        ),
        with(bound("web", "wp"), ports(json!([{"name": "x", "port": 80, "targetPort": "web"}]))),
        service("web", "None"),
        with(
            service("web", "10.1.0.1"),
            json!({"spec": {"type": "ExternalName", "externalName": "x.example",
            "clusterIP": null, "selector": null}}),
        ),
        labelled(service("web", "10.1.0.1"), json!({"weft.dev/waypoint": "none"})),
        with(bound("web", "wp"), json!({"spec": {"selector": {"app": "db"}}})),
        service("web-v1", "10.1.0.2"),
        with(bound("web-v1", "wp"), json!({"spec": {"selector": {"app": "web", "version": "v1"}}})),
        service("db", "None"),
        ledger.clone(),
        labelled(ledger, json!({"weft.dev/waypoint": "wp", "weft.dev/waypoint-namespace": "shop"})),
        service("wp", "10.1.0.20"),
        slice("web-1", "web", json!([at_pod("web", "10.0.0.1"), {"addresses": ["192.0.2.1"]}])),
        slice("web-1", "web", json!([{"addresses": ["10.0.0.1"]}])),
        slice("web-1", "web-v1", json!([at_pod("db", "10.0.0.2")])),
        slice("web-2", "web", json!([{"addresses": ["10.0.0.7"]}])),
        slice(
            "web-2",
            "web",
            json!([{"addresses": ["192.0.2.2"], "nodeName": "n1", "conditions": {"ready": false}}]),
        ),
        labelled(
            service("web", "10.1.0.1"),
            json!({"weft.dev/waypoint": "wp3", "weft.dev/waypoint-namespace": "bank"}),
        ),
    ]
}

fn gateways() -> Vec<Value> {
    let all = json!([{"name": "mesh", "port": 15008, "protocol": "HBONE", "allowedRoutes": {"namespaces": {"from": "All"}}}]);
    let team = json!([{"name": "mesh", "port": 15008, "protocol": "HBONE", "allowedRoutes": {"namespaces":
        {"from": "Selector", "selector": {"matchLabels": {"team": "a"}}}}}]);
    let all_from = all.clone();
    let class = |labels: Value| {
        json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass",
            "metadata": {"name": "weft-waypoint", "labels": labels},
            "spec": {"controllerName": "weft.dev/waypoint-controller"}})
    };
    vec![
        waypoint("wp"),
        with(waypoint("wp"), json!({"spec": {"listeners": all}})),
        with(waypoint("wp"), json!({"spec": {"listeners": team}})),
        labelled(waypoint("wp"), json!({"weft.dev/waypoint-for": "all"})),
        labelled(waypoint("wp"), json!({"weft.dev/waypoint-for": "workload"})),
        with(waypoint("wp"), json!({"spec": {"gatewayClassName": "istio-waypoint"}})),
        with(waypoint("wp"), json!({"spec": {"gatewayClassName": "nginx"}})),
        waypoint("wp2"),
        with(waypoint("wp3"), json!({"metadata": {"namespace": "bank"}, "spec": {"listeners": all_from}})),
        with(instance("wp3-1", "wp3", "10.0.0.10"), json!({"metadata": {"namespace": "bank"}})),
        instance("wp-1", "wp", "10.0.0.9"),
        instance("wp-1", "wp2", "10.0.0.9"),
        with(
            instance("wp-1", "wp", "10.0.0.9"),
            json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}}),
        ),
        class(json!({"weft.dev/waypoint-for": "all"})),
        class(json!({})),
    ]
}

fn routes() -> Vec<Value> {
    let to = |name: &str| json!([{"name": name, "port": 80}]);
    let rules = |name: &str| json!({"spec": {"rules": [{"backendRefs": to(name)}]}});
    let far = json!([{"name": "ledger", "namespace": "bank", "port": 80}]);
    let of_bank = json!({"metadata": {"namespace": "bank"},
        "spec": {"parentRefs": [{"group": "", "kind": "Service", "name": "web", "namespace": "shop"}]}});
    let at = |port: u16| json!({"spec": {"parentRefs": [{"group": "", "kind": "Service", "name": "web", "port": port}]}});
    let grant = |kind: &str, name: Value| {
        json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "ReferenceGrant",
            "metadata": {"name": "g", "namespace": "bank"}, "spec": {
                "from": [{"group": "gateway.networking.k8s.io", "kind": kind, "namespace": "shop"}],
                "to": [{"group": "", "kind": "Service", "name": name}]}})
    };
    let tls = |over: Value| {
        with(
            json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "BackendTLSPolicy",
            "metadata": {"name": "tls", "namespace": "shop"}, "spec": {
                "targetRefs": [{"group": "", "kind": "Service", "name": "web"}],
                "validation": {"hostname": "web.example", "wellKnownCACertificates": "System"}}}),
            over,
        )
    };
    let named = json!({"spec": {"validation": {"wellKnownCACertificates": null,
        "caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "roots"}]}}});
    let budget = |name: &str, target: &str| {
        json!({"apiVersion": "gateway.networking.x-k8s.io/v1alpha1", "kind": "XBackendTrafficPolicy",
            "metadata": {"name": name, "namespace": "shop"}, "spec": {
                "targetRefs": [{"group": "", "kind": "Service", "name": target}],
                "retryConstraint": {"budget": {"percent": 20, "interval": "10s"}}}})
    };
    vec![
        gateway_route("HTTPRoute", "a", "web", rules("web-v1")),
        gateway_route("HTTPRoute", "a", "web", rules("gone")),
        gateway_route("HTTPRoute", "a", "ledger", rules("web")),
        gateway_route("HTTPRoute", "a", "web", json!({"spec": {"rules": [{"backendRefs": far}]}})),
        gateway_route("HTTPRoute", "a", "web", with(at(81), rules("web-v1"))),
        born(gateway_route("HTTPRoute", "b", "web", with(at(80), rules("web"))), 2020),
        gateway_route("HTTPRoute", "c", "web", with(of_bank.clone(), rules("ledger"))),
        gateway_route("GRPCRoute", "a", "web", rules("web-v1")),
        gateway_route("GRPCRoute", "a", "web", with(of_bank, rules("ledger"))),
        gateway_route("TCPRoute", "a", "web", rules("web-v1")),
        born(gateway_route("TCPRoute", "b", "web", rules("web")), 2020),
        gateway_route(
            "TLSRoute",
            "a",
            "web",
            with(rules("web-v1"), json!({"spec": {"hostnames": ["a.example"]}})),
        ),
        gateway_route(
            "TLSRoute",
            "a",
            "web",
            with(with(at(80), rules("web")), json!({"spec": {"hostnames": ["b.example"]}})),
        ),
        grant("HTTPRoute", json!("ledger")),
        grant("GRPCRoute", Value::Null),
        tls(json!({})),
        tls(named),
        born(tls(json!({"metadata": {"name": "other"}})), 2020),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "roots", "namespace": "shop"}, "data": {"ca.crt": "x"}}),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "cred", "namespace": "shop"}, "type": "Opaque", "data": {"cacert": "eA=="}}),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "cred", "namespace": "bank"}, "type": "Opaque", "data": {"cacert": "eA=="}}),
        budget("one", "web"),
        budget("one", "web-v1"),
        born(budget("two", "web"), 2020),
    ]
}

fn istio() -> Vec<Value> {
    let of = |kind: &str, name: &str, spec: Value| {
        json!({"apiVersion": "networking.istio.io/v1", "kind": kind,
            "metadata": {"name": name, "namespace": "shop"}, "spec": spec})
    };
    let route = |host: &str| json!([{"route": [{"destination": {"host": host}}]}]);
    let rule = |spec: Value| of("DestinationRule", "web", spec);
    vec![
        of("VirtualService", "web", json!({"hosts": ["web"], "http": route("web-v1")})),
        of(
            "VirtualService",
            "web",
            json!({"hosts": ["web", "ledger.bank.svc.cluster.local"], "http": route("a.example")}),
        ),
        of("VirtualService", "web", json!({"hosts": ["web"], "exportTo": ["bank"], "http": route("web")})),
        of("VirtualService", "web", json!({"hosts": ["web"], "tcp": route("db")})),
        of(
            "VirtualService",
            "web",
            json!({"hosts": ["web"], "http": [{"match": [{"uri": {"prefix": "/a"}}], "delegate": {"name": "part"}}]}),
        ),
        of(
            "VirtualService",
            "web",
            json!({"hosts": ["web"], "http": [{"match": [{"sourceLabels": {"version": "v1"}}],
            "route": [{"destination": {"host": "web", "subset": "v1"}}]}]}),
        ),
        of(
            "VirtualService",
            "web",
            json!({"hosts": ["web"], "tls": [{"match": [{"sniHosts": ["web"], "port": 80}],
            "route": [{"destination": {"host": "db"}}]}]}),
        ),
        of("VirtualService", "star", json!({"hosts": ["*.example"], "http": route("*.example")})),
        rule(json!({"host": "*.example", "subsets": [{"name": "a"}]})),
        of("VirtualService", "part", json!({"http": route("web-v1")})),
        of("VirtualService", "part", json!({"hosts": ["web"], "http": route("web")})),
        born(
            of(
                "VirtualService",
                "old",
                json!({"hosts": ["web.shop.svc.cluster.local"], "http": route("web")}),
            ),
            2020,
        ),
        with(
            of(
                "VirtualService",
                "foreign",
                json!({"hosts": ["web.shop.svc.cluster.local"], "http": route("ledger")}),
            ),
            json!({"metadata": {"namespace": "bank"}}),
        ),
        of("VirtualService", "ext", json!({"hosts": ["a.example"], "http": route("web")})),
        rule(json!({"host": "web", "subsets": [{"name": "v1", "labels": {"version": "v1"}}]})),
        rule(json!({"host": "web-v1", "trafficPolicy": {"loadBalancer": {"simple": "RANDOM"}}})),
        rule(json!({"host": "web", "trafficPolicy": {"tls": {"mode": "SIMPLE", "credentialName": "cred"}}})),
        rule(
            json!({"host": "web", "trafficPolicy": {"tls": {"mode": "SIMPLE", "credentialName": "configmap://roots"}}}),
        ),
        rule(
            json!({"host": "web", "trafficPolicy": {"loadBalancer": {"localityLbSetting": {"failoverPriority": ["team"]}},
            "outlierDetection": {}}}),
        ),
        rule(json!({"host": "a.example", "trafficPolicy": {"tls": {"mode": "SIMPLE"}}})),
        born(
            of(
                "DestinationRule",
                "old",
                json!({"host": "web", "trafficPolicy": {"loadBalancer": {"simple": "ROUND_ROBIN"}},
            "subsets": [{"name": "v2", "labels": {"version": "v2"}}]}),
            ),
            2020,
        ),
        with(
            of(
                "DestinationRule",
                "root",
                json!({"host": "web.shop.svc.cluster.local", "trafficPolicy": {"loadBalancer": {"simple": "RANDOM"}}}),
            ),
            json!({"metadata": {"namespace": "istio-system"}}),
        ),
        with(
            of(
                "DestinationRule",
                "foreign",
                json!({"host": "web.shop.svc.cluster.local", "trafficPolicy": {"loadBalancer": {"simple": "RANDOM"}}}),
            ),
            json!({"metadata": {"namespace": "bank"}}),
        ),
    ]
}

fn entries() -> Vec<Value> {
    let entry = |name: &str, spec: Value| {
        json!({"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry",
            "metadata": {"name": name, "namespace": "shop"}, "spec": with(json!({
                "hosts": ["a.example"], "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}]}), spec)})
    };
    let machine = |spec: Value| {
        json!({"apiVersion": "networking.istio.io/v1", "kind": "WorkloadEntry",
            "metadata": {"name": "vm", "namespace": "shop"}, "spec": spec})
    };
    let at = |ip: &str| json!({"resolution": "STATIC", "endpoints": [{"address": ip, "labels": {"version": "v1"}}]});
    vec![
        entry("a", at("192.0.2.7")),
        entry("a", at("10.0.0.1")),
        labelled(entry("a", at("192.0.2.7")), json!({"weft.dev/waypoint": "wp"})),
        labelled(entry("a", json!({"resolution": "DNS"})), json!({"weft.dev/waypoint": "wp"})),
        entry(
            "a",
            json!({"hosts": ["a.example", "b.example"], "resolution": "STATIC",
            "workloadSelector": {"labels": {"app": "web"}}}),
        ),
        entry("a", json!({"resolution": "NONE", "addresses": ["192.0.2.0/24"]})),
        born(entry("older", at("192.0.2.8")), 2020),
        born(
            entry("older", with(at("192.0.2.8"), json!({"hosts": ["b.example"], "addresses": ["10.1.0.1"]}))),
            2020,
        ),
        with(entry("a", at("192.0.2.9")), json!({"metadata": {"namespace": "bank"}})),
        labelled(
            entry("star", json!({"hosts": ["*.example"], "resolution": "DYNAMIC_DNS"})),
            json!({"weft.dev/waypoint": "wp"}),
        ),
        with(
            entry("star", json!({"hosts": ["*.example"], "resolution": "DYNAMIC_DNS"})),
            json!({"metadata": {"namespace": "bank"}}),
        ),
        with(
            entry("a", at("10.0.0.3")),
            json!({"metadata": {"namespace": "bank", "labels": {
            "weft.dev/waypoint": "wp", "weft.dev/waypoint-namespace": "shop"}}}),
        ),
        machine(json!({"address": "192.0.2.20", "labels": {"app": "web"}})),
        machine(json!({"address": "10.0.0.1", "labels": {"app": "web", "version": "v1"}})),
        machine(json!({"address": "192.0.2.1", "labels": {"app": "db"}})),
    ]
}

fn policies() -> Vec<Value> {
    let aimed = |target: Value| authorization("r", json!({"targetRefs": [target], "rules": [{}]}));
    let roots = |object: Value| with(object, json!({"metadata": {"namespace": "istio-system"}}));
    let gateway = "gateway.networking.k8s.io";
    vec![
        authorization("p", json!({"selector": {"matchLabels": {"app": "web"}}, "rules": [{}]})),
        authorization("p", json!({"action": "DENY", "rules": [{}]})),
        authorization("p", json!({"selector": {"matchLabels": {"version": "v1"}}})),
        roots(authorization("p", json!({"selector": {"matchLabels": {"app": "web"}}}))),
        roots(authorization("p", json!({}))),
        aimed(json!({"group": "", "kind": "Service", "name": "web"})),
        aimed(json!({"group": "", "kind": "Service", "name": "web-v1"})),
        aimed(json!({"group": gateway, "kind": "Gateway", "name": "wp"})),
        with(
            aimed(json!({"group": "", "kind": "Service", "name": "ledger"})),
            json!({"metadata": {"namespace": "bank"}}),
        ),
        with(
            aimed(json!({"group": gateway, "kind": "Gateway", "name": "wp3"})),
            json!({"metadata": {"namespace": "bank"}}),
        ),
        aimed(json!({"group": "networking.istio.io", "kind": "ServiceEntry", "name": "a"})),
        roots(aimed(json!({"group": gateway, "kind": "GatewayClass", "name": "weft-waypoint"}))),
        peer("shop", "own", json!({"selector": {"matchLabels": {"app": "web"}}, "mtls": {"mode": "STRICT"}})),
        peer(
            "shop",
            "own",
            json!({"selector": {"matchLabels": {"app": "web"}}, "portLevelMtls": {"8080": {"mode": "PERMISSIVE"}}}),
        ),
        peer("shop", "shop", json!({"mtls": {"mode": "STRICT"}})),
        peer("shop", "shop", json!({"mtls": {"mode": "PERMISSIVE"}})),
        peer("istio-system", "mesh", json!({"mtls": {"mode": "STRICT"}})),
    ]
}

fn telemetries() -> Vec<Value> {
    let one = |namespace: &str, name: &str, spec: Value| {
        json!({"apiVersion": "telemetry.istio.io/v1", "kind": "Telemetry",
            "metadata": {"name": name, "namespace": namespace},
            "spec": with(json!({"tracing": [{"randomSamplingPercentage": 10.0}]}), spec)})
    };
    let target = |group: &str, kind: &str, name: &str| json!({"targetRefs": [{"group": group, "kind": kind, "name": name}]});
    vec![
        one("istio-system", "mesh", json!({})),
        one("shop", "shop", json!({})),
        born(one("shop", "older", json!({})), 2020),
        one("shop", "web", target("", "Service", "web")),
        one("shop", "web", target("gateway.networking.k8s.io", "Gateway", "wp")),
        one("shop", "web", target("networking.istio.io", "ServiceEntry", "a")),
        born(one("shop", "two", target("", "Service", "web")), 2020),
        one("bank", "bank", json!({})),
        one("bank", "bank", target("", "Service", "ledger")),
        one("istio-system", "class", target("gateway.networking.k8s.io", "GatewayClass", "weft-waypoint")),
    ]
}
