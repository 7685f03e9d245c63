//! What Envoy is told, for both sides of HBONE. Nothing of Weft's is in it but names and the tunnel's port.

use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;

/// Where the application beside Envoy listens.
const APP: u16 = 7000;
const TUNNEL: u16 = 15008;

/// What Envoy presents, and whom it wants to see at the other end.
pub(crate) struct Tls<'a> {
    /// The folder with the papers of this name, and with the mesh's roots.
    pub(crate) folder: &'a Path,
    pub(crate) papers: &'a str,
    pub(crate) peer: &'a str,
}

impl Tls<'_> {
    fn context(&self) -> Value {
        let file = |name: &str| json!({"filename": self.folder.join(name)});
        json!({
            "alpn_protocols": ["h2"],
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
            "tls_certificates": [{
                "certificate_chain": file(&format!("{}.pem", self.papers)),
                "private_key": file(&format!("{}.key", self.papers)),
            }],
            "validation_context": {
                "trusted_ca": file("roots.pem"),
                "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": self.peer}}],
            },
        })
    }
}

/// Takes CONNECT streams at the pod's port 15008, and carries them to the application.
pub(crate) fn terminate(tls: &Tls<'_>) -> Value {
    let connect = json!([{"upgrade_type": "CONNECT", "connect_config": {}}]);
    let any = json!({
        "name": "any", "domains": ["*"],
        "routes": [{
            "match": {"connect_matcher": {}},
            "route": {"cluster": "app", "timeout": "0s", "upgrade_configs": connect},
        }],
    });
    let http = json!({
        "@type": kind("filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "terminate", "codec_type": "HTTP2",
        "http2_protocol_options": {"allow_connect": true},
        "upgrade_configs": [{"upgrade_type": "CONNECT"}],
        "http_filters": [{
            "name": "router", "typed_config": {"@type": kind("filters.http.router.v3.Router")},
        }],
        "route_config": {"virtual_hosts": [any]},
    });
    let socket = json!({
        "@type": kind("transport_sockets.tls.v3.DownstreamTlsContext"),
        "require_client_certificate": true, "common_tls_context": tls.context(),
    });
    let listener = json!({
        "name": "terminate",
        "address": {"socket_address": {"address": "::", "ipv4_compat": true, "port_value": TUNNEL}},
        "filter_chains": [{
            "transport_socket": {"name": "tls", "typed_config": socket},
            "filters": [{"name": "http", "typed_config": http}],
        }],
    });
    let app = SocketAddr::from(([127, 0, 0, 1], APP));
    whole(&[listener], &[cluster("app", app, json!({}))])
}

/// Takes plain connections at these ports of the pod, and carries each to `target` by a CONNECT stream to its tunnel.
pub(crate) fn enter(ways: &[(u16, Tls<'_>)], target: SocketAddr) -> Value {
    let listener = |(port, _): &(u16, Tls<'_>)| {
        let tcp = json!({
            "@type": kind("filters.network.tcp_proxy.v3.TcpProxy"),
            "stat_prefix": "enter", "cluster": format!("weft-{port}"),
            "tunneling_config": {"hostname": target.to_string()},
        });
        json!({
            "name": format!("enter-{port}"),
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
            "filter_chains": [{"filters": [{"name": "tcp", "typed_config": tcp}]}],
        })
    };
    let cluster = |(port, tls): &(u16, Tls<'_>)| {
        let socket = json!({
            "@type": kind("transport_sockets.tls.v3.UpstreamTlsContext"), "common_tls_context": tls.context(),
        });
        let further = json!({
            "typed_extension_protocol_options": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": kind("upstreams.http.v3.HttpProtocolOptions"),
                    "explicit_http_config": {"http2_protocol_options": {"allow_connect": true}},
                },
            },
            "transport_socket": {"name": "tls", "typed_config": socket},
        });
        cluster(&format!("weft-{port}"), SocketAddr::new(target.ip(), TUNNEL), further)
    };
    let (listeners, clusters): (Vec<_>, Vec<_>) =
        ways.iter().map(|way| (listener(way), cluster(way))).unzip();
    whole(&listeners, &clusters)
}

fn cluster(name: &str, addr: SocketAddr, mut further: Value) -> Value {
    let address = json!({"socket_address": {"address": addr.ip(), "port_value": addr.port()}});
    further["name"] = json!(name);
    further["type"] = json!("STATIC");
    further["connect_timeout"] = json!("2s");
    further["load_assignment"] = json!({
        "cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
    });
    further
}

fn whole(listeners: &[Value], clusters: &[Value]) -> Value {
    json!({
        "node": {"id": "envoy", "cluster": "test"},
        "static_resources": {"listeners": listeners, "clusters": clusters},
    })
}

fn kind(name: &str) -> String {
    format!("type.googleapis.com/envoy.extensions.{name}")
}
