//! Every field of the other kinds is read, and comes back as it was.

use crate::istio::destination_rule::DestinationRuleSpec;
use crate::istio::service_entry::ServiceEntrySpec;
use crate::istio::telemetry::TelemetrySpec;
use crate::istio::workload_entry::WorkloadEntrySpec;
use crate::testing::assert_whole;
use serde_json::{Value, json};

fn pool() -> Value {
    json!({
        "tcp": {"maxConnections": 100, "connectTimeout": "0.03s", "maxConnectionDuration": "3600s", "idleTimeout": "0s",
            "tcpKeepalive": {"probes": 3, "time": "7200s", "interval": "75s"}},
        "http": {"http1MaxPendingRequests": 1, "http2MaxRequests": 1000, "maxRequestsPerConnection": 10,
            "maxRetries": 3, "idleTimeout": "10s", "h2UpgradePolicy": "UPGRADE", "useClientProtocol": false,
            "maxConcurrentStreams": 100},
    })
}

fn outlier() -> Value {
    json!({"consecutiveErrors": 5, "splitExternalLocalOriginErrors": true, "consecutiveLocalOriginFailures": 5,
        "consecutiveGatewayErrors": 3, "consecutive5xxErrors": 7, "interval": "300s", "baseEjectionTime": "900s",
        "maxEjectionPercent": 50, "minHealthPercent": 30})
}

fn balancer() -> Value {
    json!({"simple": "LEAST_REQUEST", "warmup": {"duration": "30s", "minimumPercent": 10.0, "aggression": 1.5},
        "localityLbSetting": {"enabled": true, "failoverPriority": ["topology.istio.io/network", "version=v1"],
            "failover": [{"from": "us-east", "to": "eu-west"}]}})
}

pub(super) fn destination_rule() -> Value {
    let tls = json!({"mode": "MUTUAL", "clientCertificate": "/c.pem", "privateKey": "/k.pem", "caCertificates": "/a.pem",
        "subjectAltNames": ["a"], "sni": "a.example", "insecureSkipVerify": false, "caCrl": "/r.pem"});
    let ports = json!([{"port": {"number": 80}, "loadBalancer": balancer(), "connectionPool": pool(),
        "outlierDetection": outlier(), "tls": {"mode": "SIMPLE", "credentialName": "c"}}]);
    json!({
        "host": "reviews.shop.svc.cluster.local", "exportTo": ["."], "workloadSelector": {"matchLabels": {"app": "web"}},
        "trafficPolicy": {
            "loadBalancer": balancer(), "connectionPool": pool(), "outlierDetection": outlier(), "tls": tls,
            "portLevelSettings": ports, "proxyProtocol": {"version": "V2"},
            "tunnel": {"protocol": "CONNECT", "targetHost": "a.example", "targetPort": 443},
            "retryBudget": {"percent": 20.0, "minRetryConcurrency": 3, "budgetInterval": "10s"},
        },
        "subsets": [
            {"name": "v1", "labels": {"version": "v1"}, "trafficPolicy": {"loadBalancer": {
                "consistentHash": {"httpCookie": {"name": "user", "path": "/", "ttl": "0s",
                    "attributes": [{"name": "SameSite", "value": "Lax"}, {"name": "Secure"}]}, "maglev": {"tableSize": 65537}},
                "warmupDurationSecs": "30s",
                "localityLbSetting": {"distribute": [{"from": "us/*", "to": {"us/a": 80, "us/b": 20}}]}}}},
            {"name": "v2", "trafficPolicy": {"loadBalancer": {
                "consistentHash": {"httpHeaderName": "x-user", "ringHash": {"minimumRingSize": 1024}}}}},
            {"name": "v3", "trafficPolicy": {"loadBalancer": {
                "consistentHash": {"useSourceIp": true, "minimumRingSize": 1024}}}},
            {"name": "v4", "trafficPolicy": {"loadBalancer": {"consistentHash": {"httpQueryParameterName": "user"}}}},
        ],
    })
}

#[test]
fn destination_rules() {
    for version in ["v1", "v1beta1", "v1alpha3"] {
        let api_version = format!("networking.istio.io/{version}");
        let tls = json!({"mode": "SIMPLE", "credentialName": "c"});
        let by_secret = json!({
            "host": "a.example", "trafficPolicy": {"tls": tls}, "subsets": [{"name": "v1", "labels": {"a": "b"}}],
        });
        assert_whole::<DestinationRuleSpec>(
            &api_version,
            "DestinationRule",
            &[destination_rule(), by_secret],
        );
    }
}

pub(super) fn workload() -> Value {
    json!({"address": "10.0.0.1", "ports": {"http": 8080}, "labels": {"app": "web"}, "network": "vm",
        "locality": "us/a/1", "weight": 2, "serviceAccount": "web"})
}

pub(super) fn service_entry() -> Value {
    json!({
        "hosts": ["db.example"], "addresses": ["10.9.0.0/16"], "location": "MESH_INTERNAL", "resolution": "STATIC",
        "ports": [{"number": 80, "protocol": "HTTP", "name": "http", "targetPort": 8080}], "endpoints": [workload()],
        "exportTo": ["*"], "subjectAltNames": ["spiffe://m/ns/a/sa/b"],
    })
}

#[test]
fn service_and_workload_entries() {
    let selected = json!({"hosts": ["vm.example"], "workloadSelector": {"labels": {"app": "web"}}});
    for version in ["v1", "v1beta1", "v1alpha3"] {
        let api_version = format!("networking.istio.io/{version}");
        let specs = [service_entry(), selected.clone()];
        assert_whole::<ServiceEntrySpec>(&api_version, "ServiceEntry", &specs);
        assert_whole::<WorkloadEntrySpec>(&api_version, "WorkloadEntry", &[workload()]);
    }
}

pub(super) fn telemetry() -> Value {
    json!({
        "selector": {"matchLabels": {"app": "web"}},
        "tracing": [{
            "match": {"mode": "SERVER"}, "providers": [{"name": "zipkin"}], "randomSamplingPercentage": 1.5,
            "disableSpanReporting": false, "disableContextPropagation": false, "enableIstioTags": true,
            "customTags": {
                "a": {"literal": {"value": "x"}}, "b": {"environment": {"name": "POD", "defaultValue": "none"}},
                "c": {"header": {"name": "x-user", "defaultValue": "none"}}, "d": {"formatter": {"value": "%PROTOCOL%"}},
            },
        }],
        "metrics": [{
            "providers": [{"name": "prometheus"}], "reportingInterval": "5s",
            "overrides": [
                {"match": {"metric": "REQUEST_COUNT", "mode": "CLIENT"}, "disabled": true},
                {"match": {"customMetric": "mine"}, "tagOverrides": {
                    "request_host": {"operation": "UPSERT", "value": "request.host"}}},
                {"tagOverrides": {"response_code": {"operation": "REMOVE"}}},
            ],
        }],
        "accessLogging": [{"match": {"mode": "CLIENT"}, "providers": [{"name": "file"}], "disabled": false,
            "filter": {"expression": "response.code >= 400"}}],
    })
}

#[test]
fn telemetries() {
    let target = json!({"group": "", "kind": "Service", "name": "reviews", "namespace": "shop"});
    let (one, list) = (json!({"targetRef": target}), json!({"targetRefs": [target]}));
    for version in ["v1", "v1alpha1"] {
        let api_version = format!("telemetry.istio.io/{version}");
        let specs = [telemetry(), one.clone(), list.clone()];
        assert_whole::<TelemetrySpec>(&api_version, "Telemetry", &specs);
    }
}
