//! The index as several readers share it: the grant rule asks it about pods, the status about problems.

use parking_lot::RwLock;
use std::sync::Arc;
use weft_control_api::problem::Problem;
use weft_control_ca::{BoundPod, PodPlace, PodView, ServiceAccount};
use weft_control_index::Index;
use weft_control_serve::{Instance, WaypointView};
use weft_core::identity::Identity;
use weft_core::names::{NodeName, WorkloadUid};

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
            let uid = format!("{}//Pod/{}/{}", index.config().cluster, pod.namespace, pod.name);
            let other = index.workload(&WorkloadUid::new(uid)).is_some();
            if other { PodPlace::Gone } else { PodPlace::HostManaged }
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
