//! The proxy's settings.

use crate::sandbox::SandboxConfig;
use crate::worker::Limits;
use crate::worker::dns::{DnsRules, DnsUpstream};
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use weft_core::route::{Egress, MeshRules, Ranges, SameNode};
use weft_runtime::Settings;
use weft_runtime::access::AccessFormat;
use weft_runtime::http::Listen;
use weft_runtime::log::LogConfig;
use weft_xds::ControlSettings;

/// Everything that can be set.
#[derive(Debug)]
pub struct Config {
    /// The log.
    pub log: LogConfig,
    /// How access lines are written.
    pub access: AccessFormat,
    /// The node's name.
    pub node: String,
    /// The agent's socket.
    pub agent_socket: PathBuf,
    /// Threads that carry traffic.
    pub workers: usize,
    /// Who the mesh is.
    pub mesh: MeshConfig,
    /// What is known besides discovery.
    pub rules: MeshRules,
    /// How captured DNS is answered.
    pub dns: DnsRules,
    /// How long things may take.
    pub limits: Limits,
    /// Where metrics are served.
    pub metrics: Listen,
    /// How long series of metrics are kept that nothing is counted under; for ever if it is not there.
    pub series_unused: Option<Duration>,
    /// Where readiness is served.
    pub ready: Listen,
    /// Where `weft` asks.
    pub admin: Listen,
    /// What the process gives up before it meets a byte.
    pub sandbox: SandboxConfig,
}

/// Who the mesh is and where its control plane.
#[derive(Debug)]
pub struct MeshConfig {
    /// The control plane.
    pub control: ControlSettings,
    /// The trust domain.
    pub trust_domain: String,
    /// How long certificates are asked for, in seconds.
    pub leaf_lifetime: Duration,
    /// Where the last known configuration is kept.
    pub state_dir: PathBuf,
    /// This proxy's own pod, as its token names it.
    pub pod: String,
    /// And its namespace.
    pub namespace: String,
    /// The node's first address.
    pub ip: IpAddr,
}

impl Config {
    /// Reads the settings; [`Settings::finish`] tells whether they may be used.
    pub fn read(settings: &mut Settings<'_>) -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            log: LogConfig::read(settings),
            access: settings.get("WEFT_ACCESS_LOG", "text, json or off", AccessFormat::Text),
            node: settings.required("WEFT_NODE_NAME", "the node's name", String::new()),
            agent_socket: settings.get("WEFT_AGENT_SOCKET", "a path", PathBuf::from("/run/weft/agent.sock")),
            workers: settings.get("WEFT_WORKERS", "a number of threads", cpus).max(1),
            mesh: MeshConfig::read(settings),
            rules: read_rules(settings),
            dns: DnsRules {
                upstream: settings.get(
                    "WEFT_DNS_UPSTREAM",
                    "original, none or ADDRESS:PORT",
                    DnsUpstream::Original,
                ),
                cluster_domain: settings
                    .get("WEFT_CLUSTER_DOMAIN", "a domain", "cluster.local".to_owned())
                    .into(),
            },
            limits: read_limits(settings),
            metrics: Listen::Tcp(address(settings, "WEFT_METRICS_ADDR", 15020)),
            series_unused: weft_runtime::metrics::read_unused(settings),
            ready: Listen::Tcp(address(settings, "WEFT_READY_ADDR", 15021)),
            admin: Listen::Unix(settings.get(
                "WEFT_ADMIN_SOCKET",
                "a path",
                PathBuf::from("/run/weft/proxy-admin.sock"),
            )),
            sandbox: SandboxConfig::read(settings),
        }
    }
}

fn address(settings: &mut Settings<'_>, name: &'static str, port: u16) -> SocketAddr {
    settings.get(name, "an address and a port", SocketAddr::new(std::net::Ipv6Addr::UNSPECIFIED.into(), port))
}

/// Stands for the node's address where nobody says it; control only shows it.
const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

impl MeshConfig {
    fn read(settings: &mut Settings<'_>) -> Self {
        Self {
            control: ControlSettings::read(settings),
            trust_domain: settings.get("WEFT_TRUST_DOMAIN", "a domain", "cluster.local".to_owned()),
            leaf_lifetime: settings.seconds("WEFT_LEAF_SECONDS", Duration::from_secs(86_400)),
            state_dir: settings.get("WEFT_STATE_DIR", "a path", PathBuf::from("/var/lib/weft/proxy")),
            pod: settings.get("WEFT_POD_NAME", "this pod's name", "weft-node-proxy".to_owned()),
            namespace: settings.get("WEFT_POD_NAMESPACE", "this pod's namespace", "weft-system".to_owned()),
            ip: settings.list("WEFT_NODE_IPS", "addresses").first().copied().unwrap_or(LOOPBACK),
        }
    }
}

fn read_rules(settings: &mut Settings<'_>) -> MeshRules {
    MeshRules {
        ranges: match settings.list::<IpNet>("WEFT_MESH_CIDRS", "address ranges such as 10.244.0.0/16") {
            none if none.is_empty() => Ranges::Unsaid,
            ranges => Ranges::Said(ranges),
        },
        egress: match settings.get("WEFT_EGRESS", "allow or refuse", AllowRefuse::Allow) {
            AllowRefuse::Allow => Egress::Allow,
            AllowRefuse::Refuse => Egress::Refuse,
        },
        same_node: match settings.get("WEFT_SAME_NODE", "join or encrypt", JoinEncrypt::Join) {
            JoinEncrypt::Join => SameNode::Join,
            JoinEncrypt::Encrypt => SameNode::Encrypt,
        },
    }
}

fn read_limits(settings: &mut Settings<'_>) -> Limits {
    Limits {
        connect: settings.seconds("WEFT_CONNECT_TIMEOUT_SECONDS", Duration::from_secs(10)),
        handshake: settings.seconds("WEFT_HANDSHAKE_TIMEOUT_SECONDS", Duration::from_secs(10)),
        discovery: settings.seconds("WEFT_DISCOVERY_WAIT_SECONDS", Duration::from_secs(2)),
        idle: Some(settings.seconds("WEFT_IDLE_TIMEOUT_SECONDS", Duration::ZERO))
            .filter(|idle| !idle.is_zero()),
        drain: settings.seconds("WEFT_DRAIN_SECONDS", Duration::from_secs(10)),
        // Until it is known how many descriptors there are.
        connections: usize::MAX,
    }
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $word:literal),+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        enum $name { $($variant),+ }

        impl std::str::FromStr for $name {
            type Err = ();

            fn from_str(text: &str) -> Result<Self, ()> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(()),
                }
            }
        }
    };
}

words! { AllowRefuse { Allow = "allow", Refuse = "refuse" } }
words! { JoinEncrypt { Join = "join", Encrypt = "encrypt" } }
