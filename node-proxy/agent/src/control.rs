//! Discovery's word, put into the actor's terms.

use crate::actor::Input;
use crate::reconcile::{ExistingRule, Told, Wanted};
use std::path::PathBuf;
use tokio::sync::mpsc;
use weft_core::enrolment::{AgentPod, Membership};
use weft_core::names::{NodeName, WorkloadUid};
use weft_runtime::ready::Condition;
use weft_xds::{AgentPods, TypeState, View};

/// Tells the actor of every pod of the node, and again whenever something changes, until either is gone.
///
/// Only what the control plane has said itself counts: the agent's own memory serves until then.
pub async fn follow(
    mut view: View<AgentPods>,
    node: NodeName,
    inputs: mpsc::Sender<Input>,
    ready: Condition,
) {
    let mut news = view.clone();
    loop {
        let sync = view.sync();
        if sync.types.iter().all(|one| one.state == TypeState::InSync) {
            ready.met();
            let snapshot = view.now();
            let pods = snapshot.values().filter(|pod| pod.node == node).map(|pod| told(pod)).collect();
            if inputs.send(Input::Told(pods)).await.is_err() {
                return;
            }
        } else {
            ready.unmet(sync.last_error.as_deref().unwrap_or("the control plane has not told yet"));
        }
        let changed = tokio::select! {
            snapshot = view.changed() => snapshot.is_some(),
            sync = news.sync_changed() => sync.is_some(),
        };
        if !changed {
            return;
        }
    }
}

/// One pod.
fn told(pod: &AgentPod) -> (WorkloadUid, Told) {
    let told = match pod.membership {
        Membership::Outside => Told::Outside { pod_uid: pod.pod_uid.clone() },
        Membership::Enrolled => Told::Enrolled(Wanted {
            uid: pod.workload.clone(),
            pod_uid: pod.pod_uid.clone(),
            namespace: pod.namespace.clone(),
            name: pod.name.clone(),
            addresses: pod.addresses.clone(),
            netns: pod.netns.as_deref().map(PathBuf::from),
            existing: ExistingRule { existing: pod.existing, plain_text: pod.plain_text.clone() },
            acceleration: pod.acceleration,
        }),
    };
    (pod.workload.clone(), told)
}

#[cfg(test)]
mod tests {
    use super::*;
    use weft_core::enrolment::{Acceleration, Existing, PlainText};

    #[test]
    fn membership_decides() {
        let pod = |membership| AgentPod {
            workload: WorkloadUid::new("c//Pod/default/a"),
            pod_uid: "u".into(),
            namespace: "default".into(),
            name: "a".into(),
            node: NodeName::new("n"),
            service_account: "default".into(),
            addresses: vec![[10, 0, 0, 1].into()],
            netns: Some("/run/netns/a".into()),
            membership,
            acceleration: Acceleration::Standard,
            existing: Existing::Reset,
            plain_text: PlainText::default(),
        };
        assert_eq!(told(&pod(Membership::Outside)).1, Told::Outside { pod_uid: "u".into() });
        let (uid, Told::Enrolled(wanted)) = told(&pod(Membership::Enrolled)) else { panic!("enrolled") };
        assert_eq!(wanted.existing.existing, Existing::Reset);
        assert_eq!((uid, wanted.netns), (wanted.uid, Some(PathBuf::from("/run/netns/a"))));
    }
}
