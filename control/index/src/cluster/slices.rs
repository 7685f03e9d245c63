//! EndpointSlices by name, service, pod and address.

use crate::cluster::pods::{link, unlink};
use crate::facts::endpoint_slice::{Endpoint, SliceFacts};
use crate::name::Name;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use weft_core::names::NodeName;

/// All EndpointSlices.
#[derive(Debug, Default)]
pub(crate) struct Slices {
    all: HashMap<Name, Arc<SliceFacts>>,
    by_service: HashMap<Name, BTreeSet<Name>>,
    by_pod: HashMap<Name, BTreeSet<Name>>,
    /// Endpoints that name no pod.
    by_addr: HashMap<IpAddr, BTreeSet<Name>>,
    /// Such endpoints too.
    by_node: HashMap<NodeName, BTreeSet<Name>>,
}

impl Slices {
    pub(crate) fn get(&self, name: &Name) -> Option<&Arc<SliceFacts>> {
        self.all.get(name)
    }

    /// Puts a slice in; `None` takes it out. The one before comes back.
    pub(crate) fn set(&mut self, name: &Name, slice: Option<Arc<SliceFacts>>) -> Option<Arc<SliceFacts>> {
        let old = self.all.remove(name);
        if let Some(old) = &old {
            if let Some(service) = &old.service {
                unlink(&mut self.by_service, service, name);
            }
            old.pods().for_each(|pod| unlink(&mut self.by_pod, pod, name));
            old.loose_addresses().for_each(|ip| unlink(&mut self.by_addr, ip, name));
            old.loose().for_each(|one| unlink(&mut self.by_node, &one.node, name));
        }
        if let Some(slice) = slice {
            if let Some(service) = &slice.service {
                link(&mut self.by_service, service.clone(), name);
            }
            slice.pods().for_each(|pod| link(&mut self.by_pod, pod.clone(), name));
            slice.loose_addresses().for_each(|ip| link(&mut self.by_addr, *ip, name));
            slice.loose().for_each(|one| link(&mut self.by_node, one.node.clone(), name));
            self.all.insert(name.clone(), slice);
        }
        old
    }

    /// True if a service's endpoints come from slices.
    pub(crate) fn serve(&self, service: &Name) -> bool {
        self.by_service.contains_key(service)
    }

    pub(crate) fn of_service(&self, service: &Name) -> impl Iterator<Item = &Name> {
        self.by_service.get(service).into_iter().flatten()
    }

    /// Slices that name a pod.
    pub(crate) fn of_pod(&self, pod: &Name) -> impl Iterator<Item = &Name> {
        self.by_pod.get(pod).into_iter().flatten()
    }

    /// Slices with an endpoint at an address, without saying which pod that is.
    pub(crate) fn at(&self, ip: &IpAddr) -> impl Iterator<Item = &Name> {
        self.by_addr.get(ip).into_iter().flatten()
    }

    /// Slices with an endpoint on a node that is no pod.
    pub(crate) fn on_node(&self, node: &NodeName) -> impl Iterator<Item = &Name> {
        self.by_node.get(node).into_iter().flatten()
    }
}

impl SliceFacts {
    /// The pods that its endpoints say they are.
    pub(crate) fn pods(&self) -> impl Iterator<Item = &Name> {
        self.endpoints.iter().filter_map(|endpoint| endpoint.pod.as_ref())
    }

    /// Addresses of endpoints that name no pod.
    pub(crate) fn loose_addresses(&self) -> impl Iterator<Item = &IpAddr> {
        self.loose().flat_map(|endpoint| &endpoint.addresses)
    }

    /// Endpoints that name no pod.
    pub(crate) fn loose(&self) -> impl Iterator<Item = &Endpoint> {
        self.endpoints.iter().filter(|endpoint| endpoint.pod.is_none())
    }
}
