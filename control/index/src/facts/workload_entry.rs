//! What matters of a WorkloadEntry, and of an endpoint of a ServiceEntry: a workload that is no pod.

use crate::config::IndexConfig;
use crate::selector::Labels;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use weft_control_api::istio::workload_entry::WorkloadEntrySpec;
use weft_control_api::problem::Note;
use weft_core::workload::Locality;

/// A workload that is no pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EntryFacts {
    pub(crate) address: IpAddr,
    /// Where it serves ports of services, by their names.
    pub(crate) ports: BTreeMap<String, u16>,
    pub(crate) labels: Labels,
    pub(crate) locality: Locality,
    pub(crate) weight: u32,
    pub(crate) service_account: Arc<str>,
}

/// Reads one, whose fields stand at `at`. `None` only if an error says why.
pub(crate) fn read(
    spec: &WorkloadEntrySpec,
    at: &str,
    config: &IndexConfig,
    notes: &mut Vec<Note>,
) -> Option<EntryFacts> {
    if spec
        .network
        .as_deref()
        .is_some_and(|network| !network.is_empty() && *network != *config.network.as_str())
    {
        let reason = "is another network: only workloads that are reached directly are supported";
        notes.push(Note::error(format!("{at}.network"), reason));
    }
    let address = spec.address.as_deref().unwrap_or_default().parse::<IpAddr>();
    let Ok(address) = address else {
        let reason = "is no address of IP: host names, sockets and gateways of networks are not supported";
        notes.push(Note::error(format!("{at}.address"), reason));
        return None;
    };
    Some(EntryFacts {
        address: address.to_canonical(),
        ports: spec.ports.iter().map(|(name, port)| (name.clone(), port.get())).collect(),
        labels: spec.labels.clone(),
        locality: locality(spec.locality.as_deref().unwrap_or_default()),
        weight: spec.weight.unwrap_or(1),
        service_account: spec.service_account.as_deref().unwrap_or("default").into(),
    })
}

/// `region/zone/subzone`.
fn locality(text: &str) -> Locality {
    let mut parts = text.splitn(3, '/').map(Arc::from);
    let mut next = || parts.next().unwrap_or_default();
    Locality { region: next(), zone: next(), subzone: next() }
}
