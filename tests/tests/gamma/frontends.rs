//! Which traffic a route is for: the Service's, at the port that it names, of the clients whose namespace it is in.

use weft_tests::requests::{asks, has};

use crate::Case;

/// What routes leave on answers.
const MARK: &str = "x-header-set";

pub(crate) const BASIC: Case = Case {
    test: "MeshBasic",
    manifest: "",
    holds: |scene| asks(&scene.v1, "http://echo/").is_answered(200, |_| Ok(())),
};

pub(crate) const CONSUMER: Case = Case {
    test: "MeshConsumerRoute",
    manifest: "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: consumer, namespace: consumer}
spec:
  parentRefs: [{group: '', kind: Service, name: echo-v1, namespace: mesh, port: 80}]
  rules:
  - filters:
    - type: ResponseHeaderModifier
      responseHeaderModifier: {set: [{name: X-Header-Set, value: set}]}
    backendRefs: [{name: echo-v1, namespace: mesh, port: 80}]
",
    holds: |scene| {
        let url = &scene.url_of("echo-v1");
        asks(&scene.consumer, url).is_answered(200, |answer| has(answer, MARK, Some("set")))?;
        asks(&scene.v1, url).is_answered(200, |answer| has(answer, MARK, None))?;
        asks(&scene.v1, url).reaches(&scene.v1)
    },
};

const FRONT_OF_V2: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: front, namespace: mesh}
spec:
  parentRefs: [{group: '', kind: Service, name: echo-v2}]
  hostnames: [echo-v2]
  rules:
  - filters:
    - type: ResponseHeaderModifier
      responseHeaderModifier: {set: [{name: X-Header-Set, value: set}]}
    backendRefs: [{name: echo-v2, port: 80}]
";

/// It is the Service's address that counts, not what a request says of its host.
pub(crate) const HOSTNAME: Case = Case {
    test: "MeshFrontendHostname",
    manifest: FRONT_OF_V2,
    holds: |scene| {
        let under_a_wrong_name = asks(&scene.v1, "http://echo-v2/").with(&[("host", "echo-v1")]);
        under_a_wrong_name.is_answered(200, |answer| has(answer, MARK, Some("set")))?;
        under_a_wrong_name.reaches(&scene.v2)?;
        let at_another_service = asks(&scene.v1, "http://echo-v1/").with(&[("host", "echo-v2")]);
        at_another_service.is_answered(200, |answer| has(answer, MARK, None))?;
        at_another_service.reaches(&scene.v1)
    },
};

pub(crate) const FRONTEND: Case = Case {
    test: "MeshFrontend",
    manifest: FRONT_OF_V2,
    holds: |scene| {
        let service = asks(&scene.v1, "http://echo-v2/");
        service.is_answered(200, |answer| has(answer, MARK, Some("set")))?;
        service.reaches(&scene.v2)?;
        for addr in [scene.v2.addr(8080), scene.v2.addr6(8080)] {
            let pod = asks(&scene.v1, &format!("http://{addr}/"));
            pod.is_answered(200, |answer| has(answer, MARK, None))?;
            pod.reaches(&scene.v2)?;
        }
        Ok(())
    },
};

pub(crate) const PORTS: Case = Case {
    test: "MeshPorts",
    manifest: "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: one-port, namespace: mesh}
spec:
  parentRefs: [{group: '', kind: Service, name: echo-v1, port: 80}]
  rules:
  - filters:
    - type: ResponseHeaderModifier
      responseHeaderModifier: {set: [{name: X-Header-Set, value: v1}]}
    backendRefs: [{name: echo-v1, port: 80}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: all-ports, namespace: mesh}
spec:
  parentRefs: [{group: '', kind: Service, name: echo-v2}]
  rules:
  - filters:
    - type: ResponseHeaderModifier
      responseHeaderModifier: {set: [{name: X-Header-Set, value: v2}]}
    backendRefs: [{name: echo-v2, port: 80}]
",
    holds: |scene| {
        for (url, want, pod) in [
            ("http://echo-v1/", Some("v1"), &scene.v1),
            ("http://echo-v1:8080/", None, &scene.v1),
            ("http://echo-v2/", Some("v2"), &scene.v2),
            ("http://echo-v2:8080/", Some("v2"), &scene.v2),
        ] {
            asks(&scene.v1, url).is_answered(200, |answer| has(answer, MARK, want))?;
            asks(&scene.v1, url).reaches(pod)?;
        }
        Ok(())
    },
};
