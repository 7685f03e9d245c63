//! What an operator may set, each part by itself.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use weft_control_ca::ServiceAccount;
use weft_control_ca::authority::LEAF_LIFETIME_MAX;
use weft_control_index::config::{IndexConfig, NamedProvider};
use weft_core::names::Network;
use weft_runtime::Settings;
use weft_runtime::log::LogConfig;

/// Everything that the control plane is told.
#[derive(Debug, Clone)]
pub struct ControlSettings {
    /// The log.
    pub log: LogConfig,
    /// The folder of manifests.
    pub directory: PathBuf,
    /// Where the last good versions of manifests are kept.
    pub state: PathBuf,
    /// What the index has to know.
    pub index: IndexConfig,
    /// The authority.
    pub ca: AuthoritySettings,
    /// Ports and sockets.
    pub listen: ListenSettings,
    /// Who may do what.
    pub accounts: AccountSettings,
    /// How long open streams and requests may take to end.
    pub drain: Duration,
}

/// The certificate authority's settings.
#[derive(Debug, Clone)]
pub struct AuthoritySettings {
    /// The built-in authority's folder, and the key of local tokens.
    pub folder: PathBuf,
    /// A plugged-in intermediate (files named as in Istio's secret `cacerts`), instead of own roots.
    pub cacerts: Option<PathBuf>,
    /// Where a copy of the roots is written for those who connect.
    pub roots_file: Option<PathBuf>,
    /// The longest life of a leaf.
    pub leaf_lifetime_max: Duration,
    /// The mesh's trust domain.
    pub trust_domain: Arc<str>,
}

/// Where the control plane listens.
#[derive(Debug, Clone)]
pub struct ListenSettings {
    /// Discovery and certificates.
    pub grpc: SocketAddr,
    /// Metrics, readiness, status.
    pub metrics: SocketAddr,
    /// The socket for what changes something: rotation of roots.
    pub admin: Option<PathBuf>,
    /// Names and addresses in the certificate of the gRPC port.
    pub names: Vec<String>,
}

/// The service accounts of the mesh's own processes.
#[derive(Debug, Clone)]
pub struct AccountSettings {
    /// The node proxies'.
    pub node_proxy: ServiceAccount,
    /// The agents'.
    pub agent: ServiceAccount,
}

impl ControlSettings {
    /// Reads all of them.
    pub fn read(settings: &mut Settings<'_>) -> Self {
        let index = read_index(settings);
        let root = index.root_namespaces.first().cloned().unwrap_or_else(|| DEFAULT_ROOT.into());
        let state = ca_folder(settings).join("manifests");
        Self {
            log: LogConfig::read(settings),
            directory: settings.required(
                "WEFT_DIRECTORY",
                "the path of a folder of manifests",
                PathBuf::new(),
            ),
            state: settings.get("WEFT_STATE_DIR", "the path of a folder", state),
            ca: AuthoritySettings::read(settings, &index.trust_domain),
            listen: ListenSettings::read(settings, &root, &index.cluster_domain),
            accounts: AccountSettings::read(settings, &root),
            drain: settings.seconds("WEFT_DRAIN_SECONDS", Duration::from_secs(5)),
            index,
        }
    }
}

/// Where the mesh's own objects live, and policies for the whole mesh.
const DEFAULT_ROOT: &str = "weft-system";

/// Reads what the index has to know; looking at a folder needs nothing else.
pub fn read_index(settings: &mut Settings<'_>) -> IndexConfig {
    let default = IndexConfig::default();
    let text = |text: String| -> Arc<str> { text.into() };
    let trust_domain = settings.get("WEFT_TRUST_DOMAIN", "a trust domain", default.trust_domain.to_string());
    let roots: Vec<String> = settings.list("WEFT_ROOT_NAMESPACE", "one namespace or several");
    IndexConfig {
        cluster: text(settings.get("WEFT_CLUSTER_ID", "a name", default.cluster.to_string())),
        trust_domain: text(trust_domain),
        trust_domain_aliases: settings
            .list::<String>("WEFT_TRUST_DOMAIN_ALIASES", "trust domains")
            .into_iter()
            .map(text)
            .collect(),
        root_namespaces: if roots.is_empty() {
            default.root_namespaces
        } else {
            roots.into_iter().map(text).collect()
        },
        cluster_domain: text(settings.get(
            "WEFT_CLUSTER_DOMAIN",
            "a domain",
            default.cluster_domain.to_string(),
        )),
        network: Network::new(settings.get("WEFT_NETWORK", "a name", String::new())),
        providers: default.providers.with(settings.list::<NamedProvider>(
            "WEFT_TELEMETRY_PROVIDERS",
            "NAME=KIND, of the kinds tracing, text, json, otlp and prometheus",
        )),
    }
}

impl AuthoritySettings {
    fn read(settings: &mut Settings<'_>, trust_domain: &Arc<str>) -> Self {
        Self {
            folder: ca_folder(settings),
            cacerts: settings.optional("WEFT_CACERTS_DIR", "the path of a folder"),
            roots_file: settings.optional("WEFT_ROOTS_FILE", "the path of a file"),
            leaf_lifetime_max: settings.seconds("WEFT_LEAF_SECONDS_MAX", LEAF_LIFETIME_MAX),
            trust_domain: trust_domain.clone(),
        }
    }
}

/// Reads the folder of the authority; the subcommand for tokens needs it too.
pub fn ca_folder(settings: &mut Settings<'_>) -> PathBuf {
    settings.get("WEFT_CA_DIR", "the path of a folder", PathBuf::from("/var/lib/weft/ca"))
}

impl ListenSettings {
    fn read(settings: &mut Settings<'_>, root_namespace: &str, cluster_domain: &str) -> Self {
        let any = |port| SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port);
        let service = format!("weft-control.{root_namespace}.svc");
        let mut names: Vec<String> = settings.list("WEFT_SERVING_NAMES", "names and addresses");
        let own = ["localhost", "127.0.0.1", "::1", &service, &format!("{service}.{cluster_domain}")];
        for name in own {
            if !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
        Self {
            grpc: settings.get("WEFT_LISTEN", "ADDRESS:PORT", any(15012)),
            metrics: settings.get("WEFT_METRICS_ADDR", "ADDRESS:PORT", any(15014)),
            admin: settings.optional("WEFT_ADMIN_SOCKET", "the path of a socket"),
            names,
        }
    }
}

impl AccountSettings {
    fn read(settings: &mut Settings<'_>, root_namespace: &str) -> Self {
        let default = |name: &str| Account(ServiceAccount::new(root_namespace, name));
        let wants = "NAMESPACE/NAME";
        Self {
            node_proxy: settings.get("WEFT_NODE_PROXY_ACCOUNT", wants, default("weft-node-proxy")).0,
            agent: settings.get("WEFT_AGENT_ACCOUNT", wants, default("weft-agent")).0,
        }
    }
}

/// A service account as it is typed, `NAMESPACE/NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account(pub ServiceAccount);

/// A text is no [`Account`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a service account reads NAMESPACE/NAME")]
pub struct BadAccount;

impl FromStr for Account {
    type Err = BadAccount;

    fn from_str(text: &str) -> Result<Self, BadAccount> {
        match text.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
                Ok(Self(ServiceAccount::new(namespace, name)))
            }
            _ => Err(BadAccount),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<ControlSettings, String> {
        let find = |name: &str| pairs.iter().find(|pair| pair.0 == name).map(|pair| pair.1.to_owned());
        let mut settings = Settings::new(find);
        let read = ControlSettings::read(&mut settings);
        settings.finish(read).map_err(|refused| refused.to_string())
    }

    #[test]
    fn defaults_hold_where_nothing_is_set() {
        let settings = read(&[("WEFT_DIRECTORY", "/manifests")]).expect("usable");
        assert_eq!(settings.listen.grpc.to_string(), "[::]:15012");
        assert!(settings.listen.names.contains(&"weft-control.weft-system.svc".to_owned()));
        assert_eq!(settings.accounts.agent.to_string(), "weft-system/weft-agent");
        assert_eq!(settings.index.root_namespaces.len(), 2);
        assert_eq!(settings.state, PathBuf::from("/var/lib/weft/ca/manifests"));
    }

    #[test]
    fn a_root_namespace_moves_what_belongs_to_it() {
        let settings = read(&[
            ("WEFT_DIRECTORY", "/manifests"),
            ("WEFT_ROOT_NAMESPACE", "mesh"),
            ("WEFT_SERVING_NAMES", "10.0.0.1,control.example"),
            ("WEFT_AGENT_ACCOUNT", "kube-system/agent"),
        ])
        .expect("usable");
        assert!(settings.listen.names.contains(&"weft-control.mesh.svc.cluster.local".to_owned()));
        assert!(settings.listen.names.contains(&"10.0.0.1".to_owned()));
        assert_eq!(settings.accounts.node_proxy.to_string(), "mesh/weft-node-proxy");
        assert_eq!(settings.accounts.agent.to_string(), "kube-system/agent");
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let refused = read(&[("WEFT_LISTEN", "nowhere"), ("WEFT_AGENT_ACCOUNT", "x")]).expect_err("refused");
        for name in ["WEFT_DIRECTORY", "WEFT_LISTEN", "WEFT_AGENT_ACCOUNT"] {
            assert!(refused.contains(name), "{refused}");
        }
    }
}
