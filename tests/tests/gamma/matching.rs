//! Which rule takes a request.

use anyhow::{Context as _, ensure};
use weft_tests::requests::asks;
use weft_tests::waiting::eventually;

use crate::Case;
use crate::scene::PATIENCE;

pub(crate) const SAME_NAMESPACE: Case = Case {
    test: "MeshHTTPRouteSimpleSameNamespace",
    manifest: "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: simple, namespace: mesh}
spec:
  parentRefs: [{group: '', kind: Service, name: echo, port: 80}]
  rules: [{backendRefs: [{name: echo-v1, port: 80}]}]
",
    holds: |scene| asks(&scene.v1, "http://echo/").reaches(&scene.v1),
};

pub(crate) const PATHS_AND_HEADERS: Case = Case {
    test: "MeshHTTPRouteMatching",
    manifest: "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: matching, namespace: mesh}
spec:
  parentRefs: [{group: '', kind: Service, name: echo, port: 80}]
  rules:
  - matches:
    - path: {type: PathPrefix, value: /}
    - headers: [{name: version, value: one}]
    backendRefs: [{name: echo-v1, port: 80}]
  - matches:
    - path: {type: PathPrefix, value: /v2}
    - headers: [{name: version, value: two}]
    backendRefs: [{name: echo-v2, port: 80}]
",
    holds: |scene| {
        for (path, headers, pod) in [
            ("/", &[][..], &scene.v1),
            ("/example", &[], &scene.v1),
            ("/", &[("Version", "one")], &scene.v1),
            ("/v2", &[], &scene.v2),
            ("/v2/example", &[], &scene.v2),
            ("/", &[("Version", "two")], &scene.v2),
            ("/v2/", &[], &scene.v2),
            // No segment of its own.
            ("/v2example", &[], &scene.v1),
            ("/foo/v2/example", &[], &scene.v1),
        ] {
            asks(&scene.v1, &format!("http://echo{path}")).with(headers).reaches(pod)?;
        }
        Ok(())
    },
};

pub(crate) const QUERY_PARAMETERS: Case = Case {
    test: "MeshHTTPRouteQueryParamMatching",
    manifest: "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: query, namespace: mesh}
spec:
  parentRefs: [{group: '', kind: Service, name: echo, port: 80}]
  rules:
  - matches: [{queryParams: [{name: animal, value: whale}]}]
    backendRefs: [{name: echo-v1, port: 80}]
  - matches: [{queryParams: [{name: animal, value: dolphin}]}]
    backendRefs: [{name: echo-v2, port: 80}]
  - matches:
    - path: {type: PathPrefix, value: /path1}
      queryParams: [{name: animal, value: whale}]
    backendRefs: [{name: echo-v1, port: 80}]
  - matches:
    - headers: [{name: version, value: one}]
      queryParams: [{name: animal, value: whale}]
    backendRefs: [{name: echo-v2, port: 80}]
  - matches:
    - path: {type: PathPrefix, value: /path3}
      queryParams: [{name: animal, value: shark}]
    - path: {type: PathPrefix, value: /path4}
      queryParams: [{name: animal, value: kraken}]
      headers: [{name: version, value: three}]
    backendRefs: [{name: echo-v1, port: 80}]
  - matches: [{queryParams: [{name: animal, value: hydra}]}]
    backendRefs: [{name: echo-v2, port: 80}]
  - matches:
    - path: {type: PathPrefix, value: /path5}
    backendRefs: [{name: echo-v1, port: 80}]
",
    holds: |scene| {
        for (path, headers, pod) in [
            ("/?animal=whale", &[][..], Some(&scene.v1)),
            ("/?animal=dolphin", &[], Some(&scene.v2)),
            ("/?animal=whale&otherparam=irrelevant", &[], Some(&scene.v1)),
            ("/?animal=dolphin&color=yellow", &[], Some(&scene.v2)),
            ("/?color=blue", &[], None),
            ("/?animal=dog", &[], None),
            ("/?animal=whaledolphin", &[], None),
            ("/", &[], None),
            ("/path1?animal=whale", &[], Some(&scene.v1)),
            ("/?animal=whale", &[("version", "one")], Some(&scene.v2)),
            ("/path3?animal=shark", &[], Some(&scene.v1)),
            ("/path4?animal=kraken", &[("version", "three")], Some(&scene.v1)),
            ("/?animal=shark", &[], None),
            ("/path4?animal=kraken", &[], None),
            // A longer path comes before a parameter.
            ("/path5?animal=hydra", &[], Some(&scene.v1)),
        ] {
            let asked = asks(&scene.v1, &format!("http://echo{path}")).with(headers);
            pod.map_or_else(|| asked.is_answered(404, |_| Ok(())), |pod| asked.reaches(pod))?;
        }
        Ok(())
    },
};

pub(crate) const NAMED_RULE: Case = Case {
    test: "MeshHTTPRouteNamedRule",
    manifest: "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: named, namespace: mesh}
spec:
  parentRefs: [{group: '', kind: Service, name: echo, port: 80}]
  rules:
  - name: a-rule-with-a-name
    matches: [{path: {type: PathPrefix, value: /named}}]
    backendRefs: [{name: echo-v1, port: 80}]
  - matches: [{path: {type: PathPrefix, value: /unnamed}}]
    filters:
    - type: URLRewrite
      urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /named}}
    backendRefs: [{name: echo-v2, port: 80}]
",
    holds: |scene| {
        for (path, pod) in [("/named", &scene.v1), ("/unnamed", &scene.v2)] {
            asks(&scene.v1, &format!("http://echo{path}")).arrives(pod, |got| {
                ensure!(got.path == "/named", "it got {}", got.path);
                Ok(())
            })?;
        }
        // Whoever looks for it finds it under its name.
        eventually("the access line has the rule's name", PATIENCE, || {
            let log = scene.waypoint.log();
            let mut lines = log.lines().filter(|line| line.contains("a-rule-with-a-name"));
            lines.next().map(drop).context("no line has it")
        })
    },
};
