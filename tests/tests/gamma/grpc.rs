//! Header modifiers of GRPCRoutes.

use anyhow::ensure;
use weft_tests::requests::calls;

use crate::Case;
use crate::headers::arrived;

/// A method of the Service's servers: they take any.
pub(crate) const ECHO: &str = "http://echo:7070/weft.test.Greeter/Echo";

pub(crate) const HEADERS: Case = Case {
    test: "MeshGRPCRouteRequestHeaderModifier",
    manifest: "
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: headers, namespace: mesh}
spec:
  parentRefs: [{group: '', kind: Service, name: echo, port: 7070}]
  rules:
  - matches:
    - method: {service: weft.test.Greeter, method: Echo}
      headers: [{name: x-test-case, value: set}]
    filters:
    - type: RequestHeaderModifier
      requestHeaderModifier: {set: [{name: X-Header-Set, value: set-overwrites-values}]}
    backendRefs: [{name: echo-v1, port: 7070}]
  - matches:
    - method: {service: weft.test.Greeter, method: Echo}
      headers: [{name: x-test-case, value: add}]
    filters:
    - type: RequestHeaderModifier
      requestHeaderModifier: {add: [{name: X-Header-Add, value: add-appends-values}]}
    backendRefs: [{name: echo-v1, port: 7070}]
  - matches:
    - method: {service: weft.test.Greeter, method: Echo}
      headers: [{name: x-test-case, value: remove}]
    filters:
    - type: RequestHeaderModifier
      requestHeaderModifier: {remove: [X-Header-Remove]}
    backendRefs: [{name: echo-v1, port: 7070}]
  - matches:
    - method: {service: weft.test.Greeter, method: Echo}
      headers: [{name: x-test-case, value: multi}]
    filters:
    - type: RequestHeaderModifier
      requestHeaderModifier:
        set: [{name: X-Header-Set-1, value: header-set-1}, {name: X-Header-Set-2, value: header-set-2}]
        add: [{name: X-Header-Add-1, value: header-add-1}, {name: X-Header-Add-2, value: header-add-2}]
        remove: [X-Header-Remove-1, X-Header-Remove-2]
    backendRefs: [{name: echo-v2, port: 7070}]
",
    holds: |scene| {
        for (case, client, server, sent, there, gone) in [
            (
                "set",
                &scene.v1,
                &scene.v1,
                &[("some-other-header", "stays"), ("x-header-set", "is-overwritten")][..],
                &[("some-other-header", "stays"), ("x-header-set", "set-overwrites-values")][..],
                &[][..],
            ),
            (
                "add",
                &scene.v1,
                &scene.v1,
                &[("x-header-add", "is-appended-to")],
                &[("x-header-add", "is-appended-to,add-appends-values")],
                &[],
            ),
            ("remove", &scene.v1, &scene.v1, &[("x-header-remove", "goes")], &[], &["x-header-remove"]),
            (
                "multi",
                &scene.v2,
                &scene.v2,
                &[
                    ("x-header-set-2", "is-overwritten"),
                    ("x-header-add-2", "add-val-2"),
                    ("x-header-remove-2", "goes"),
                ],
                &[
                    ("x-header-set-1", "header-set-1"),
                    ("x-header-set-2", "header-set-2"),
                    ("x-header-add-1", "header-add-1"),
                    ("x-header-add-2", "add-val-2,header-add-2"),
                ],
                &["x-header-remove-1", "x-header-remove-2"],
            ),
        ] {
            let asked = calls(client, ECHO).with(&[("x-test-case", case)]).with(sent);
            asked.arrives(server, |got| {
                ensure!(
                    got.protocol == "gRPC" && got.host == "echo:7070",
                    "{} of {}",
                    got.protocol,
                    got.host
                );
                arrived(got, &[("x-test-case", case)], &[])?;
                arrived(got, there, gone)
            })?;
        }
        Ok(())
    },
};
