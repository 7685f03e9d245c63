//! The agent's settings. Discovery's own are read by `weft-xds`, the log's by the runtime.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use weft_agent_link::TrustedUid;
use weft_core::names::NodeName;
use weft_ebpf_host::OtherProtocols;
use weft_runtime::Settings;
use weft_runtime::http::Listen;
use weft_runtime::log::LogConfig;
use weft_xds::ControlSettings;

/// The user that the node proxy becomes unless told otherwise; the proxy's own default is the same.
const PROXY_UID: u32 = 15_008;
/// Where metrics and readiness are served: next to the node proxy's 15020 and 15021.
const METRICS_PORT: u16 = 15_022;
/// Pods on a node at most. Kubernetes recommends 110; large nodes run several hundred.
const PODS_MAX: u32 = 1024;

/// Everything that an operator may set.
#[derive(Debug, Clone)]
pub struct Config {
    /// The log.
    pub log: LogConfig,
    /// The control plane.
    pub control: ControlSettings,
    /// This node.
    pub node: NodeName,
    /// This node's addresses; none for all.
    pub node_ips: Vec<IpAddr>,
    /// The agent's own pod, as discovery shows it.
    pub pod: OwnPod,
    /// Its sockets and its state.
    pub paths: Paths,
    /// Who the node proxy runs as.
    pub proxy: TrustedUid,
    /// What the kernel side needs.
    pub capture: CaptureConfig,
    /// Where metrics and readiness are served.
    pub metrics: Listen,
}

/// The agent's own pod.
#[derive(Debug, Clone)]
pub struct OwnPod {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
}

/// Where the agent listens and keeps its state.
#[derive(Debug, Clone)]
pub struct Paths {
    /// Where the node proxy connects.
    pub proxy: PathBuf,
    /// Where the CNI plugin connects.
    pub cni: PathBuf,
    /// Where `weft status` asks.
    pub admin: PathBuf,
    /// What the next agent should know. It need not outlive the machine: neither do pods.
    pub state: PathBuf,
}

/// What the kernel side needs.
#[derive(Debug, Clone)]
pub struct CaptureConfig {
    /// The agent's own directory on bpffs.
    pub bpffs: PathBuf,
    /// The kubelet's cgroup.
    pub probe_cgroup: Option<PathBuf>,
    /// Pods at most.
    pub pods_max: u32,
    /// Whether what is neither TCP nor DNS may leave them.
    pub other_protocols: OtherProtocols,
    /// How far connections are accelerated at most.
    pub acceleration: AccelerationMax,
}

/// What pods may ask for on this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccelerationMax {
    /// Nothing.
    Off,
    /// Acceleration towards the proxy.
    Proxy,
    /// Both ways.
    Full,
}

impl FromStr for AccelerationMax {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "off" => Ok(Self::Off),
            "proxy" => Ok(Self::Proxy),
            "full" => Ok(Self::Full),
            _ => Err(()),
        }
    }
}

impl Config {
    /// Reads the settings of a running agent.
    pub fn read(settings: &mut Settings<'_>) -> Self {
        let any = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), METRICS_PORT);
        Self {
            log: LogConfig::read(settings),
            control: ControlSettings::read(settings),
            node: NodeName::new(settings.required("WEFT_NODE_NAME", "the node's name", String::new())),
            node_ips: settings.list("WEFT_NODE_IPS", "the node's addresses, separated by commas"),
            pod: OwnPod {
                name: settings.get("WEFT_POD_NAME", "a name", "weft-agent".to_owned()),
                namespace: settings.get("WEFT_POD_NAMESPACE", "a name", "weft-system".to_owned()),
            },
            paths: Paths::read(settings),
            proxy: TrustedUid(settings.get("WEFT_PROXY_UID", "a numeric user id", PROXY_UID)),
            capture: CaptureConfig::read(settings),
            metrics: Listen::Tcp(settings.get("WEFT_METRICS_ADDR", "an address and a port", any)),
        }
    }
}

impl Paths {
    /// All below `WEFT_RUN_DIR` unless told otherwise.
    pub fn read(settings: &mut Settings<'_>) -> Self {
        let run = settings.get("WEFT_RUN_DIR", "a path", PathBuf::from("/run/weft"));
        let below = |name: &str| Path::join(&run, name);
        Self {
            proxy: settings.get("WEFT_AGENT_SOCKET", "a path", below("agent.sock")),
            cni: settings.get("WEFT_CNI_SOCKET", "a path", below("cni.sock")),
            admin: settings.get("WEFT_ADMIN_SOCKET", "a path", below("agent-admin.sock")),
            state: settings.get("WEFT_STATE_DIR", "a path", below("agent")),
        }
    }
}

impl CaptureConfig {
    /// Reads where the programs are, and how many pods they are for.
    pub fn read(settings: &mut Settings<'_>) -> Self {
        Self {
            bpffs: settings.get("WEFT_BPF_DIR", "a path on bpffs", PathBuf::from("/sys/fs/bpf/weft")),
            probe_cgroup: settings.optional("WEFT_PROBE_CGROUP", "the path of a cgroup"),
            pods_max: settings.get("WEFT_PODS_MAX", "a number of pods", PODS_MAX),
            acceleration: settings.get("WEFT_ACCELERATION", "off, proxy or full", AccelerationMax::Full),
            other_protocols: match settings.get("WEFT_OTHER_PROTOCOLS", "pass or drop", PassDrop::Pass) {
                PassDrop::Pass => OtherProtocols::Pass,
                PassDrop::Drop => OtherProtocols::Drop,
            },
        }
    }
}

/// The setting's words.
#[derive(Debug, Clone, Copy)]
enum PassDrop {
    Pass,
    Drop,
}

impl FromStr for PassDrop {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "pass" => Ok(Self::Pass),
            "drop" => Ok(Self::Drop),
            _ => Err(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(pairs: &'static [(&str, &str)]) -> Result<Config, weft_runtime::settings::AllRefused> {
        let find =
            |name: &str| pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        let mut settings = Settings::new(find);
        let config = Config::read(&mut settings);
        settings.finish(config)
    }

    #[test]
    fn paths_follow_the_folder() {
        let config =
            config(&[("WEFT_NODE_NAME", "a"), ("WEFT_RUN_DIR", "/run/x"), ("WEFT_CNI_SOCKET", "/cni")]);
        let config = config.expect("settings");
        assert_eq!(config.paths.proxy, Path::new("/run/x/agent.sock"));
        assert_eq!(config.paths.cni, Path::new("/cni"));
        assert_eq!(config.proxy, TrustedUid(15_008));
        assert_eq!(config.capture.acceleration, AccelerationMax::Full);
    }

    #[test]
    fn all_mistakes_at_once() {
        let refused = config(&[
            ("WEFT_NODE_IPS", "10.0.0.1,here"),
            ("WEFT_PROXY_UID", "proxy"),
            ("WEFT_ACCELERATION", "on"),
        ]);
        let names: Vec<_> = refused.expect_err("mistakes").0.iter().map(|refused| refused.name).collect();
        assert_eq!(names, ["WEFT_NODE_NAME", "WEFT_NODE_IPS", "WEFT_PROXY_UID", "WEFT_ACCELERATION"]);
    }
}
