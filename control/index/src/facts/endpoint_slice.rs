//! What matters of an EndpointSlice.

use crate::facts::port;
use crate::name::Name;
use std::net::IpAddr;
use std::sync::Arc;
use weft_control_api::k8s_openapi::api::discovery::v1::{Endpoint as Written, EndpointSlice};
use weft_control_api::problem::Note;
use weft_core::names::NodeName;
use weft_core::workload::Health;

/// A slice of a service's endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SliceFacts {
    /// The service, if the slice names one.
    pub(crate) service: Option<Name>,
    pub(crate) endpoints: Vec<Endpoint>,
    /// TCP ports by name (empty for none). A port without a number stands for any.
    pub(crate) ports: Vec<(Arc<str>, Option<u16>)>,
}

/// One endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) addresses: Vec<IpAddr>,
    /// The pod that it says it is.
    pub(crate) pod: Option<Name>,
    pub(crate) node: NodeName,
    pub(crate) zone: Arc<str>,
    pub(crate) health: Health,
    pub(crate) terminating: bool,
}

/// The label with the service's name.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

pub(crate) fn read(slice: &EndpointSlice, name: &Name, notes: &mut Vec<Note>) -> SliceFacts {
    let labels = slice.metadata.labels.as_ref();
    let service = labels.and_then(|labels| labels.get(SERVICE_NAME));
    if service.is_none() {
        notes.push(Note::warning("metadata.labels", format!("without {SERVICE_NAME} it serves no Service")));
    }
    let endpoints = if slice.address_type == "FQDN" {
        notes.push(Note::warning("addressType", "endpoints that are host names are not read"));
        Vec::new()
    } else {
        let all = slice.endpoints.iter().enumerate();
        all.map(|(index, one)| endpoint(one, &format!("endpoints[{index}]"), name, notes)).collect()
    };
    SliceFacts {
        service: service.map(|service| Name::new(name.namespace.clone(), service.as_str())),
        endpoints,
        ports: ports(slice, notes),
    }
}

fn endpoint(one: &Written, path: &str, slice: &Name, notes: &mut Vec<Note>) -> Endpoint {
    let mut addresses = Vec::new();
    for (index, text) in one.addresses.iter().enumerate() {
        match text.parse::<IpAddr>() {
            Ok(ip) => addresses.push(ip.to_canonical()),
            Err(_) => {
                notes.push(Note::error(
                    format!("{path}.addresses[{index}]"),
                    format!("{text:?} is no address"),
                ));
            }
        }
    }
    let pod = one.target_ref.as_ref().filter(|target| target.kind.as_deref() == Some("Pod"));
    let pod = pod.and_then(|target| {
        let namespace = target.namespace.as_deref().unwrap_or(&slice.namespace);
        Some(Name::new(namespace, target.name.as_deref()?))
    });
    let conditions = one.conditions.clone().unwrap_or_default();
    let terminating = conditions.terminating == Some(true);
    let ready = conditions.ready.unwrap_or(true);
    // `serving` is readiness without regard to termination, and to publishNotReadyAddresses. One that terminates is
    // never ready; any other has to be, as for kube-proxy.
    let serves = conditions.serving.unwrap_or(ready) && (ready || terminating);
    Endpoint {
        addresses,
        pod,
        node: NodeName::new(one.node_name.as_deref().unwrap_or_default()),
        zone: one.zone.as_deref().unwrap_or_default().into(),
        health: if serves { Health::Healthy } else { Health::Unhealthy },
        terminating,
    }
}

fn ports(slice: &EndpointSlice, notes: &mut Vec<Note>) -> Vec<(Arc<str>, Option<u16>)> {
    let all = slice.ports.iter().flatten().enumerate();
    let tcp = all.filter(|(_, one)| port::is_tcp(one.protocol.as_deref()));
    tcp.map(|(index, one)| {
        let number = one.port.map(|port| port::number(port, || format!("ports[{index}].port"), notes));
        (one.name.as_deref().unwrap_or_default().into(), number)
    })
    .collect()
}

impl SliceFacts {
    /// The port of an endpoint that serves the service port of this name.
    pub(crate) fn port(&self, name: &str) -> Option<Option<u16>> {
        self.ports.iter().find(|(known, _)| **known == *name).map(|(_, number)| *number)
    }
}
