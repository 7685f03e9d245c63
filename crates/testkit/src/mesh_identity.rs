//! Which processes a mesh has, and who they are to the control plane.

use std::path::PathBuf;

use anyhow::Result;

use crate::cluster::{Pairs, PodRecord, node_name};
use crate::pod::Pod;
use crate::shared::Shared;

/// A process of the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Component {
    /// `weft-control`, in the fabric.
    Control,
    /// `weft-agent`, one per node.
    Agent,
    /// `weft-node-proxy`, one per node.
    NodeProxy,
    /// `weft-waypoint`, in a pod of its own.
    Waypoint,
}

impl Component {
    /// The name of its program.
    pub fn binary(self) -> &'static str {
        match self {
            Self::Control => "weft-control",
            Self::Agent => "weft-agent",
            Self::NodeProxy => "weft-node-proxy",
            Self::Waypoint => "weft-waypoint",
        }
    }
}

/// Who a process of the mesh is to the control plane: a service account, and the pod that its token is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshIdentity {
    /// The pod's and the service account's namespace.
    pub namespace: String,
    /// The service account.
    pub service_account: String,
    /// The pod's name.
    pub pod: String,
    /// The pod's uid.
    pub uid: String,
    /// Where the process looks for its token. Whoever can sign one writes it there before the mesh starts.
    pub token_file: PathBuf,
}

impl MeshIdentity {
    /// That of an agent or a node proxy.
    pub(crate) fn new(shared: &Shared, component: Component, node: usize) -> Self {
        let name = component.binary();
        let pod = format!("{name}-{}", node_name(node));
        let kind = component as usize;
        Self {
            namespace: "weft-system".to_owned(),
            service_account: name.to_owned(),
            uid: format!("00000000-0000-4000-8000-{kind:06x}{node:06x}"),
            token_file: shared.folder().join("tokens").join(&pod),
            pod,
        }
    }

    /// That of a process of the mesh which runs in a pod like others.
    pub fn of_pod(pod: &Pod) -> Result<Self> {
        let (namespace, name) = (pod.namespace(), pod.name());
        Ok(Self {
            namespace: namespace.to_owned(),
            service_account: pod.service_account()?,
            pod: name.to_owned(),
            uid: pod.uid()?,
            token_file: pod.shared.folder().join("tokens").join(format!("{namespace}.{name}")),
        })
    }

    /// Writes the pods of agents and node proxies, which share their node's network.
    pub(crate) fn apply_all(shared: &Shared) -> Result<()> {
        let mut cluster = shared.cluster.lock();
        cluster
            .apply_namespace("weft-system", &[("weft.dev/mesh".to_owned(), "disabled".to_owned())].into())?;
        for node in 1..=shared.nodes {
            for component in [Component::Agent, Component::NodeProxy] {
                let own = Self::new(shared, component, node);
                let ips = [shared.plan.node4(node).into(), shared.plan.node6(node).into()];
                cluster.apply_host_pod(&PodRecord {
                    namespace: own.namespace,
                    name: own.pod,
                    uid: own.uid,
                    node,
                    ips,
                    labels: Pairs::new(),
                    annotations: Pairs::new(),
                    service_account: own.service_account,
                    dns: None,
                    ports: Vec::new(),
                    ready: true,
                    terminating: false,
                })?;
            }
        }
        Ok(())
    }
}
