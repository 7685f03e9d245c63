//! Redirects: where to, and with which status. What a filter does not name stays as the request had it.

use anyhow::Result;
use weft_tests::requests::asks;

use crate::Case;
use crate::scene::Scene;

fn are_redirected(scene: &Scene, rows: &[(&str, u16, &str)]) -> Result<()> {
    for (path, status, location) in rows {
        asks(&scene.v1, &format!("http://echo{path}")).is_redirected(*status, location)?;
    }
    Ok(())
}

pub(crate) const HOST_AND_STATUS: Case = Case {
    test: "MeshHTTPRouteRedirectHostAndStatus",
    manifest: "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: redirect, namespace: mesh}
spec:
  parentRefs: [{group: '', kind: Service, name: echo, port: 80}]
  rules:
  - matches: [{path: {type: PathPrefix, value: /hostname-redirect}}]
    filters: [{type: RequestRedirect, requestRedirect: {hostname: example.org}}]
  - matches: [{path: {type: PathPrefix, value: /host-and-status}}]
    filters: [{type: RequestRedirect, requestRedirect: {hostname: example.org, statusCode: 301}}]
",
    holds: |scene| {
        are_redirected(
            scene,
            &[
                ("/hostname-redirect", 302, "http://example.org/hostname-redirect"),
                ("/host-and-status", 301, "http://example.org/host-and-status"),
            ],
        )
    },
};

pub(crate) const PATH: Case = Case {
    test: "MeshHTTPRouteRedirectPath",
    manifest: "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: redirect, namespace: mesh}
spec:
  parentRefs: [{group: '', kind: Service, name: echo, port: 80}]
  rules:
  - matches: [{path: {type: PathPrefix, value: /original-prefix}}]
    filters:
    - type: RequestRedirect
      requestRedirect: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /replacement-prefix}}
  - matches: [{path: {type: PathPrefix, value: /full}}]
    filters:
    - type: RequestRedirect
      requestRedirect: {path: {type: ReplaceFullPath, replaceFullPath: /full-path-replacement}}
  - matches: [{path: {type: PathPrefix, value: /path-and-host}}]
    filters:
    - type: RequestRedirect
      requestRedirect:
        hostname: example.org
        path: {type: ReplacePrefixMatch, replacePrefixMatch: /replacement-prefix}
  - matches: [{path: {type: PathPrefix, value: /path-and-status}}]
    filters:
    - type: RequestRedirect
      requestRedirect:
        path: {type: ReplacePrefixMatch, replacePrefixMatch: /replacement-prefix}
        statusCode: 301
  - matches: [{path: {type: PathPrefix, value: /full-path-and-host}}]
    filters:
    - type: RequestRedirect
      requestRedirect:
        hostname: example.org
        path: {type: ReplaceFullPath, replaceFullPath: /replacement-full}
  - matches: [{path: {type: PathPrefix, value: /full-path-and-status}}]
    filters:
    - type: RequestRedirect
      requestRedirect:
        path: {type: ReplaceFullPath, replaceFullPath: /replacement-full}
        statusCode: 301
",
    holds: |scene| {
        are_redirected(
            scene,
            &[
                ("/original-prefix/lemon", 302, "http://echo/replacement-prefix/lemon"),
                ("/full/path/original", 302, "http://echo/full-path-replacement"),
                ("/path-and-host", 302, "http://example.org/replacement-prefix"),
                ("/path-and-status", 301, "http://echo/replacement-prefix"),
                ("/full-path-and-host", 302, "http://example.org/replacement-full"),
                ("/full-path-and-status", 301, "http://echo/replacement-full"),
            ],
        )
    },
};

pub(crate) const PORT: Case = Case {
    test: "MeshHTTPRouteRedirectPort",
    manifest: "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: redirect, namespace: mesh}
spec:
  parentRefs: [{group: '', kind: Service, name: echo, port: 80}]
  rules:
  - matches: [{path: {type: PathPrefix, value: /port}}]
    filters: [{type: RequestRedirect, requestRedirect: {port: 8083}}]
  - matches: [{path: {type: PathPrefix, value: /port-and-host}}]
    filters: [{type: RequestRedirect, requestRedirect: {port: 8083, hostname: example.org}}]
  - matches: [{path: {type: PathPrefix, value: /port-and-status}}]
    filters: [{type: RequestRedirect, requestRedirect: {port: 8083, statusCode: 301}}]
  - matches: [{path: {type: PathPrefix, value: /port-and-host-and-status}}]
    filters: [{type: RequestRedirect, requestRedirect: {port: 8083, hostname: example.org, statusCode: 302}}]
",
    holds: |scene| {
        are_redirected(
            scene,
            &[
                ("/port", 302, "http://echo:8083/port"),
                ("/port-and-host", 302, "http://example.org:8083/port-and-host"),
                ("/port-and-status", 301, "http://echo:8083/port-and-status"),
                ("/port-and-host-and-status", 302, "http://example.org:8083/port-and-host-and-status"),
            ],
        )
    },
};

pub(crate) const SCHEME: Case = Case {
    test: "MeshHTTPRouteSchemeRedirect",
    manifest: "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: redirect, namespace: mesh}
spec:
  parentRefs: [{group: '', kind: Service, name: echo, port: 80}]
  rules:
  - matches: [{path: {type: PathPrefix, value: /scheme}}]
    filters: [{type: RequestRedirect, requestRedirect: {scheme: https}}]
  - matches: [{path: {type: PathPrefix, value: /scheme-and-host}}]
    filters: [{type: RequestRedirect, requestRedirect: {scheme: https, hostname: example.org}}]
  - matches: [{path: {type: PathPrefix, value: /scheme-and-status}}]
    filters: [{type: RequestRedirect, requestRedirect: {scheme: https, statusCode: 301}}]
  - matches: [{path: {type: PathPrefix, value: /scheme-and-host-and-status}}]
    filters: [{type: RequestRedirect, requestRedirect: {scheme: https, hostname: example.org, statusCode: 302}}]
",
    holds: |scene| {
        are_redirected(
            scene,
            &[
                ("/scheme", 302, "https://echo/scheme"),
                ("/scheme-and-host", 302, "https://example.org/scheme-and-host"),
                ("/scheme-and-status", 301, "https://echo/scheme-and-status"),
                ("/scheme-and-host-and-status", 302, "https://example.org/scheme-and-host-and-status"),
            ],
        )
    },
};

pub(crate) const STATUS_303: Case = Case {
    test: "MeshHTTPRoute303Redirect",
    manifest: "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: redirect, namespace: mesh}
spec:
  parentRefs: [{group: '', kind: Service, name: echo, port: 80}]
  rules:
  - matches: [{path: {type: Exact, value: /redirect}}]
    filters: [{type: RequestRedirect, requestRedirect: {hostname: example.org, statusCode: 303}}]
",
    holds: |scene| are_redirected(scene, &[("/redirect", 303, "http://example.org/redirect")]),
};

pub(crate) const STATUS_307: Case = Case {
    test: "MeshHTTPRoute307Redirect",
    manifest: "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: redirect, namespace: mesh}
spec:
  parentRefs: [{group: '', kind: Service, name: echo, port: 80}]
  rules:
  - matches: [{path: {type: Exact, value: /redirect}}]
    filters: [{type: RequestRedirect, requestRedirect: {hostname: example.org, statusCode: 307}}]
",
    holds: |scene| are_redirected(scene, &[("/redirect", 307, "http://example.org/redirect")]),
};

pub(crate) const STATUS_308: Case = Case {
    test: "MeshHTTPRoute308Redirect",
    manifest: "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: redirect, namespace: mesh}
spec:
  parentRefs: [{group: '', kind: Service, name: echo, port: 80}]
  rules:
  - matches: [{path: {type: Exact, value: /redirect}}]
    filters: [{type: RequestRedirect, requestRedirect: {hostname: example.org, statusCode: 308}}]
",
    holds: |scene| are_redirected(scene, &[("/redirect", 308, "http://example.org/redirect")]),
};
