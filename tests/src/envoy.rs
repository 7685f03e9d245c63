//! What Envoy is told, for both sides of HBONE. Nothing of Weft's is in it but names and the tunnel's port.

use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

/// Where tunnels end.
const TUNNEL: u16 = 15008;

/// What Envoy presents, and whom it wants to see at the other end.
pub struct Tls<'a> {
    /// The folder with the papers of this name, and with the mesh's roots.
    /// The folder.
    pub folder: &'a Path,
    /// Whose papers: `<name>.pem` and `<name>.key`.
    pub papers: &'a str,
    /// The identity that the other end has to have.
    pub peer: &'a str,
}

/// A port of Envoy's own, and where it leads.
pub struct Way<'a> {
    /// Where plain connections are taken, on the loopback device.
    pub port: u16,
    /// What the tunnel is made with.
    pub tls: Tls<'a>,
    /// Whose tunnel it is.
    pub gate: IpAddr,
    /// What it is asked for.
    pub target: SocketAddr,
}

impl Tls<'_> {
    /// What both ends of TLS are told.
    pub fn context(&self) -> Value {
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

/// Takes CONNECT streams at the pod's port 15008, and carries them to the application beside Envoy.
pub fn terminate(tls: &Tls<'_>, app: u16) -> Value {
    let listener = accept(tls, "app");
    whole(&[listener], &[cluster("app", SocketAddr::from(([127, 0, 0, 1], app)), json!({}))])
}

/// A listener that takes CONNECT streams at port 15008, and carries them to a cluster.
pub fn accept(tls: &Tls<'_>, to: &str) -> Value {
    let connect = json!([{"upgrade_type": "CONNECT", "connect_config": {}}]);
    let any = json!({
        "name": "any", "domains": ["*"],
        "routes": [{
            "match": {"connect_matcher": {}},
            "route": {"cluster": to, "timeout": "0s", "upgrade_configs": connect},
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
    json!({
        "name": "terminate",
        "address": {"socket_address": {"address": "::", "ipv4_compat": true, "port_value": TUNNEL}},
        "filter_chains": [{
            "transport_socket": {"name": "tls", "typed_config": socket},
            "filters": [{"name": "http", "typed_config": http}],
        }],
    })
}

/// Takes plain connections, and carries each by a CONNECT stream to a tunnel.
pub fn enter(ways: &[Way<'_>]) -> Value {
    let listener = |way: &Way<'_>| {
        let address = json!({"socket_address": {"address": "127.0.0.1", "port_value": way.port}});
        let mut listener =
            originate(&format!("enter-{}", way.port), &format!("weft-{}", way.port), way.target);
        listener["address"] = address;
        listener
    };
    let clusters = ways.iter().map(|way| tunnel(&format!("weft-{}", way.port), way.gate, &way.tls));
    whole(&ways.iter().map(listener).collect::<Vec<_>>(), &clusters.collect::<Vec<_>>())
}

/// A listener, still without an address, that carries each connection by a CONNECT stream of a cluster's tunnels.
pub fn originate(name: &str, cluster: &str, target: SocketAddr) -> Value {
    let tcp = json!({
        "@type": kind("filters.network.tcp_proxy.v3.TcpProxy"),
        "stat_prefix": "enter", "cluster": cluster, "tunneling_config": {"hostname": target.to_string()},
    });
    json!({"name": name, "filter_chains": [{"filters": [{"name": "tcp", "typed_config": tcp}]}]})
}

/// The tunnels to an address.
pub fn tunnel(name: &str, gate: IpAddr, tls: &Tls<'_>) -> Value {
    let socket = json!({
        "@type": kind("transport_sockets.tls.v3.UpstreamTlsContext"), "common_tls_context": tls.context(),
    });
    let further = json!({
        "typed_extension_protocol_options": speaks(&json!({"http2_protocol_options": {"allow_connect": true}})),
        "transport_socket": {"name": "tls", "typed_config": socket},
    });
    cluster(name, SocketAddr::new(gate, TUNNEL), further)
}

/// The version of HTTP that a cluster speaks.
pub fn speaks(version: &Value) -> Value {
    json!({"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": kind("upstreams.http.v3.HttpProtocolOptions"), "explicit_http_config": version,
    }})
}

/// A cluster of one address.
pub fn cluster(name: &str, addr: SocketAddr, mut further: Value) -> Value {
    let address = json!({"socket_address": {"address": addr.ip(), "port_value": addr.port()}});
    further["name"] = json!(name);
    further["type"] = json!("STATIC");
    further["connect_timeout"] = json!("2s");
    // Its limits are not what is looked at.
    let most = json!({"max_connections": 100_000, "max_pending_requests": 100_000, "max_requests": 100_000});
    further["circuit_breakers"] = json!({"thresholds": [most]});
    further["load_assignment"] = json!({
        "cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
    });
    further
}

/// A whole configuration.
pub fn whole(listeners: &[Value], clusters: &[Value]) -> Value {
    json!({
        "node": {"id": "envoy", "cluster": "test"},
        "bootstrap_extensions": [{
            "name": "envoy.bootstrap.internal_listener",
            "typed_config": {"@type": kind("bootstrap.internal_listener.v3.InternalListener")},
        }],
        "static_resources": {"listeners": listeners, "clusters": clusters},
    })
}

/// The full name of an extension's message.
pub fn kind(name: &str) -> String {
    format!("type.googleapis.com/envoy.extensions.{name}")
}
