//! Header modifiers of requests, of a rule and of a backend.

use anyhow::{Context as _, Result, ensure};
use weft_testkit::report::Hello;
use weft_tests::requests::asks;

use crate::Case;
use crate::scene::Scene;

/// What is sent to a path; then, what arrives, and what does not.
type Row = (&'static str, Fields, Fields, &'static [&'static str]);
type Fields = &'static [(&'static str, &'static str)];

const ROWS: [Row; 7] = [
    (
        "/set",
        &[("Some-Other-Header", "val")],
        &[("Some-Other-Header", "val"), ("X-Header-Set", "set-overwrites-values")],
        &[],
    ),
    (
        "/set",
        &[("Some-Other-Header", "val"), ("X-Header-Set", "some-other-value")],
        &[("Some-Other-Header", "val"), ("X-Header-Set", "set-overwrites-values")],
        &[],
    ),
    (
        "/add",
        &[("Some-Other-Header", "val")],
        &[("Some-Other-Header", "val"), ("X-Header-Add", "add-appends-values")],
        &[],
    ),
    (
        "/add",
        &[("Some-Other-Header", "val"), ("X-Header-Add", "some-other-value")],
        &[("Some-Other-Header", "val"), ("X-Header-Add", "some-other-value,add-appends-values")],
        &[],
    ),
    ("/remove", &[("X-Header-Remove", "val")], &[], &["X-Header-Remove"]),
    (
        "/multiple",
        &[
            ("X-Header-Set-2", "set-val-2"),
            ("X-Header-Add-2", "add-val-2"),
            ("X-Header-Remove-2", "remove-val-2"),
            ("Another-Header", "another-header-val"),
        ],
        &[
            ("X-Header-Set-1", "header-set-1"),
            ("X-Header-Set-2", "header-set-2"),
            ("X-Header-Add-1", "header-add-1"),
            ("X-Header-Add-2", "add-val-2,header-add-2"),
            ("X-Header-Add-3", "header-add-3"),
            ("Another-Header", "another-header-val"),
        ],
        &["X-Header-Remove-1", "X-Header-Remove-2"],
    ),
    (
        "/case-insensitivity",
        &[
            ("x-header-set", "original-val-set"),
            ("x-header-add", "original-val-add"),
            ("x-header-remove", "original-val-remove"),
            ("Another-Header", "another-header-val"),
        ],
        &[
            ("X-Header-Set", "header-set"),
            ("X-Header-Add", "original-val-add,header-add"),
            ("Another-Header", "another-header-val"),
        ],
        &["X-Header-Remove"],
    ),
];

fn are_modified(scene: &Scene) -> Result<()> {
    for (path, sent, there, gone) in ROWS {
        asks(&scene.v1, &format!("http://echo{path}")).with(sent).arrives(&scene.v1, |got| {
            ensure!(got.path == path, "it got {}", got.path);
            arrived(got, there, gone)
        })?;
    }
    Ok(())
}

pub(crate) const OF_A_RULE: Case = Case {
    test: "MeshHTTPRouteRequestHeaderModifier",
    manifest: "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: headers, namespace: mesh}
spec:
  parentRefs: [{group: '', kind: Service, name: echo, port: 80}]
  rules:
  - matches: [{path: {type: PathPrefix, value: /set}}]
    filters:
    - type: RequestHeaderModifier
      requestHeaderModifier: {set: [{name: X-Header-Set, value: set-overwrites-values}]}
    backendRefs: [{name: echo-v1, port: 80}]
  - matches: [{path: {type: PathPrefix, value: /add}}]
    filters:
    - type: RequestHeaderModifier
      requestHeaderModifier: {add: [{name: X-Header-Add, value: add-appends-values}]}
    backendRefs: [{name: echo-v1, port: 80}]
  - matches: [{path: {type: PathPrefix, value: /remove}}]
    filters:
    - type: RequestHeaderModifier
      requestHeaderModifier: {remove: [X-Header-Remove]}
    backendRefs: [{name: echo-v1, port: 80}]
  - matches: [{path: {type: PathPrefix, value: /multiple}}]
    filters:
    - type: RequestHeaderModifier
      requestHeaderModifier:
        set: [{name: X-Header-Set-1, value: header-set-1}, {name: X-Header-Set-2, value: header-set-2}]
        add:
        - {name: X-Header-Add-1, value: header-add-1}
        - {name: X-Header-Add-2, value: header-add-2}
        - {name: X-Header-Add-3, value: header-add-3}
        remove: [X-Header-Remove-1, X-Header-Remove-2]
    backendRefs: [{name: echo-v1, port: 80}]
  - matches: [{path: {type: PathPrefix, value: /case-insensitivity}}]
    filters:
    - type: RequestHeaderModifier
      requestHeaderModifier:
        set: [{name: X-Header-Set, value: header-set}]
        add: [{name: X-Header-Add, value: header-add}]
        remove: [X-Header-Remove]
    backendRefs: [{name: echo-v1, port: 80}]
",
    holds: are_modified,
};

pub(crate) const OF_A_BACKEND: Case = Case {
    test: "MeshHTTPRouteBackendRequestHeaderModifier",
    manifest: "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: headers-of-a-backend, namespace: mesh}
spec:
  parentRefs: [{group: '', kind: Service, name: echo, port: 80}]
  rules:
  - matches: [{path: {type: PathPrefix, value: /set}}]
    backendRefs:
    - name: echo-v1
      port: 80
      filters:
      - type: RequestHeaderModifier
        requestHeaderModifier: {set: [{name: X-Header-Set, value: set-overwrites-values}]}
  - matches: [{path: {type: PathPrefix, value: /add}}]
    backendRefs:
    - name: echo-v1
      port: 80
      filters:
      - type: RequestHeaderModifier
        requestHeaderModifier: {add: [{name: X-Header-Add, value: add-appends-values}]}
  - matches: [{path: {type: PathPrefix, value: /remove}}]
    backendRefs:
    - name: echo-v1
      port: 80
      filters:
      - type: RequestHeaderModifier
        requestHeaderModifier: {remove: [X-Header-Remove]}
  - matches: [{path: {type: PathPrefix, value: /multiple}}]
    backendRefs:
    - name: echo-v1
      port: 80
      filters:
      - type: RequestHeaderModifier
        requestHeaderModifier:
          set: [{name: X-Header-Set-1, value: header-set-1}, {name: X-Header-Set-2, value: header-set-2}]
          add:
          - {name: X-Header-Add-1, value: header-add-1}
          - {name: X-Header-Add-2, value: header-add-2}
          - {name: X-Header-Add-3, value: header-add-3}
          remove: [X-Header-Remove-1, X-Header-Remove-2]
  - matches: [{path: {type: PathPrefix, value: /case-insensitivity}}]
    backendRefs:
    - name: echo-v1
      port: 80
      filters:
      - type: RequestHeaderModifier
        requestHeaderModifier:
          set: [{name: X-Header-Set, value: header-set}]
          add: [{name: X-Header-Add, value: header-add}]
          remove: [X-Header-Remove]
",
    holds: are_modified,
};

/// These headers arrived with these values, and those did not.
pub(crate) fn arrived(hello: &Hello, there: &[(&str, &str)], gone: &[&str]) -> Result<()> {
    for (name, value) in there {
        let found = hello.headers.get(&name.to_ascii_lowercase()).with_context(|| format!("no {name}"))?;
        // Values of one name may come in one line or in several (RFC 9110, section 5.3).
        let found: Vec<&str> = found.split(',').map(str::trim).collect();
        ensure!(found == value.split(',').collect::<Vec<_>>(), "{name} is {found:?}, not {value}");
    }
    for name in gone {
        ensure!(!hello.headers.contains_key(&name.to_ascii_lowercase()), "{name} is still there");
    }
    Ok(())
}
