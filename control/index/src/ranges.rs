//! The ranges that nodes give their pods addresses from, as one service that serves nothing: an address in there that nobody is
//! known to have may be a pod that has only just been made, and is no stranger's.

use crate::cluster::Cluster;
use crate::config::IndexConfig;
use ipnet::IpNet;
use weft_core::names::ServiceName;
use weft_core::service::{IpFamilies, LoadBalancing, Service, Vip, VipKind};

/// Nobody asks for it by name; `internal` is nobody's domain.
const HOSTNAME: &str = "pod-ranges.weft.internal";

/// Its key.
pub(crate) fn key(config: &IndexConfig) -> ServiceName {
    ServiceName::new(config.root_namespaces.first().cloned().unwrap_or_default(), HOSTNAME)
}

/// As discovery tells it; `None` if no node says what its ranges are. Those of neighbours become one, so that there are few.
pub(crate) fn told(cluster: &Cluster) -> Option<Service> {
    let ranges: Vec<IpNet> = cluster.nodes.values().flat_map(|node| &node.pod_ranges).copied().collect();
    let network = &cluster.config.network;
    let vip = |range| Vip { network: network.clone(), range, kind: VipKind::Cluster };
    (!ranges.is_empty()).then(|| Service {
        name: key(&cluster.config),
        short_name: "pod-ranges".into(),
        vips: IpNet::aggregate(&ranges).into_iter().map(vip).collect(),
        ports: Vec::new(),
        subject_alt_names: Vec::new(),
        waypoint: None,
        load_balancing: LoadBalancing::default(),
        ip_families: IpFamilies::Automatic,
        session_affinity: None,
        external_name: None,
        canonical: false,
        guarded: false,
    })
}
