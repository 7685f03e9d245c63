//! Every field of a VirtualService is read, and comes back as it was.

use crate::istio::virtual_service::VirtualServiceSpec;
use crate::testing::assert_whole;
use serde_json::{Value, json};

pub(super) fn destination(subset: &str) -> Value {
    json!({"host": "reviews.shop.svc.cluster.local", "subset": subset, "port": {"number": 9080}})
}

fn headers() -> Value {
    let operations = json!({"set": {"x-a": "1"}, "add": {"x-b": "2"}, "remove": ["x-c"]});
    json!({"request": operations, "response": operations})
}

pub(super) fn virtual_service() -> Value {
    json!({
        "hosts": ["reviews", "*.reviews.example"], "gateways": ["mesh", "edge/web"], "exportTo": [".", "other"],
        "http": [sent_on(), answered(), redirected(), mirrored_as_before(),
            {"name": "elsewhere", "delegate": {"name": "b", "namespace": "team"}}],
        "tls": [{
            "match": [{"sniHosts": ["a.reviews.example"], "destinationSubnets": ["10.0.0.0/8"], "port": 443,
                "sourceLabels": {"app": "web"}, "gateways": ["mesh"], "sourceNamespace": "shop"}],
            "route": [{"destination": destination("v1"), "weight": 1}, {"destination": destination("v2"), "weight": 3}],
        }],
        "tcp": [{
            "match": [{"destinationSubnets": ["10.0.0.0/8"], "port": 3306, "sourceSubnet": "10.1.0.0/16",
                "sourceLabels": {"app": "web"}, "gateways": ["mesh"], "sourceNamespace": "shop"}],
            "route": [{"destination": destination("v1"), "weight": 100}],
        }],
    })
}

fn sent_on() -> Value {
    json!({
        "name": "sent-on",
        "match": [{
            "name": "one", "uri": {"prefix": "/api"}, "scheme": {"exact": "https"}, "method": {"regex": "GET|POST"},
            "authority": {"exact": "reviews"}, "headers": {"user-agent": {"regex": ".*Chrome.*"}, "x-there": {}},
            "withoutHeaders": {"x-old": {"prefix": "v"}}, "queryParams": {"debug": {"exact": "1"}},
            "ignoreUriCase": true, "port": 9080, "sourceLabels": {"app": "web"}, "sourceNamespace": "shop",
            "gateways": ["mesh"], "statPrefix": "reviews",
        }],
        "route": [{"destination": destination("v1"), "weight": 90, "headers": headers()},
            {"destination": destination("v2"), "weight": 10}],
        "rewrite": {"uriRegexRewrite": {"match": "^/api/(.*)$", "rewrite": "/\\1"}},
        "timeout": "10s",
        "retries": {"attempts": 3, "perTryTimeout": "2s", "retryOn": "5xx,connect-failure,503", "backoff": "0.025s",
            "retryRemoteLocalities": true, "retryIgnorePreviousHosts": true},
        "fault": {"delay": {"percentage": {"value": 0.1}, "percent": 1, "fixedDelay": "5s"},
            "abort": {"percentage": {"value": 0.01}, "httpStatus": 503}},
        "mirrors": [{"destination": destination("v3"), "percentage": {"value": 50.0}}],
        "corsPolicy": {"allowOrigin": ["*"], "allowOrigins": [{"exact": "https://a.example"}], "allowMethods": ["GET"],
            "allowHeaders": ["x-a"], "exposeHeaders": ["x-b"], "maxAge": "86400s", "allowCredentials": true,
            "unmatchedPreflights": "IGNORE"},
        "headers": headers(),
    })
}

fn answered() -> Value {
    json!({
        "name": "answered", "directResponse": {"status": 503, "body": {"string": "later"}},
        "match": [{"uri": {"exact": "/exact"}}, {"uri": {"regex": "/r.*"}}],
        "fault": {"delay": {"exponentialDelay": "1s"}, "abort": {"grpcStatus": "UNAVAILABLE"}},
    })
}

fn redirected() -> Value {
    json!({"name": "redirected", "redirect": {
        "uri": "/new", "authority": "new.example", "port": 8443, "scheme": "https", "redirectCode": 308}})
}

fn mirrored_as_before() -> Value {
    json!({
        "route": [{"destination": destination("v1")}], "mirror": destination("v2"), "mirrorPercent": 10,
        "mirror_percent": 10, "mirrorPercentage": {"value": 10.0}, "rewrite": {"uri": "/", "authority": "a.example"},
        "fault": {"abort": {"http2Error": "REFUSED_STREAM"}},
    })
}

#[test]
fn virtual_services() {
    let more = json!({"hosts": ["a"], "http": [
        {"redirect": {"derivePort": "FROM_REQUEST_PORT"}},
        {"match": [{"uri": {"prefix": "/old"}}], "redirect": {"prefixRewrite": "/new"}},
        {"directResponse": {"status": 200, "body": {"bytes": "aGVsbG8="}}},
    ]});
    for version in ["v1", "v1beta1", "v1alpha3"] {
        let api_version = format!("networking.istio.io/{version}");
        let specs = [virtual_service(), more.clone()];
        assert_whole::<VirtualServiceSpec>(&api_version, "VirtualService", &specs);
    }
}
