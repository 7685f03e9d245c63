//! A folder with one mistake of each kind, and one without.

use super::*;
use weft_control_api::problem::Severity;

/// One mistake of each kind, and what is right beside it.
const SHOP: &str = r#"apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: shop, labels: {weft.dev/waypoint: gate}}
spec: {clusterIP: 10.96.0.1, selector: {app: reviews}, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: parts, namespace: shop, labels: {weft.dev/waypoint: gate}}
spec: {clusterIP: None, selector: {app: parts}, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: lost, namespace: shop, labels: {weft.dev/waypoint: nobody}}
spec: {clusterIP: 10.96.0.3, selector: {app: lost}, ports: [{name: http, port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gate, namespace: shop}
spec:
  gatewayClassName: weft-waypoint
  listeners: [{name: mesh, port: 15008, protocol: HBONE}]
---
apiVersion: v1
kind: Pod
metadata: {name: v1, namespace: shop, uid: u1, labels: {app: reviews, weft.dev/mesh: enabled}}
spec: {nodeName: node1, serviceAccountName: reviews, containers: [{name: app, ports: [{containerPort: 80}]}]}
status: {phase: Running, podIPs: [{ip: 10.0.0.1}], conditions: [{type: Ready, status: "True"}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews, namespace: shop}
spec: {host: reviews, subsets: [{name: v1, labels: {version: v1}}]}
"#;

const ROUTES: &str = r#"apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: shop}
spec:
  hosts: [reviews]
  http:
  - match: [{uri: {prefix: /a}}]
    route:
    - destination: {host: reviews, subset: v1}
      weight: 90
    - destination: {host: reviews, subset: v2}
      weight: 10
  - match: [{uri: {prefix: /a/b}}]
    route: [{destination: {host: revues}}]
  - route: [{destination: {host: reviews, port: {number: 81}}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: second, namespace: shop}
spec: {hosts: [reviews], http: [{route: [{destination: {host: reviews}}]}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: parts, namespace: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: parts}]
  rules:
  - backendRefs: [{name: parts, port: 80, weight: 0}, {name: nowhere, port: 80, weight: 0}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: who, namespace: shop}
spec:
  selector: {matchLabels: {app: reviews}}
  rules: [{from: [{source: {principals: [cluster.local/ns/shop/sa/client]}}]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: broken, namespace: shop}
spec:
  hosts: [lost]
  http:
  - route: [{destination: {host: lost}, wieght: 3}]
---
apiVersion: v1
kind: Service
metadata: {name: gate, namespace: shop, labels: {weft.dev/waypoint: gate}}
spec: {clusterIP: 10.96.0.4, selector: {app: gate}, ports: [{name: http, port: 80}]}
"#;

#[test]
fn every_mistake_is_told_with_file_line_and_field() {
    let temporary = tempfile::tempdir().expect("a folder");
    std::fs::write(temporary.path().join("shop.yaml"), SHOP).expect("it is written");
    std::fs::write(temporary.path().join("routes.yaml"), ROUTES).expect("it is written");
    let problems = folder(temporary.path(), IndexConfig::default()).expect("a folder");
    let told: Vec<String> = problems.iter().map(|one| format!("{} {one}", one.severity.as_str())).collect();
    for (file, begins, field, says) in [
        (
            "routes.yaml",
            "    - destination: {host: reviews, subset: v2}",
            "spec.http[0].route[1].destination.subset",
            "no subset v2",
        ),
        (
            "routes.yaml",
            "    route: [{destination: {host: revues",
            "spec.http[1].route[0].destination.host",
            "revues is no Service",
        ),
        (
            "routes.yaml",
            "  - match: [{uri: {prefix: /a/b",
            "spec.http[1]",
            "never takes a request: VirtualService shop/reviews rule 0",
        ),
        (
            "routes.yaml",
            "  - route: [{destination: {host: reviews, port",
            "spec.http[2].route[0].destination.port.number",
            "no port 81",
        ),
        (
            "routes.yaml",
            "spec: {hosts: [reviews], http",
            "spec.hosts[0]",
            "VirtualService shop/reviews, which is older, is for Service shop/reviews too",
        ),
        ("routes.yaml", "  - backendRefs", "spec.rules[0].backendRefs", "all zero"),
        ("routes.yaml", "  - backendRefs", "spec.rules[0].backendRefs[1]", "no Service shop/nowhere"),
        ("routes.yaml", "  rules: [{from", "spec.rules", "sees the waypoint's identity"),
        ("routes.yaml", "  - route: [{destination: {host: lost}", "spec.http[0].route[0].wieght", "unknown"),
        ("routes.yaml", "metadata: {name: gate", "metadata.name", "does not go through waypoint shop/gate"),
        (
            "shop.yaml",
            "spec: {clusterIP: None",
            "spec.clusterIP",
            "is headless and bound to waypoint shop/gate",
        ),
        (
            "shop.yaml",
            "metadata: {name: lost",
            "metadata.labels.weft.dev/waypoint",
            "there is no Gateway shop/nobody",
        ),
    ] {
        let text = if file == "shop.yaml" { SHOP } else { ROUTES };
        let line = text.lines().position(|line| line.starts_with(begins)).expect(begins) + 1;
        let is_it = |one: &&Problem| {
            one.source.ends_with(file)
                && one.line.is_some_and(|own| own as usize == line)
                && one.field == field
                && one.reason.contains(says)
        };
        assert!(
            problems.iter().any(|one| is_it(&one)),
            "{file}:{line}: {field}: {says} is not among\n{told:#?}"
        );
    }
}

#[test]
fn a_route_that_leads_nowhere_is_an_error_and_told_once() {
    let temporary = tempfile::tempdir().expect("a folder");
    std::fs::write(temporary.path().join("shop.yaml"), SHOP).expect("it is written");
    std::fs::write(temporary.path().join("routes.yaml"), ROUTES).expect("it is written");
    let problems = folder(temporary.path(), IndexConfig::default()).expect("a folder");
    for field in ["spec.http[1].route[0].destination.host", "spec.rules[0].backendRefs[1]"] {
        let told: Vec<_> = problems.iter().filter(|one| one.field == field).collect();
        assert!(matches!(told[..], [one] if one.severity == Severity::Error), "{field}: {told:#?}");
    }
}

#[test]
fn what_is_right_is_not_blamed() {
    let temporary = tempfile::tempdir().expect("a folder");
    let right = SHOP
        .replace("weft.dev/waypoint: nobody", "app: lost")
        .replace("clusterIP: None", "clusterIP: 10.96.0.2");
    std::fs::write(temporary.path().join("shop.yaml"), right).expect("it is written");
    let routes = ROUTES.split("---\n").next().unwrap_or_default();
    let routes = routes.replace("subset: v2", "subset: v1").replace("revues", "reviews").replace("81", "80");
    let routes = routes.replace("prefix: /a}", "prefix: /c}");
    std::fs::write(temporary.path().join("routes.yaml"), routes).expect("it is written");
    let problems = folder(temporary.path(), IndexConfig::default()).expect("a folder");
    assert!(problems.is_empty(), "{problems:#?}");
    assert!(
        folder(&temporary.path().join("shop.yaml"), IndexConfig::default()).is_err(),
        "that is no folder"
    );
}
