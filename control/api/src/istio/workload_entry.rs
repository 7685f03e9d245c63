//! `WorkloadEntry`: a workload that is no pod, such as a virtual machine.

use crate::check::{Check, Findings};
use crate::istio::names::labels;
use crate::port::Port;
use crate::resource::Resource;
use crate::text::{is_address, is_host, is_label};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One WorkloadEntry.
pub type WorkloadEntry = Resource<WorkloadEntrySpec>;

/// Where a workload is, and who it is. Also an endpoint of a ServiceEntry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkloadEntrySpec {
    /// Its address: of IP, a host name, or a socket as `unix:///path`. None if its network's gateway knows it.
    pub address: Option<String>,
    /// Ports of it, by the names of the service's ports.
    #[serde(default)]
    pub ports: BTreeMap<String, Port>,
    /// Labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Its network; the mesh's default one if there is none.
    pub network: Option<String>,
    /// Its place, `region/zone/subzone`; that of its network if there is none.
    pub locality: Option<String>,
    /// Its share in proportion to other endpoints; one if there is none.
    pub weight: Option<u32>,
    /// Its service account, of its own namespace; nobody if there is none.
    pub service_account: Option<String>,
}

/// How the address of a socket begins.
pub const UNIX_SCHEME: &str = "unix://";

impl Check for WorkloadEntrySpec {
    fn check(&self, found: &mut Findings) {
        match self.address.as_deref() {
            None | Some("") => {
                let network = self.network.as_deref().is_some_and(|network| !network.is_empty());
                found.require(
                    "address",
                    network,
                    "is missing, and without a network nobody knows where this is",
                );
            }
            Some(address) => match address.strip_prefix(UNIX_SCHEME) {
                Some(path) => {
                    found.require(
                        "address",
                        path.starts_with('/'),
                        "is no path from the root: unix:///run/a.sock is",
                    );
                    found.require("ports", self.ports.is_empty(), "is not for sockets, which have no ports");
                }
                None => {
                    let known = is_address(address) || is_host(address);
                    found.require("address", known, "is no address, host name or unix:// socket");
                }
            },
        }
        for name in self.ports.keys().filter(|name| !is_label(name)) {
            found.at("ports", |found| found.refuse(format!("{name:?} is no name of a port")));
        }
        labels(found, "labels", &self.labels);
    }
}
