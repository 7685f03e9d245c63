//! Every field of every kind is read, and comes back as it was.

use crate::gateway_api::backend_tls_policy::BackendTlsPolicySpec;
use crate::gateway_api::backend_traffic_policy::BackendTrafficPolicySpec;
use crate::gateway_api::filter::http::HttpFilter;
use crate::gateway_api::gateway::GatewaySpec;
use crate::gateway_api::gateway_class::GatewayClassSpec;
use crate::gateway_api::grpc_route::GrpcRouteSpec;
use crate::gateway_api::http_route::{HttpRouteSpec, PathMatchType};
use crate::gateway_api::reference_grant::ReferenceGrantSpec;
use crate::gateway_api::stream_route::{TcpRouteSpec, TlsRouteSpec};
use crate::object::Object;
use crate::testing::{accepted, assert_whole, object};
use serde_json::{Value, json};

pub(super) fn parents() -> Value {
    json!([
        {"group": "", "kind": "Service", "name": "reviews", "namespace": "shop", "port": 9080, "sectionName": "http"},
        {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "edge"},
    ])
}

pub(super) fn backend() -> Value {
    json!({"group": "", "kind": "Service", "name": "reviews-v1", "namespace": "shop", "port": 9080})
}

pub(super) fn with(mut value: Value, more: &Value) -> Value {
    let more = more.as_object().expect("more fields").clone();
    value.as_object_mut().expect("an object").extend(more);
    value
}

fn session() -> Value {
    json!({"sessionName": "s", "absoluteTimeout": "1h", "idleTimeout": "5m", "type": "Cookie",
        "cookieConfig": {"lifetimeType": "Permanent"}})
}

fn modifier() -> Value {
    json!({"set": [{"name": "x-a", "value": "1"}], "add": [{"name": "x-b", "value": "2"}], "remove": ["x-c"]})
}

fn mirror(part: &Value) -> Value {
    json!({"type": "RequestMirror", "requestMirror": with(json!({"backendRef": backend()}), part)})
}

fn auth(more: &Value) -> Value {
    let auth = json!({"backendRef": backend(), "forwardBody": {"maxSize": 1024}});
    json!({"type": "ExternalAuth", "externalAuth": with(auth, more)})
}

pub(super) fn http_route() -> Value {
    json!({
        "parentRefs": parents(), "useDefaultGateways": "All", "hostnames": ["reviews.example", "*.reviews.example"],
        "rules": [
            {
                "name": "first",
                "matches": [{
                    "path": {"type": "PathPrefix", "value": "/api/v1"}, "method": "GET",
                    "headers": [{"type": "RegularExpression", "name": "user-agent", "value": ".*Chrome.*"}],
                    "queryParams": [{"type": "Exact", "name": "debug", "value": "1"}],
                }],
                "filters": [
                    {"type": "RequestHeaderModifier", "requestHeaderModifier": modifier()},
                    {"type": "ResponseHeaderModifier", "responseHeaderModifier": modifier()},
                    mirror(&json!({"percent": 10})),
                    mirror(&json!({"fraction": {"numerator": 1, "denominator": 1000}})),
                    {"type": "URLRewrite", "urlRewrite": {
                        "hostname": "other.example", "path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}}},
                    {"type": "CORS", "cors": {
                        "allowOrigins": ["https://*.shop.example", "http://a.example:8080"], "allowCredentials": true,
                        "allowMethods": ["GET", "PUT"], "allowHeaders": ["x-a"], "exposeHeaders": ["*"], "maxAge": 60}},
                    auth(&json!({"protocol": "GRPC", "grpc": {"allowedHeaders": ["x-a"]}})),
                    {"type": "ExtensionRef", "extensionRef": {"group": "weft.dev", "kind": "Limit", "name": "a"}},
                ],
                "backendRefs": [with(backend(), &json!({"weight": 9, "filters": [
                    {"type": "RequestHeaderModifier", "requestHeaderModifier": modifier()},
                    auth(&json!({"protocol": "HTTP", "http": {
                        "path": "/auth", "allowedHeaders": ["x-a"], "allowedResponseHeaders": ["x-b"]}})),
                ]}))],
                "timeouts": {"request": "10s", "backendRequest": "2s"},
                "retry": {"codes": [500, 503], "attempts": 3, "backoff": "100ms"},
                "sessionPersistence": session(),
            },
            {
                "name": "second", "matches": [{"path": {"type": "Exact", "value": "/old"}}],
                "filters": [{"type": "RequestRedirect", "requestRedirect": {
                    "scheme": "https", "hostname": "new.example", "port": 8443, "statusCode": 308,
                    "path": {"type": "ReplaceFullPath", "replaceFullPath": "/new"}}}],
            },
        ],
    })
}

#[test]
fn http_routes() {
    for version in ["v1", "v1beta1"] {
        let api_version = format!("gateway.networking.k8s.io/{version}");
        assert_whole::<HttpRouteSpec>(&api_version, "HTTPRoute", &[http_route()]);
    }
}

#[test]
fn what_a_mesh_leaves_out_has_its_default() {
    let spec = json!({
        "parentRefs": [{"group": "", "kind": "Service", "name": "reviews"}],
        "rules": [{
            "matches": [{}, {"path": {"value": "/a"}}],
            "filters": [
                {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "b", "port": 80},
                    "fraction": {"numerator": 5}}},
            ],
            "backendRefs": [{"name": "reviews-v1", "port": 9080, "weight": 9}, {"name": "reviews-v2", "port": 9080}],
        }],
    });
    let (read, notes) = accepted("GAMMA", &object("gateway.networking.k8s.io/v1", "HTTPRoute", &spec));
    let Object::HttpRoute(route) = read else { panic!("{read:?}") };
    assert_eq!(notes, []);
    let rule = &route.spec.rules[0];
    let paths: Vec<_> = rule.matches.iter().map(|one| (one.path.match_type, &*one.path.value)).collect();
    assert_eq!(paths, [(PathMatchType::PathPrefix, "/"), (PathMatchType::PathPrefix, "/a")]);
    let backends: Vec<_> =
        rule.backend_refs.iter().map(|one| (one.target().is_service(), one.weight)).collect();
    assert_eq!(backends, [(true, 9), (true, 1)]);
    let HttpFilter::RequestMirror(mirror) = &rule.filters[0] else { panic!("{:?}", rule.filters) };
    assert_eq!(mirror.fraction.map(|part| (part.numerator, part.denominator)), Some((5, 100)));
}

#[test]
fn grpc_routes() {
    let spec = json!({
        "parentRefs": parents(), "useDefaultGateways": "None", "hostnames": ["a.example"],
        "rules": [{
            "name": "first",
            "matches": [{
                "method": {"type": "Exact", "service": "shop.v1.Cart", "method": "Add"},
                "headers": [{"type": "Exact", "name": "x-a", "value": "1"}],
            }],
            "filters": [
                {"type": "RequestHeaderModifier", "requestHeaderModifier": modifier()},
                {"type": "ResponseHeaderModifier", "responseHeaderModifier": modifier()},
                mirror(&json!({"percent": 1})), mirror(&json!({"fraction": {"numerator": 1, "denominator": 3}})),
                {"type": "ExtensionRef", "extensionRef": {"group": "weft.dev", "kind": "Limit", "name": "a"}},
            ],
            "backendRefs": [with(backend(), &json!({"weight": 1, "filters": [
                {"type": "RequestHeaderModifier", "requestHeaderModifier": modifier()}]}))],
            "sessionPersistence": session(),
        }],
    });
    assert_whole::<GrpcRouteSpec>("gateway.networking.k8s.io/v1", "GRPCRoute", &[spec]);
}

#[test]
fn stream_routes() {
    let rules = json!([{"name": "only", "backendRefs": [with(backend(), &json!({"weight": 1}))]}]);
    let tcp = json!({"parentRefs": parents(), "useDefaultGateways": "All", "rules": rules});
    let tls = with(tcp.clone(), &json!({"hostnames": ["*.a.example"]}));
    for version in ["v1", "v1alpha2"] {
        let api_version = format!("gateway.networking.k8s.io/{version}");
        assert_whole::<TcpRouteSpec>(&api_version, "TCPRoute", std::slice::from_ref(&tcp));
    }
    for version in ["v1", "v1alpha3", "v1alpha2"] {
        let api_version = format!("gateway.networking.k8s.io/{version}");
        assert_whole::<TlsRouteSpec>(&api_version, "TLSRoute", std::slice::from_ref(&tls));
    }
}

pub(super) fn gateway() -> Value {
    let secret = json!({"group": "", "kind": "Secret", "name": "c", "namespace": "shop"});
    let selector = json!({"from": "Selector", "selector": {
        "matchLabels": {"a": "b"}, "matchExpressions": [{"key": "c", "operator": "In", "values": ["d"]}]}});
    let authority = json!({"group": "", "kind": "ConfigMap", "name": "ca", "namespace": "shop"});
    let validation =
        json!({"validation": {"caCertificateRefs": [authority], "mode": "AllowInsecureFallback"}});
    json!({
        "gatewayClassName": "weft-waypoint",
        "listeners": [{
            "name": "web", "hostname": "*.a.example", "port": 443, "protocol": "HTTPS",
            "tls": {"mode": "Terminate", "certificateRefs": [secret], "options": {"a.example/b": "c"}},
            "allowedRoutes": {"namespaces": selector,
                "kinds": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute"}]},
        }],
        "addresses": [{"type": "IPAddress", "value": "10.0.0.1"}],
        "infrastructure": {"labels": {"a": "b"}, "annotations": {"c": "d"},
            "parametersRef": {"group": "", "kind": "ConfigMap", "name": "p"}},
        "allowedListeners": {"namespaces": selector},
        "tls": {"backend": {"clientCertificateRef": secret},
            "frontend": {"default": validation, "perPort": [{"port": 443, "tls": validation}]}},
        "defaultScope": "All",
    })
}

#[test]
fn gateways() {
    assert_whole::<GatewaySpec>("gateway.networking.k8s.io/v1", "Gateway", &[gateway()]);
    let waypoint = json!({"gatewayClassName": "istio-waypoint",
        "listeners": [{"name": "mesh", "port": 15008, "protocol": "HBONE"}]});
    let (_, notes) = accepted("waypoint", &object("gateway.networking.k8s.io/v1", "Gateway", &waypoint));
    assert_eq!(notes, []);
    let class = json!({"controllerName": "weft.dev/waypoint", "description": "Waypoints.",
        "parametersRef": {"group": "", "kind": "ConfigMap", "name": "a", "namespace": "b"}});
    assert_whole::<GatewayClassSpec>("gateway.networking.k8s.io/v1", "GatewayClass", &[class]);
}

#[test]
fn grants_and_policies() {
    let grant = json!({"from": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": "web"}],
        "to": [{"group": "", "kind": "Service", "name": "reviews"}]});
    for version in ["v1", "v1beta1"] {
        let api_version = format!("gateway.networking.k8s.io/{version}");
        assert_whole::<ReferenceGrantSpec>(&api_version, "ReferenceGrant", std::slice::from_ref(&grant));
    }
    let target = json!({"group": "", "kind": "Service", "name": "reviews", "sectionName": "https"});
    let names = json!([{"type": "Hostname", "hostname": "*.a.example"}, {"type": "URI", "uri": "spiffe://m/ns/a/sa/b"}]);
    let tls = |authorities: Value| {
        let validation = json!({"hostname": "a.example", "subjectAltNames": names});
        json!({"targetRefs": [target], "validation": with(validation, &authorities), "options": {"a": "b"}})
    };
    let both = [
        tls(json!({"caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "ca"}]})),
        tls(json!({"wellKnownCACertificates": "System"})),
    ];
    for version in ["v1", "v1alpha3"] {
        let api_version = format!("gateway.networking.k8s.io/{version}");
        assert_whole::<BackendTlsPolicySpec>(&api_version, "BackendTLSPolicy", &both);
    }
    let traffic = json!({
        "targetRefs": [{"group": "", "kind": "Service", "name": "reviews"}],
        "retryConstraint": {"budget": {"percent": 20, "interval": "10s"}, "minRetryRate": {"count": 10, "interval": "1s"}},
        "sessionPersistence": session(),
    });
    let api_version = "gateway.networking.x-k8s.io/v1alpha1";
    assert_whole::<BackendTrafficPolicySpec>(api_version, "XBackendTrafficPolicy", &[traffic]);
}
