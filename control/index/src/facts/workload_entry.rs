//! What matters of a WorkloadEntry, and of an endpoint of a ServiceEntry: a workload that is no pod.

use crate::config::IndexConfig;
use crate::selector::Labels;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use weft_control_api::istio::workload_entry::WorkloadEntrySpec;
use weft_control_api::problem::Note;
use weft_control_api::text::is_host;
use weft_core::workload::Locality;

/// A workload that is no pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EntryFacts {
    pub(crate) place: Place,
    /// Where it serves ports of services, by their names.
    pub(crate) ports: BTreeMap<String, u16>,
    pub(crate) labels: Labels,
    pub(crate) locality: Locality,
    pub(crate) weight: u32,
    pub(crate) service_account: Arc<str>,
}

/// Where a workload is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Addr(IpAddr),
    /// A host, which waypoints look up.
    Named(Arc<str>),
}

impl Place {
    /// Its address, if it is known by one.
    pub(crate) fn addr(&self) -> Option<&IpAddr> {
        match self {
            Self::Addr(ip) => Some(ip),
            Self::Named(_) => None,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Addr(ip) => ip.fmt(f),
            Self::Named(name) => f.write_str(name),
        }
    }
}

/// Whether a workload may be known by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ByName {
    No,
    Yes,
}

impl EntryFacts {
    /// A host that is its own endpoint.
    pub(crate) fn of_host(host: &str) -> Self {
        Self {
            place: Place::Named(host.into()),
            ports: BTreeMap::new(),
            labels: Labels::new(),
            locality: Locality::default(),
            weight: 1,
            service_account: "default".into(),
        }
    }
}

/// Reads one, whose fields stand at `at`. `None` only if an error says why.
pub(crate) fn read(
    spec: &WorkloadEntrySpec,
    (at, by_name): (&str, ByName),
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
    let written = spec.address.as_deref().unwrap_or_default();
    let place = match (written.parse::<IpAddr>(), by_name) {
        (Ok(ip), _) => Place::Addr(ip.to_canonical()),
        (Err(_), ByName::Yes) if is_host(written) => Place::Named(written.to_ascii_lowercase().into()),
        (Err(_), ByName::Yes) => {
            let reason =
                "is no address of IP and no host: sockets and gateways of networks are not supported";
            notes.push(Note::error(format!("{at}.address"), reason));
            return None;
        }
        (Err(_), ByName::No) => {
            let reason = "is no address of IP: host names are for ServiceEntries with the resolution DNS, and sockets and \
                          gateways of networks are not supported";
            notes.push(Note::error(format!("{at}.address"), reason));
            return None;
        }
    };
    Some(EntryFacts {
        place,
        ports: spec.ports.iter().map(|(name, port)| (name.clone(), port.get())).collect(),
        labels: spec.labels.clone(),
        locality: locality(spec.locality.as_deref().unwrap_or_default()),
        // Istio cannot tell zero from nothing, and takes both for one.
        weight: spec.weight.filter(|weight| *weight > 0).unwrap_or(1),
        service_account: spec.service_account.as_deref().unwrap_or("default").into(),
    })
}

/// `region/zone/subzone`.
fn locality(text: &str) -> Locality {
    let mut parts = text.splitn(3, '/').map(Arc::from);
    let mut next = || parts.next().unwrap_or_default();
    Locality { region: next(), zone: next(), subzone: next() }
}
