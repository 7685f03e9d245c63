//! What the proxy tells of its connections: metrics under the names of the wire facts §5, and one access line
//! per connection.

pub mod access;
pub mod metrics;

use std::sync::Arc;
use weft_core::identity::Identity;
use weft_core::service::Service;
use weft_core::workload::{Workload, WorkloadKind};

/// Who is at the ends of a connection, as far as it is known.
#[derive(Debug, Clone, Default)]
pub struct Parties {
    /// The client.
    pub source: Option<Arc<Workload>>,
    /// The client's identity, if proven.
    pub source_identity: Option<Identity>,
    /// The server.
    pub destination: Option<Arc<Workload>>,
    /// The service that was asked for.
    pub service: Option<Arc<Service>>,
    /// The only service of the server at the port that the connection goes to: what the server's side knows by itself.
    pub served: Option<Arc<Service>>,
    /// What protects the connection.
    pub security: Security,
}

impl Parties {
    /// The service as the server's side knows it: a tunnel brings no more than the pod's own address, so if nobody has
    /// asked for one by name or address here, it is the one that the port stands for.
    pub fn service_at_server(&self) -> Option<&Arc<Service>> {
        self.service.as_ref().or(self.served.as_ref())
    }
}

/// What protects a connection (`connection_security_policy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Security {
    /// Both ends are proven: by certificates, or by the namespaces that they sit in.
    MutualTls,
    /// Nothing.
    #[default]
    None,
}

impl Security {
    /// As metrics and access lines write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MutualTls => "mutual_tls",
            Self::None => "none",
        }
    }
}

/// W3C baggage about a workload, as tunnels carry it (wire facts §1).
pub fn baggage(workload: &Workload) -> String {
    let kind = match workload.kind {
        WorkloadKind::Deployment => "k8s.deployment.name",
        WorkloadKind::CronJob => "k8s.cronjob.name",
        WorkloadKind::Pod => "k8s.pod.name",
        WorkloadKind::Job => "k8s.job.name",
    };
    let Workload { cluster, namespace, workload_name, canonical_name, canonical_revision, locality, .. } =
        workload;
    let zone = &locality.zone;
    let region = &locality.region;
    format!(
        "k8s.cluster.name={cluster},k8s.namespace.name={namespace},{kind}={workload_name},\
         service.name={canonical_name},service.version={canonical_revision},\
         cloud.region={region},cloud.availability_zone={zone}"
    )
}
