//! Manifests as people have them.

use crate::istio::string_match::{HeaderMatch, StringMatch};
use crate::object::Object;
use crate::testing::{accepted, object};
use serde_json::json;

const NETWORKING: &str = "networking.istio.io/v1";

#[test]
fn a_canary() {
    let canary = json!({"hosts": ["reviews"], "http": [{"route": [
        {"destination": {"host": "reviews", "subset": "v1"}, "weight": 90},
        {"destination": {"host": "reviews", "subset": "v2"}, "weight": 10},
    ]}]});
    let (read, notes) = accepted("canary", &object(NETWORKING, "VirtualService", &canary));
    let Object::VirtualService(service) = read else { panic!("{read:?}") };
    assert_eq!(notes, []);
    let shares: Vec<_> = service.spec.http[0].route.iter().map(|one| one.weight).collect();
    assert_eq!(shares, [90, 10]);
    let subsets = json!({"host": "reviews", "trafficPolicy": {"loadBalancer": {"simple": "RANDOM"}}, "subsets": [
        {"name": "v1", "labels": {"version": "v1"}},
        {"name": "v2", "labels": {"version": "v2"}, "trafficPolicy": {"loadBalancer": {"simple": "ROUND_ROBIN"}}},
    ]});
    let (_, notes) = accepted("subsets", &object(NETWORKING, "DestinationRule", &subsets));
    assert_eq!(notes, []);
}

#[test]
fn users_of_chrome_get_v2() {
    let chrome = json!({"hosts": ["reviews"], "http": [
        {"match": [{"headers": {"user-agent": {"regex": ".*Chrome.*"}}}],
            "route": [{"destination": {"host": "reviews", "subset": "v2"}}]},
        {"route": [{"destination": {"host": "reviews", "subset": "v1"}}]},
    ]});
    let (read, notes) = accepted("chrome", &object("networking.istio.io/v1beta1", "VirtualService", &chrome));
    let Object::VirtualService(service) = read else { panic!("{read:?}") };
    assert_eq!(notes, []);
    let regex = HeaderMatch::Value(StringMatch::Regex(".*Chrome.*".to_owned()));
    assert_eq!(service.spec.http[0].matches[0].headers["user-agent"], regex);
    assert_eq!(service.spec.http[1].route[0].weight, 0, "alone, it takes everything");
}

#[test]
fn faults_for_one_user() {
    let fault = json!({"hosts": ["ratings"], "http": [
        {"match": [{"headers": {"end-user": {"exact": "jason"}}}],
            "fault": {"delay": {"percentage": {"value": 100}, "fixedDelay": "7s"}},
            "route": [{"destination": {"host": "ratings", "subset": "v1"}}]},
        {"route": [{"destination": {"host": "ratings", "subset": "v1"}}]},
    ]});
    let (_, notes) = accepted("fault", &object("networking.istio.io/v1alpha3", "VirtualService", &fault));
    assert_eq!(notes, []);
    let breaker = json!({"host": "httpbin", "trafficPolicy": {
        "connectionPool": {"tcp": {"maxConnections": 1}, "http": {"http1MaxPendingRequests": 1, "maxRequestsPerConnection": 1}},
        "outlierDetection": {"consecutive5xxErrors": 1, "interval": "1s", "baseEjectionTime": "3m", "maxEjectionPercent": 100},
    }});
    let (_, notes) = accepted("breaker", &object(NETWORKING, "DestinationRule", &breaker));
    assert_eq!(notes, []);
}

#[test]
fn services_outside() {
    for (case, spec) in [
        (
            "by name",
            json!({"hosts": ["api.dropboxapi.com", "www.googleapis.com"], "location": "MESH_EXTERNAL",
            "ports": [{"number": 443, "name": "https", "protocol": "TLS"}], "resolution": "DNS"}),
        ),
        (
            "by address",
            json!({"hosts": ["mymongodb.somedomain"], "addresses": ["192.192.192.192/24"],
            "ports": [{"number": 27018, "name": "mongodb", "protocol": "MONGO"}], "resolution": "STATIC",
            "endpoints": [{"address": "2.2.2.2"}, {"address": "3.3.3.3"}]}),
        ),
        (
            "by any name",
            json!({"hosts": ["*.wikipedia.org"], "resolution": "DYNAMIC_DNS",
            "ports": [{"number": 443, "name": "tls", "protocol": "TLS"}]}),
        ),
        (
            "a socket",
            json!({"hosts": ["unix.local"], "resolution": "STATIC",
            "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
            "endpoints": [{"address": "unix:///var/run/example/socket"}]}),
        ),
    ] {
        let (_, notes) = accepted(case, &object(NETWORKING, "ServiceEntry", &spec));
        assert_eq!(notes, [], "{case}");
    }
}
