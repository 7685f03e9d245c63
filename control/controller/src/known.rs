//! The index as several readers share it: the grant rule asks it about pods, the status about problems.

use parking_lot::RwLock;
use std::sync::Arc;
use weft_control_api::problem::Problem;
use weft_control_ca::{BoundPod, PodPlace, PodView, ServiceAccount};
use weft_control_index::Index;
use weft_control_serve::{Instance, WaypointView};
use weft_core::identity::Identity;
use weft_core::names::NodeName;

/// What the sources have told. Clones are the same; [`crate::keeper::Keeper`] alone writes.
#[derive(Clone)]
pub(crate) struct Known(Arc<Inner>);

struct Inner {
    index: RwLock<Index>,
    /// What is wrong with files, besides what the index finds wrong with objects.
    files: RwLock<Vec<Problem>>,
}

impl Known {
    pub(crate) fn new(index: Index) -> Self {
        Self(Arc::new(Inner { index: RwLock::new(index), files: RwLock::default() }))
    }

    pub(crate) fn read<T>(&self, read: impl FnOnce(&Index) -> T) -> T {
        read(&self.0.index.read())
    }

    pub(crate) fn write<T>(&self, write: impl FnOnce(&mut Index) -> T) -> T {
        write(&mut self.0.index.write())
    }

    pub(crate) fn set_file_problems(&self, problems: Vec<Problem>) -> Vec<Problem> {
        std::mem::replace(&mut *self.0.files.write(), problems)
    }

    /// All that is wrong: files first.
    pub(crate) fn problems(&self) -> Vec<Problem> {
        let mut problems = self.0.files.read().clone();
        self.read(|index| problems.extend(index.problems().cloned()));
        problems
    }
}

impl PodView for Known {
    /// A pod that no manifest speaks of is one that the host runs. One that a manifest speaks of by that name,
    /// with another uid or after its end, is gone.
    fn node_of(&self, pod: &BoundPod) -> PodPlace {
        self.read(|index| {
            if let Some(node) = index.node_of(&pod.namespace, &pod.name, &pod.uid) {
                return PodPlace::Running(node.clone());
            }
            let spoken_of = index.speaks_of_pod(&pod.namespace, &pod.name);
            if spoken_of { PodPlace::Gone } else { PodPlace::HostManaged }
        })
    }

    fn has_enrolled_pod(&self, node: &NodeName, identity: &Identity) -> bool {
        self.read(|index| index.has_enrolled_pod(node, identity))
    }
}

impl WaypointView for Known {
    fn instance(&self, namespace: &str, pod: &str) -> Option<Instance> {
        self.read(|index| {
            let (gateway, who) = index.waypoint_of(namespace, pod)?;
            let service_account = ServiceAccount::new(who.namespace(), who.service_account());
            Some(Instance { gateway, service_account })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::manifest::parse_manifests;
    use weft_control_index::config::IndexConfig;

    #[test]
    fn a_pod_that_is_over_is_no_pod_of_the_host() {
        let pod = |name: &str, rest: &str| {
            format!(
                "---\napiVersion: v1\nkind: Pod\nmetadata: {{ name: {name}, namespace: mesh, uid: u-{name} }}\n{rest}\n"
            )
        };
        let text = [
            pod("runs", "spec: { nodeName: n1 }\nstatus: { phase: Running, podIP: 10.0.0.1 }"),
            pod("over", "spec: { nodeName: n1 }\nstatus: { phase: Succeeded, podIP: 10.0.0.2 }"),
            pod("placeless", "status: { phase: Pending }"),
            pod("broken", "spec: { nodeNames: n1 }"),
        ];
        let known = Known::new(Index::new(IndexConfig::default()));
        let manifests = parse_manifests(text.concat().as_bytes(), "pods.yaml").expect("YAML");
        known.write(|index| drop(index.apply_all(manifests.objects)));
        let place = |name: &str, uid: &str| {
            known.node_of(&BoundPod { namespace: "mesh".into(), name: name.into(), uid: uid.into() })
        };
        for (name, uid, want) in [
            ("runs", "u-runs", PodPlace::Running(NodeName::new("n1"))),
            ("runs", "u-another", PodPlace::Gone),
            ("over", "u-over", PodPlace::Gone),
            ("placeless", "u-placeless", PodPlace::Gone),
            ("broken", "u-broken", PodPlace::Gone),
            ("unheard-of", "u", PodPlace::HostManaged),
        ] {
            assert_eq!(place(name, uid), want, "{name} {uid}");
        }
    }
}
