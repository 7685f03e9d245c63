//! What Envoy is told, so that it does what Weft's waypoint does: as a waypoint of Istio's is, with one listener that ends
//! tunnels, one within it that has the routes, and one that begins tunnels to pods.

use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use weft_tests::envoy::{Tls, accept, cluster, kind, originate, speaks, tunnel, whole};

use super::manifests::GENERATION_PATH;
use super::row::{Entry, GRPC_HOST, GRPC_PORT, MANY, Scene};
use crate::load::HTTP_PORT;

/// Where it takes connections that come by no tunnel.
pub(crate) const UNTUNNELLED_PORT: u16 = 8000;
/// The listener that has the routes.
const MAIN: &str = "main";

/// What it is made with.
pub(crate) struct Rival<'a> {
    pub(crate) scene: Scene,
    /// As whom it takes tunnels, and as whom it begins them.
    pub(crate) clients: Tls<'a>,
    pub(crate) pods: Tls<'a>,
    /// The endpoints, two versions of each.
    pub(crate) plain: [IpAddr; 2],
    pub(crate) tunnelled: [IpAddr; 2],
    /// The file with its routes, in a folder of its own.
    pub(crate) routes: &'a Path,
}

impl Rival<'_> {
    /// Its configuration.
    pub(crate) fn config(&self) -> Value {
        let mut listeners = vec![self.main(), self.untunnelled(), accept(&self.clients, MAIN)];
        let mut clusters = vec![internal(MAIN, MAIN)];
        for version in [1, 2] {
            let of = |name: &str| format!("{name}-v{version}");
            let plain = self.plain[version - 1];
            clusters.push(cluster(&of("plain"), SocketAddr::new(plain, HTTP_PORT), json!({})));
            let two =
                json!({"typed_extension_protocol_options": speaks(&json!({"http2_protocol_options": {}}))});
            clusters.push(cluster(&of(GRPC_HOST), SocketAddr::new(plain, GRPC_PORT), two));
            let pod = self.tunnelled[version - 1];
            clusters.push(internal(&of("tunnelled"), &of("originate")));
            clusters.push(tunnel(&of("tunnel"), pod, &self.pods));
            let target = SocketAddr::new(pod, HTTP_PORT);
            let mut begin = originate(&of("originate"), &of("tunnel"), target);
            begin["internal_listener"] = json!({});
            listeners.push(begin);
        }
        if self.scene == Scene::Crowd {
            let addr = |number: usize| SocketAddr::new(self.plain[number % 2], HTTP_PORT);
            clusters
                .extend((1..MANY).map(|number| cluster(&format!("crowd-{number}"), addr(number), json!({}))));
        }
        whole(&listeners, &clusters)
    }

    fn main(&self) -> Value {
        let mut listener = json!({"name": MAIN, "internal_listener": {}});
        listener["filter_chains"] = json!([{"filters": [self.http()]}]);
        listener
    }

    fn untunnelled(&self) -> Value {
        let address =
            json!({"socket_address": {"address": "::", "ipv4_compat": true, "port_value": UNTUNNELLED_PORT}});
        json!({"name": "untunnelled", "address": address, "filter_chains": [{"filters": [self.http()]}]})
    }

    fn http(&self) -> Value {
        let folder = self.routes.parent().unwrap_or(self.routes);
        let source = json!({"path": self.routes, "watched_directory": {"path": folder}});
        let method = |name: &str| json!({"header": {"name": ":method", "string_match": {"exact": name}}});
        let rules = json!({
            "action": "ALLOW",
            "policies": {"clients": {
                "permissions": [{"or_rules": {"rules": [method("GET"), method("POST")]}}],
                // Whose certificate it was is asked for where the tunnel ends.
                "principals": [{"any": true}],
            }},
        });
        let connections = json!({
            "@type": kind("filters.network.http_connection_manager.v3.HttpConnectionManager"),
            "stat_prefix": "main", "codec_type": "AUTO", "access_log": [metrics()],
            "rds": {"route_config_name": ROUTES, "config_source": {
                "resource_api_version": "V3", "path_config_source": source,
            }},
            "http_filters": [
                {"name": "rbac", "typed_config": {"@type": kind("filters.http.rbac.v3.RBAC"), "rules": rules}},
                {"name": "router", "typed_config": {"@type": kind("filters.http.router.v3.Router")}},
            ],
        });
        json!({"name": "http", "typed_config": connections})
    }
}

const ROUTES: &str = "routes";

/// What a mesh counts of each request, with its labels.
fn metrics() -> Value {
    let tags = [
        ("destination_service", "%REQ(:AUTHORITY)%"),
        ("destination_address", "%UPSTREAM_CLUSTER%"),
        ("source_principal", "%DOWNSTREAM_PEER_URI_SAN%"),
        ("request_protocol", "%PROTOCOL%"),
        ("response_code", "%RESPONSE_CODE%"),
        ("response_flags", "%RESPONSE_FLAGS%"),
        ("grpc_response_status", "%GRPC_STATUS_NUMBER%"),
    ]
    .map(|(name, format)| json!({"name": name, "value_format": format}));
    let histogram = |name: &str, unit: &str, value: &str| json!({"stat": {"name": name, "tags": tags}, "unit": unit, "value_format": value});
    json!({"name": "stats", "typed_config": {
        "@type": kind("access_loggers.stats.v3.Config"),
        "stat_prefix": "mesh",
        "counters": [{"stat": {"name": "requests_total", "tags": tags}, "value_fixed": 1}],
        "histograms": [
            histogram("request_duration", "Milliseconds", "%DURATION%"),
            histogram("request_bytes", "Bytes", "%BYTES_RECEIVED%"),
            histogram("response_bytes", "Bytes", "%BYTES_SENT%"),
        ],
    }})
}

/// The file of a scene's routes, of this generation: see [`super::manifests::say_routes`].
pub(crate) fn routes(scene: Scene, generation: u64) -> String {
    let entries = Entry::ALL.into_iter().filter(|entry| entry.scene() == scene);
    let mut hosts: Vec<Value> = entries.map(|entry| host(entry, generation)).collect();
    if scene == Scene::Crowd {
        hosts.extend((1..MANY).map(|number| {
            let name = format!("crowd-{number}");
            let route = json!({
                "match": {"prefix": "/api/"}, "route": {"cluster": name, "retry_policy": retries()},
            });
            json!({"name": name, "domains": [name], "routes": [route]})
        }));
    }
    let routes = json!({
        "@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
        "name": ROUTES, "virtual_hosts": hosts,
    });
    json!({"version_info": generation.to_string(), "resources": [routes]}).to_string()
}

fn host(entry: Entry, generation: u64) -> Value {
    let (name, backend) = match entry {
        Entry::Grpc => (GRPC_HOST, GRPC_HOST),
        // It has one way to pods in the mesh.
        Entry::Tunnelled | Entry::Native => (entry.service(), "tunnelled"),
        Entry::Plain | Entry::Crowd | Entry::Rules => (entry.service(), "plain"),
    };
    let of = |version: u8| format!("{backend}-v{version}");
    let mut routes: Vec<Value> = Vec::new();
    if entry == Entry::Rules {
        let rule = |number: usize| json!({"match": {"prefix": format!("/team-{number}/")}, "route": {"cluster": of(1)}});
        routes.extend((0..MANY - 1).map(rule));
    }
    let user = json!({"name": "x-user", "string_match": {"exact": "tester"}});
    let weighted = |version: u8, weight: u32| json!({"name": of(version), "weight": weight});
    routes.extend([
        json!({
            "match": {"path": GENERATION_PATH},
            "direct_response": {"status": 200, "body": {"inline_string": generation.to_string()}},
        }),
        json!({"match": {"prefix": "/", "headers": [user]}, "route": {"cluster": of(2)}}),
        json!({"match": {"prefix": "/api/"}, "route": {
            "weighted_clusters": {"clusters": [weighted(1, 90), weighted(2, 10)]}, "retry_policy": retries(),
        }}),
        json!({"match": {"prefix": "/"}, "route": {"cluster": of(1)}}),
    ]);
    json!({"name": name, "domains": [name], "routes": routes})
}

fn retries() -> Value {
    json!({"retry_on": "5xx,connect-failure", "num_retries": 2})
}

/// A cluster whose endpoint is another listener of the same process.
fn internal(name: &str, listener: &str) -> Value {
    let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
    let mut cluster = cluster(name, nowhere, json!({}));
    let address = json!({"envoy_internal_address": {"server_listener_name": listener, "endpoint_id": name}});
    cluster["load_assignment"]["endpoints"] = json!([{"lb_endpoints": [{"endpoint": {"address": address}}]}]);
    cluster
}
