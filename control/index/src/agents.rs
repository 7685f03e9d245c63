//! Pods by node, as agents and the certificate authority ask for them.

use crate::agent::AgentPodKey;
use crate::change::Changed;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use weft_core::enrolment::{AgentPod, Membership};
use weft_core::identity::Identity;
use weft_core::names::{NodeName, WorkloadUid};

/// All pods of all nodes.
#[derive(Debug, Default)]
pub(crate) struct Agents {
    all: HashMap<WorkloadUid, Arc<AgentPod>>,
    by_node: HashMap<NodeName, BTreeMap<WorkloadUid, Arc<AgentPod>>>,
    /// How many enrolled pods of a node have a service account: its namespace and name.
    enrolled: HashMap<(NodeName, Arc<str>, Arc<str>), usize>,
}

impl Agents {
    /// Takes what holds now of one pod. A pod that changed its node is gone from the old one.
    pub(crate) fn set(
        &mut self,
        uid: &WorkloadUid,
        now: Option<AgentPod>,
        changed: &mut Changed<AgentPodKey, AgentPod>,
    ) {
        let old = self.all.get(uid);
        if old.map(|old| &**old) == now.as_ref() {
            return;
        }
        if let Some(old) = self.all.remove(uid) {
            self.unlink(&old);
            if now.as_ref().is_none_or(|now| now.node != old.node) {
                changed.removed.push(AgentPodKey::of(&old));
            }
        }
        if let Some(now) = now.map(Arc::new) {
            self.link(&now);
            changed.upserted.push(now);
        }
    }

    fn link(&mut self, pod: &Arc<AgentPod>) {
        if pod.membership == Membership::Enrolled {
            *self.enrolled.entry(account(pod)).or_default() += 1;
        }
        self.by_node.entry(pod.node.clone()).or_default().insert(pod.workload.clone(), pod.clone());
        self.all.insert(pod.workload.clone(), pod.clone());
    }

    fn unlink(&mut self, pod: &AgentPod) {
        if pod.membership == Membership::Enrolled {
            let key = account(pod);
            if let Some(count) = self.enrolled.get_mut(&key) {
                *count -= 1;
                if *count == 0 {
                    self.enrolled.remove(&key);
                }
            }
        }
        if let Some(pods) = self.by_node.get_mut(&pod.node) {
            pods.remove(&pod.workload);
            if pods.is_empty() {
                self.by_node.remove(&pod.node);
            }
        }
    }

    pub(crate) fn has_enrolled(&self, node: &NodeName, identity: &Identity) -> bool {
        let (namespace, name) = (identity.namespace().into(), identity.service_account().into());
        self.enrolled.contains_key(&(node.clone(), namespace, name))
    }

    pub(crate) fn on_node(&self, node: &NodeName) -> impl Iterator<Item = &Arc<AgentPod>> {
        self.by_node.get(node).into_iter().flat_map(BTreeMap::values)
    }

    pub(crate) fn all(&self) -> impl ExactSizeIterator<Item = &Arc<AgentPod>> {
        self.all.values()
    }
}

fn account(pod: &AgentPod) -> (NodeName, Arc<str>, Arc<str>) {
    (pod.node.clone(), pod.namespace.clone(), pod.service_account.clone())
}
