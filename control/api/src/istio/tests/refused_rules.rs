//! What the other kinds may not say, where, and why.

use super::whole_rules::{destination_rule, service_entry, telemetry, workload};
use crate::testing::{accepted, assert_refused, object};
use serde_json::json;

#[test]
fn destination_rules() {
    let rule = object("networking.istio.io/v1", "DestinationRule", &destination_rule());
    let (policy, field) = ("/trafficPolicy", "spec.trafficPolicy");
    let hash = |more| json!({"loadBalancer": {"consistentHash": more}});
    let locality = |more| json!({"loadBalancer": {"localityLbSetting": more}});
    assert_refused(
        &rule,
        &[
            ("host", "/host", json!("a b"), "spec.host", "is no host"),
            ("subset twice", "/subsets/1/name", json!("v1"), "spec.subsets[1]", "is there before"),
            (
                "subset's name",
                "/subsets/0/name",
                json!("v 1"),
                "spec.subsets[0].name",
                "is no name of a subset",
            ),
            (
                "label",
                "/subsets/0/labels",
                json!({"-": "v1"}),
                "spec.subsets[0].labels",
                "\"-\" is no name of a label",
            ),
            (
                "unknown field",
                "/trafficPolicy/outlierDetection/consecutiveErrors5xx",
                json!(1),
                { "spec.trafficPolicy.outlierDetection.consecutiveErrors5xx" },
                "unknown field",
            ),
            (
                "two balancers",
                "/trafficPolicy/loadBalancer/consistentHash",
                json!({"useSourceIp": true}),
                { "spec.trafficPolicy.loadBalancer" },
                "has simple and consistentHash, of which one may be set",
            ),
            (
                "balancer",
                "/trafficPolicy/loadBalancer/simple",
                json!("FASTEST"),
                { "spec.trafficPolicy.loadBalancer.simple" },
                "unknown variant `FASTEST`",
            ),
            (
                "no key",
                policy,
                hash(json!({})),
                "spec.trafficPolicy.loadBalancer.consistentHash",
                "needs one of httpHeaderName",
            ),
            (
                "no source",
                policy,
                hash(json!({"useSourceIp": false})),
                { "spec.trafficPolicy.loadBalancer.consistentHash" },
                "needs one of",
            ),
            (
                "two keys",
                policy,
                hash(json!({"useSourceIp": true, "httpHeaderName": "a"})),
                { "spec.trafficPolicy.loadBalancer.consistentHash" },
                "has httpHeaderName and useSourceIp",
            ),
            (
                "two algorithms",
                policy,
                hash(json!({"useSourceIp": true, "ringHash": {}, "maglev": {}})),
                { "spec.trafficPolicy.loadBalancer.consistentHash" },
                "has ringHash and maglev",
            ),
            (
                "cookie",
                policy,
                hash(json!({"httpCookie": {"name": "a;b"}})),
                { "spec.trafficPolicy.loadBalancer.consistentHash.httpCookie.name" },
                "is no name of a cookie",
            ),
            (
                "an attribute of a cookie",
                policy,
                hash(
                    json!({"httpCookie": {"name": "a", "attributes": [{"name": "Path", "value": "/; Domain=x.org"}]}}),
                ),
                { "spec.trafficPolicy.loadBalancer.consistentHash.httpCookie.attributes[0].value" },
                "has a byte that no attribute",
            ),
            (
                "shares",
                policy,
                locality(json!({"distribute": [{"from": "a", "to": {"a": 80}}]})),
                { "spec.trafficPolicy.loadBalancer.localityLbSetting.distribute[0].to" },
                "not one hundred together",
            ),
            (
                "to itself",
                policy,
                locality(json!({"failover": [{"from": "a", "to": "a"}]})),
                { "spec.trafficPolicy.loadBalancer.localityLbSetting.failover[0].to" },
                "is the region itself",
            ),
            (
                "percent",
                "/trafficPolicy/outlierDetection/maxEjectionPercent",
                json!(101),
                { "spec.trafficPolicy.outlierDetection.maxEjectionPercent" },
                "is no percentage",
            ),
            (
                "interval",
                "/trafficPolicy/outlierDetection/interval",
                json!("0s"),
                { "spec.trafficPolicy.outlierDetection.interval" },
                "shorter than a millisecond",
            ),
            (
                "not counted apart",
                "/trafficPolicy/outlierDetection/splitExternalLocalOriginErrors",
                json!(false),
                { "spec.trafficPolicy.outlierDetection.consecutiveLocalOriginFailures" },
                "without splitExternalLocalOriginErrors",
            ),
            (
                "upgrade",
                "/trafficPolicy/connectionPool/http/useClientProtocol",
                json!(true),
                { "spec.trafficPolicy.connectionPool.http.useClientProtocol" },
                "contradicts h2UpgradePolicy",
            ),
            (
                "port twice",
                "/trafficPolicy/portLevelSettings",
                json!([{"port": {"number": 80}}, {"port": {"number": 80}}]),
                { "spec.trafficPolicy.portLevelSettings[1]" },
                "is there before",
            ),
            (
                "no port",
                "/trafficPolicy/portLevelSettings",
                json!([{}]),
                "spec.trafficPolicy.portLevelSettings[0]",
                "`port`",
            ),
            (
                "mutual without a key",
                "/trafficPolicy/tls/privateKey",
                json!(null),
                "spec.trafficPolicy.tls.privateKey",
                "MUTUAL",
            ),
            (
                "mesh's own TLS",
                "/trafficPolicy/tls/mode",
                json!("ISTIO_MUTUAL"),
                { "spec.trafficPolicy.tls.clientCertificate" },
                "certificates of the mesh",
            ),
            (
                "Secret and file",
                "/trafficPolicy/tls/credentialName",
                json!("a"),
                "spec.trafficPolicy.tls.privateKey",
                "file",
            ),
            (
                "tunnel",
                "/trafficPolicy/tunnel/protocol",
                json!("SSH"),
                "spec.trafficPolicy.tunnel.protocol",
                "CONNECT and POST",
            ),
            (
                "nothing known",
                policy,
                json!({"circuitBreaker": {}}),
                &format!("{field}.circuitBreaker"),
                "unknown field",
            ),
        ],
    );
}

#[test]
fn service_entries() {
    let entry = object("networking.istio.io/v1", "ServiceEntry", &service_entry());
    assert_refused(
        &entry,
        &[
            ("no host", "/hosts", json!([]), "spec.hosts", "is empty"),
            ("every host", "/hosts", json!(["*"]), "spec.hosts[0]", "no service has"),
            ("address", "/addresses", json!(["10.0.0"]), "spec.addresses[0]", "is no address or range"),
            (
                "range and DNS",
                "/resolution",
                json!("DNS"),
                "spec.addresses[0]",
                "only the resolutions NONE and STATIC",
            ),
            (
                "endpoints of NONE",
                "/resolution",
                json!("NONE"),
                "spec.endpoints",
                "is not for the resolution NONE",
            ),
            (
                "DYNAMIC_DNS of one name",
                "/resolution",
                json!("DYNAMIC_DNS"),
                "spec.hosts[0]",
                "does not begin with *",
            ),
            (
                "resolution",
                "/resolution",
                json!("STRICT_DNS"),
                "spec.resolution",
                "unknown variant `STRICT_DNS`",
            ),
            (
                "name for STATIC",
                "/endpoints/0/address",
                json!("a.example"),
                "spec.endpoints[0].address",
                "looks nothing up",
            ),
            (
                "unknown port",
                "/endpoints/0/ports",
                json!({"grpc": 1}),
                "spec.endpoints[0].ports",
                "no port of the service",
            ),
            (
                "both",
                "/workloadSelector",
                json!({"labels": {"a": "b"}}),
                "spec",
                "has endpoints and workloadSelector",
            ),
            (
                "port twice",
                "/ports",
                json!([{"number": 80, "name": "a"}, {"number": 80, "name": "b"}]),
                { "spec.ports[1]" },
                "is there before",
            ),
            ("protocol", "/ports/0/protocol", json!("SMTP"), "spec.ports[0].protocol", "is no protocol"),
            ("no port", "/ports/0/number", json!(0), "spec.ports[0].number", "0 is no port"),
        ],
    );
    let dns = json!({"hosts": ["*.a.example"], "resolution": "DNS", "endpoints": [{"address": "a.example"}]});
    let dns = object("networking.istio.io/v1", "ServiceEntry", &dns);
    assert_refused(
        &dns,
        &[
            ("star without endpoints", "/endpoints", json!([]), "spec.hosts[0]", "DNS cannot look up"),
            (
                "socket",
                "/endpoints/0/address",
                json!("unix:///a"),
                "spec.endpoints[0].address",
                "DNS cannot look up",
            ),
            (
                "round robin",
                "",
                json!({"hosts": ["a.example"], "resolution": "DNS_ROUND_ROBIN",
            "endpoints": [{"address": "a"}, {"address": "b"}]}),
                "spec.endpoints",
                "more than one",
            ),
        ],
    );
    let none = json!({"hosts": ["a.example"], "resolution": "STATIC"});
    let (_, notes) = accepted("nothing", &object("networking.istio.io/v1", "ServiceEntry", &none));
    assert!(notes[0].reason.contains("nothing can be reached"), "{notes:?}");
}

#[test]
fn workload_entries() {
    let entry = object("networking.istio.io/v1", "WorkloadEntry", &workload());
    assert_refused(
        &entry,
        &[
            ("nowhere", "", json!({"labels": {"app": "web"}}), "spec.address", "is missing"),
            ("no address", "/address", json!("10.0.0.1:80"), "spec.address", "is no address"),
            ("socket with ports", "/address", json!("unix:///run/a.sock"), "spec.ports", "have no ports"),
            (
                "socket of no root",
                "",
                json!({"address": "unix://a.sock"}),
                "spec.address",
                "is no path from the root",
            ),
            ("port", "/ports/http", json!(0), "spec.ports.http", "0 is no port"),
        ],
    );
}

#[test]
fn telemetries() {
    let whole = object("telemetry.istio.io/v1", "Telemetry", &telemetry());
    assert_refused(
        &whole,
        &[
            (
                "selector and target",
                "/targetRefs",
                json!([{"kind": "Service", "name": "a"}]),
                "spec",
                "has selector and targetRefs",
            ),
            (
                "sampling",
                "/tracing/0/randomSamplingPercentage",
                json!(101),
                { "spec.tracing[0].randomSamplingPercentage" },
                "is no percentage",
            ),
            (
                "two providers",
                "/tracing/0/providers",
                json!([{"name": "a"}, {"name": "b"}]),
                "spec.tracing[0].providers",
                "2 items",
            ),
            (
                "tag of two",
                "/tracing/0/customTags/a",
                json!({"literal": {"value": "x"}, "header": {"name": "y"}}),
                { "spec.tracing[0].customTags.a" },
                "has literal and header",
            ),
            (
                "tag of none",
                "/tracing/0/customTags/a",
                json!({}),
                "spec.tracing[0].customTags.a",
                "needs one of literal",
            ),
            (
                "two metrics",
                "/metrics/0/overrides/0/match/customMetric",
                json!("a"),
                { "spec.metrics[0].overrides[0].match" },
                "has metric and customMetric",
            ),
            (
                "no value",
                "/metrics/0/overrides/1/tagOverrides/request_host/value",
                json!(null),
                { "spec.metrics[0].overrides[1].tagOverrides.request_host.value" },
                "UPSERT needs it",
            ),
            (
                "value",
                "/metrics/0/overrides/2/tagOverrides/response_code/value",
                json!("x"),
                { "spec.metrics[0].overrides[2].tagOverrides.response_code.value" },
                "REMOVE takes the tag away",
            ),
            (
                "unknown field",
                "/accessLogging/0/logFormat",
                json!({}),
                "spec.accessLogging[0].logFormat",
                "unknown field",
            ),
            (
                "side",
                "/accessLogging/0/match/mode",
                json!("BOTH"),
                "spec.accessLogging[0].match.mode",
                "unknown variant",
            ),
        ],
    );
}
