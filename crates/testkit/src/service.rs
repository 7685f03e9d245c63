//! Services, as a user would write them.

use std::sync::Arc;

use anyhow::Result;
use serde_json::{Map, Value, json};

use crate::cluster::{Pairs, PortRecord, ServiceRecord};
use crate::shared::Shared;

/// Where a Service's port leads: a number, or the name of a container port.
#[derive(Clone, Debug)]
pub enum TargetPort {
    /// The same number on every pod.
    Number(u16),
    /// Whatever each pod calls so.
    Name(String),
}

impl From<u16> for TargetPort {
    fn from(number: u16) -> Self {
        Self::Number(number)
    }
}

impl From<i32> for TargetPort {
    /// So that a number can be written as it is.
    ///
    /// # Panics
    /// If it is no port.
    fn from(number: i32) -> Self {
        Self::Number(u16::try_from(number).expect("a port is a number of 16 bits"))
    }
}

impl From<&str> for TargetPort {
    fn from(name: &str) -> Self {
        Self::Name(name.to_owned())
    }
}

/// The protocol of a Service's port.
#[derive(Clone, Copy, Debug)]
pub enum Port {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// A Service to be, or to be changed: applying it again replaces it and keeps its addresses.
#[derive(Clone, Debug)]
#[must_use = "a Service begins with apply()"]
pub struct ServiceBuilder {
    shared: Arc<Shared>,
    record: ServiceRecord,
}

impl ServiceBuilder {
    pub(crate) fn new(shared: Arc<Shared>, namespace: &str, name: &str) -> Self {
        let ips = {
            let mut cluster = shared.cluster.lock();
            cluster.service_ips(namespace, name).unwrap_or_else(|| cluster.next_service_ips())
        };
        let record = ServiceRecord {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            labels: Pairs::new(),
            annotations: Pairs::new(),
            selector: None,
            ports: Vec::new(),
            spec: Map::new(),
            headless: false,
            external_name: false,
            publish_not_ready: false,
            ips,
        };
        Self { shared, record }
    }

    /// Adds a TCP port.
    pub fn port(self, name: &str, port: u16, target: impl Into<TargetPort>) -> Self {
        self.port_of(Port::Tcp, name, port, target)
    }

    /// Adds a port.
    pub fn port_of(mut self, protocol: Port, name: &str, port: u16, target: impl Into<TargetPort>) -> Self {
        let target = match target.into() {
            TargetPort::Number(number) => json!(number),
            TargetPort::Name(name) => json!(name),
        };
        let protocol = match protocol {
            Port::Tcp => "TCP",
            Port::Udp => "UDP",
        };
        self.record.ports.push(PortRecord { name: name.to_owned(), port, target, protocol });
        self
    }

    /// Takes pods with these labels. Without it the Service has no selector, and its EndpointSlices are the test's.
    pub fn select<const N: usize>(mut self, labels: [(&str, &str); N]) -> Self {
        let pairs = labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
        self.record.selector = Some(pairs.collect());
        self
    }

    /// Adds a label.
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.record.labels.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Adds an annotation.
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.record.annotations.insert(key.to_owned(), value.to_owned());
        self
    }

    /// No address of its own: its name stands for its pods.
    pub fn headless(mut self) -> Self {
        self.record.headless = true;
        self
    }

    /// Its name stands for another name.
    pub fn external_name(mut self, name: &str) -> Self {
        self.record.external_name = true;
        self.spec("type", json!("ExternalName")).spec("externalName", json!(name))
    }

    /// Lists pods that are not ready, too.
    pub fn publish_not_ready(mut self) -> Self {
        self.record.publish_not_ready = true;
        self
    }

    /// Sends a client to the same pod for so long after its last connection.
    pub fn session_affinity(self, seconds: u32) -> Self {
        self.spec("sessionAffinity", json!("ClientIP"))
            .spec("sessionAffinityConfig", json!({"clientIP": {"timeoutSeconds": seconds}}))
    }

    /// Sets any other field of the spec; the field `status` becomes the Service's status.
    pub fn spec(mut self, field: &str, value: Value) -> Self {
        self.record.spec.insert(field.to_owned(), value);
        self
    }

    /// The address that it will have, or has: IPv4 and IPv6.
    pub fn ips(&self) -> [std::net::IpAddr; 2] {
        self.record.ips
    }

    /// Writes the Service and its EndpointSlices.
    pub fn apply(self) -> Result<()> {
        let _growing = self.shared.grow()?;
        self.shared.cluster.lock().apply_service(self.record)
    }

    /// Removes the Service and its EndpointSlices.
    pub fn delete(self) -> Result<()> {
        self.shared.cluster.lock().remove_service(&self.record.namespace, &self.record.name)
    }
}
