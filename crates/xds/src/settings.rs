//! Where the control plane is, how to trust it, and how a client introduces itself.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use weft_core::names::NodeName;
use weft_proto::ads;
use weft_runtime::Settings;

/// Where the control plane is, and what it takes to talk to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlSettings {
    /// Its address.
    pub url: ControlUrl,
    /// The roots that vouch for it, as PEM; read again for each connection.
    pub roots: PathBuf,
    /// The service account token that says who we are; read again for each connection.
    pub token: PathBuf,
    /// The cluster that we say we are in.
    pub cluster: String,
}

impl ControlSettings {
    /// Reads `WEFT_CONTROL_ADDRESS`, `WEFT_CONTROL_ROOTS`, `WEFT_TOKEN_FILE` and `WEFT_CLUSTER_ID`.
    pub fn read(settings: &mut Settings<'_>) -> Self {
        let url = ControlUrl { host: "weft-control.weft-system.svc".to_owned(), port: DEFAULT_PORT };
        let path = PathBuf::from;
        Self {
            url: settings.get("WEFT_CONTROL_ADDRESS", "https://HOST[:PORT]", url),
            roots: settings.get(
                "WEFT_CONTROL_ROOTS",
                "the path of a PEM file",
                path("/var/run/secrets/weft/root-cert.pem"),
            ),
            token: settings.get(
                "WEFT_TOKEN_FILE",
                "the path of a token",
                path("/var/run/secrets/tokens/istio-token"),
            ),
            cluster: settings.get("WEFT_CLUSTER_ID", "a name", "Kubernetes".to_owned()),
        }
    }
}

/// The port of the control plane (wire facts §1b).
const DEFAULT_PORT: u16 = 15012;

/// `https://HOST[:PORT]`. There is no other scheme: a token goes over this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlUrl {
    /// A name or an address, the latter without brackets; the server's certificate has to show it.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// Why a text is no [`ControlUrl`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the control plane's address reads https://HOST[:PORT]")]
pub struct BadUrl;

impl FromStr for ControlUrl {
    type Err = BadUrl;

    fn from_str(text: &str) -> Result<Self, BadUrl> {
        let uri: http::Uri = text.parse().map_err(|_| BadUrl)?;
        if uri.scheme_str() != Some("https") || !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(BadUrl);
        }
        let host = uri.host().filter(|host| !host.is_empty()).ok_or(BadUrl)?;
        let port = uri.port_u16();
        // What is neither host nor a port that can be one: a name before an @, a number too large.
        if port.is_none() && uri.authority().is_none_or(|authority| authority.as_str() != host) {
            return Err(BadUrl);
        }
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).to_owned();
        Ok(Self { host, port: port.unwrap_or(DEFAULT_PORT) })
    }
}

impl fmt::Display for ControlUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') {
            write!(f, "https://[{host}]:{port}")
        } else {
            write!(f, "https://{host}:{port}")
        }
    }
}

/// What a client is; it decides what it may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// The node's proxy.
    NodeProxy,
    /// A waypoint.
    Waypoint,
    /// The node's agent.
    Agent,
}

impl Role {
    /// As the node's id begins.
    pub fn word(self) -> &'static str {
        match self {
            Self::NodeProxy => "ztunnel",
            Self::Waypoint => "waypoint",
            Self::Agent => "agent",
        }
    }
}

/// How a client introduces itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub role: Role,
    /// Its own address.
    pub ip: IpAddr,
    /// Its own pod's name.
    pub pod: String,
    /// Its own pod's namespace.
    pub namespace: String,
    /// The node it runs on.
    pub node: NodeName,
}

impl Node {
    pub(crate) fn message(&self, cluster: &str) -> ads::Node {
        let Self { role, ip, pod, namespace, node } = self;
        let id = format!("{}~{ip}~{pod}.{namespace}~{namespace}.svc.cluster.local", role.word());
        let metadata = [
            ("NAME", pod.clone()),
            ("NAMESPACE", namespace.clone()),
            ("INSTANCE_IPS", ip.to_string()),
            ("NODE_NAME", node.to_string()),
            ("CLUSTER_ID", cluster.to_owned()),
        ];
        ads::node(&id, metadata)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_control_plane() {
        for (case, text, want) in [
            (
                "name",
                "https://weft-control.weft-system.svc",
                Some("https://weft-control.weft-system.svc:15012"),
            ),
            ("port", "https://127.0.0.1:1", Some("https://127.0.0.1:1")),
            ("IPv6", "https://[fd00::1]:15012/", Some("https://[fd00::1]:15012")),
            ("plain text", "http://control:15012", None),
            ("no scheme", "control:15012", None),
            ("path", "https://control/x", None),
            ("a name before it", "https://me@control", None),
            ("no port after the colon", "https://control:99999", None),
        ] {
            let got = text.parse::<ControlUrl>().ok().map(|url| url.to_string());
            assert_eq!(got.as_deref(), want, "{case}");
        }
    }

    #[test]
    fn a_node_introduces_itself() {
        let node = Node {
            role: Role::NodeProxy,
            ip: [10, 0, 0, 1].into(),
            pod: "p".into(),
            namespace: "ns".into(),
            node: NodeName::new("n1"),
        };
        let message = node.message("c");
        assert_eq!(message.id, "ztunnel~10.0.0.1~p.ns~ns.svc.cluster.local");
        assert_eq!(ads::metadata(&message, "NODE_NAME"), Some("n1"));
        assert_eq!(ads::metadata(&message, "CLUSTER_ID"), Some("c"));
    }
}
