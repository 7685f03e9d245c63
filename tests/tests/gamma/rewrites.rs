//! Rewritten paths, with headers beside them.

use anyhow::ensure;
use weft_tests::requests::asks;

use crate::Case;
use crate::headers::arrived;

pub(crate) const PATH: Case = Case {
    test: "MeshHTTPRouteRewritePath",
    manifest: "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: rewrite, namespace: mesh}
spec:
  parentRefs: [{group: '', kind: Service, name: echo, port: 80}]
  rules:
  - matches: [{path: {type: PathPrefix, value: /prefix/one}}]
    filters:
    - type: URLRewrite
      urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /one}}
    backendRefs: [{name: echo-v1, port: 80}]
  - matches: [{path: {type: PathPrefix, value: /strip-prefix}}]
    filters:
    - type: URLRewrite
      urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}
    backendRefs: [{name: echo-v1, port: 80}]
  - matches: [{path: {type: PathPrefix, value: /full/one}}]
    filters:
    - type: URLRewrite
      urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /one}}
    backendRefs: [{name: echo-v1, port: 80}]
  - matches: [{path: {type: PathPrefix, value: /full/rewrite-path-and-modify-headers}}]
    filters:
    - type: URLRewrite
      urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /test}}
    - type: RequestHeaderModifier
      requestHeaderModifier:
        set: [{name: X-Header-Set, value: set-overwrites-values}]
        add: [{name: X-Header-Add, value: header-val-1}, {name: X-Header-Add-Append, value: header-val-2}]
        remove: [X-Header-Remove]
    backendRefs: [{name: echo-v1, port: 80}]
  - matches: [{path: {type: PathPrefix, value: /prefix/rewrite-path-and-modify-headers}}]
    filters:
    - type: URLRewrite
      urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /prefix}}
    - type: RequestHeaderModifier
      requestHeaderModifier:
        set: [{name: X-Header-Set, value: set-overwrites-values}]
        add: [{name: X-Header-Add, value: header-val-1}, {name: X-Header-Add-Append, value: header-val-2}]
        remove: [X-Header-Remove]
    backendRefs: [{name: echo-v1, port: 80}]
",
    holds: |scene| {
        let sent = [
            ("X-Header-Remove", "remove-val"),
            ("X-Header-Add-Append", "append-val-1"),
            ("X-Header-Set", "set-val"),
        ];
        let modified = [
            ("X-Header-Add", "header-val-1"),
            ("X-Header-Add-Append", "append-val-1,header-val-2"),
            ("X-Header-Set", "set-overwrites-values"),
        ];
        for (path, want, modified) in [
            ("/prefix/one/two", "/one/two", None),
            ("/strip-prefix/three", "/three", None),
            ("/strip-prefix", "/", None),
            ("/full/one/two", "/one", None),
            ("/full/rewrite-path-and-modify-headers/test", "/test", Some(modified)),
            ("/prefix/rewrite-path-and-modify-headers/one", "/prefix/one", Some(modified)),
        ] {
            let there = modified.unwrap_or(sent);
            let gone = modified.map_or(&[][..], |_| &["X-Header-Remove"][..]);
            asks(&scene.v1, &format!("http://echo{path}")).with(&sent).arrives(&scene.v1, |got| {
                ensure!(got.path == want, "it got {}, not {want}", got.path);
                arrived(got, &there, gone)
            })?;
        }
        Ok(())
    },
};
