//! A waypoint from its manifests to what its instance and node proxies are told.

use crate::control::{Control, DEADLINE, until};
use std::collections::BTreeMap;
use std::sync::Arc;
use weft_core::names::{NetworkAddr, ServiceName, WorkloadUid};
use weft_core::snapshot::Snapshot;
use weft_core::waypoint::{choose_waypoint, is_guarded, stands_before};
use weft_core::workload::TunnelProtocol;
use weft_l7::policy::{Policy, PolicyScope};
use weft_l7::telemetry::{Sink, Telemetry};
use weft_l7::traffic::Traffic;
use weft_proto::{ADDRESS_TYPE, AUTHORIZATION_TYPE, REQUEST_POLICY_TYPE, TELEMETRY_TYPE, TRAFFIC_TYPE};
use weft_xds::{AgentPods, Effect, Mesh, Model, Resource, Role};

/// What a waypoint subscribes to.
enum Waypoint {}

#[derive(Debug, Clone, Default)]
struct Told {
    mesh: Snapshot,
    policies: BTreeMap<String, Policy>,
    traffic: BTreeMap<String, Traffic>,
    telemetries: BTreeMap<String, Telemetry>,
}

impl Model for Waypoint {
    type Snapshot = Told;

    const TYPES: &'static [&'static str] =
        &[AUTHORIZATION_TYPE, REQUEST_POLICY_TYPE, TRAFFIC_TYPE, TELEMETRY_TYPE, ADDRESS_TYPE];

    fn insert(
        told: &mut Told,
        type_url: &'static str,
        name: &str,
        body: &[u8],
    ) -> Result<(), (Effect, Arc<str>)> {
        match type_url {
            REQUEST_POLICY_TYPE => {
                let json = weft_proto::decode_request_policy(body).unwrap();
                told.policies.insert(name.to_owned(), serde_json::from_slice(&json).unwrap());
            }
            TRAFFIC_TYPE => {
                let json = weft_proto::decode_traffic(body).unwrap();
                told.traffic.insert(name.to_owned(), serde_json::from_slice(&json).unwrap());
            }
            TELEMETRY_TYPE => {
                let json = weft_proto::decode_telemetry(body).unwrap();
                told.telemetries.insert(name.to_owned(), serde_json::from_slice(&json).unwrap());
            }
            _ => return Mesh::insert(&mut told.mesh, type_url, name, body),
        }
        Ok(())
    }

    fn remove(told: &mut Told, type_url: &'static str, name: &str) {
        match type_url {
            REQUEST_POLICY_TYPE => _ = told.policies.remove(name),
            TRAFFIC_TYPE => _ = told.traffic.remove(name),
            TELEMETRY_TYPE => _ = told.telemetries.remove(name),
            _ => Mesh::remove(&mut told.mesh, type_url, name),
        }
    }

    fn resources(_: &Told) -> Vec<Resource> {
        Vec::new()
    }

    fn knows(told: &Told, addr: &NetworkAddr) -> bool {
        Mesh::knows(&told.mesh, addr)
    }
}

const WAYPOINT: &str = r#"
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: wp, namespace: default }
spec:
  gatewayClassName: weft-waypoint
  listeners: [{ name: mesh, port: 15008, protocol: HBONE }]
---
apiVersion: v1
kind: Pod
metadata:
  name: wp-1
  namespace: default
  uid: 11111111-0000-4000-8000-000000000009
  labels: { gateway.networking.k8s.io/gateway-name: wp }
spec:
  nodeName: n1
  serviceAccountName: wp
  containers: [{ name: waypoint, image: weft }]
status: { phase: Running, podIP: 10.0.0.9, podIPs: [{ ip: 10.0.0.9 }] }
"#;

const SERVICE: &str = r#"
apiVersion: v1
kind: Service
metadata: { name: web, namespace: default, labels: { weft.dev/waypoint: wp } }
spec:
  clusterIP: 10.1.0.1
  selector: { app: web }
  ports: [{ name: http, port: 80, targetPort: 8080 }]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: web, namespace: default }
spec:
  host: web
  subsets: [{ name: v1, labels: { app: web } }]
"#;

const POLICY: &str = r#"
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: read-only, namespace: default }
spec:
  targetRefs: [{ group: "", kind: Service, name: web }]
  rules:
  - to: [{ operation: { methods: [GET] } }]
"#;

const TELEMETRY: &str = r#"
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: { name: errors, namespace: default }
spec:
  targetRefs: [{ group: "", kind: Service, name: web }]
  accessLogging:
  - providers: [{ name: my-als }]
    filter: { expression: "response.code >= 400" }
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_waypoint_stands_before_the_service_that_asks_for_it() {
    let control = Control::start();
    let web = ServiceName::new("default", "web.default.svc.cluster.local");
    let uid = |pod: &str| WorkloadUid::new(format!("Kubernetes//Pod/default/{pod}"));
    let (mut proxy, _proxy) = control.client::<Mesh>(Role::NodeProxy, "weft-node-proxy");
    control.write("service.yaml", SERVICE);
    until(&mut proxy, |now| now.service(&web).is_some()).await;
    assert!(proxy.now().service(&web).unwrap().waypoint.is_none());
    let problems = || control.get("/status");
    assert!(problems().contains("there is no Gateway default/wp: traffic goes without a waypoint"));

    control.write("waypoint.yaml", WAYPOINT);
    until(&mut proxy, |now| now.service(&web).is_some_and(|web| web.waypoint.is_some())).await;
    assert!(!problems().contains("there is no Gateway"), "{}", problems());
    until(&mut proxy, |now| now.workload(&uid("wp-1")).is_some()).await;
    let now = proxy.now();
    let (client, gateway) =
        (now.workload(&uid("web-1")).unwrap(), now.service(&web).unwrap().waypoint.clone());
    let mut first = |_: u64| 0;
    let chosen = choose_waypoint(&now, &gateway.unwrap(), client, &mut first).unwrap();
    assert_eq!((&*chosen.name, chosen.protocol, chosen.native_tunnel), ("wp-1", TunnelProtocol::Hbone, true));
    assert!(stands_before(&now, chosen, client, 8080), "it may say for whom it speaks");
    assert!(!is_guarded(&now, client, 8080), "there is no policy yet");
    assert!(client.labels.is_empty(), "labels are for waypoints");

    let settings = control.settings_of("default", "wp", "wp-1", "11111111-0000-4000-8000-000000000009");
    let (mut waypoint, _waypoint) =
        control.client_of::<Waypoint>(Role::Waypoint, ("default", "wp-1"), settings);
    until(&mut waypoint, |told| told.mesh.service(&web).is_some()).await;
    let told = waypoint.now();
    assert_eq!(told.traffic.keys().collect::<Vec<_>>(), [&web.to_string()]);
    assert_eq!(told.mesh.workload(&uid("web-1")).unwrap().labels.get("app").map(|app| &**app), Some("web"));

    control.write("read-only.yaml", POLICY);
    until(&mut waypoint, |told| told.policies.len() == 1).await;
    let scope = waypoint.now().policies["default/read-only"].scope.clone();
    assert_eq!(scope, PolicyScope::Services(vec![web.clone()]));
    until(&mut proxy, |now| is_guarded(now, now.workload(&uid("web-1")).unwrap(), 8080)).await;
    assert!(proxy.now().policies().all(|policy| &*policy.name.name != "read-only"), "proxies leave it alone");
    // A provider that nobody has named refuses it.
    control.write("errors.yaml", TELEMETRY);
    until_told(|| problems().contains("is no provider that is known here")).await;
    control.write("errors.yaml", &TELEMETRY.replace("my-als", "otlp"));
    until(&mut waypoint, |told| told.telemetries.len() == 1).await;
    let telemetry = waypoint.now().telemetries["default/errors"].clone();
    assert_eq!(telemetry.scope, PolicyScope::Services(vec![web.clone()]));
    assert_eq!(telemetry.logging[0].sinks, [Sink::Otlp]);
    control.write("errors.yaml", "");
    until(&mut waypoint, |told| told.telemetries.is_empty()).await;

    let (mut agent, _agent) = control.client::<AgentPods>(Role::Agent, "weft-agent");
    until(&mut agent, |pods| pods.contains_key(&uid("wp-1"))).await;
    let membership = agent.now()[&uid("wp-1")].membership;
    assert_eq!(membership, weft_core::enrolment::Membership::Outside);

    // Without its Gateway policy is not skipped: nobody comes past what is not there.
    control.write("waypoint.yaml", "");
    until(&mut proxy, |now| now.service(&web).is_some_and(|web| web.waypoint.is_none())).await;
    assert!(proxy.now().service(&web).unwrap().guarded);
    assert!(problems().contains("connections to its pods are refused"), "{}", problems());
}

/// Waits until it is so.
async fn until_told(is: impl Fn() -> bool) {
    let wait = async {
        while !is() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.expect("it is told in time");
}
