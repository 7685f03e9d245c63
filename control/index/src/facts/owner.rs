//! What owns a pod, for telemetry.

use crate::selector::Labels;
use std::sync::Arc;
use weft_control_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use weft_core::workload::WorkloadKind;

/// The kind and name of what owns a pod. The pod itself, if nothing does.
pub(crate) fn read(metadata: &ObjectMeta, labels: &Labels) -> (WorkloadKind, Arc<str>) {
    let owners = metadata.owner_references.as_deref().unwrap_or_default();
    let Some(owner) = owners.iter().find(|owner| owner.controller == Some(true)) else {
        return (WorkloadKind::Pod, metadata.name.as_deref().unwrap_or_default().into());
    };
    let name = owner.name.as_str();
    match owner.kind.as_str() {
        "ReplicaSet" => {
            let hash = labels.get("pod-template-hash").map(|hash| format!("-{hash}"));
            let deployment = hash.and_then(|hash| name.strip_suffix(&hash));
            (WorkloadKind::Deployment, deployment.unwrap_or(name).into())
        }
        "Job" => match cron_job(name) {
            Some(cron_job) => (WorkloadKind::CronJob, cron_job.into()),
            None => (WorkloadKind::Job, name.into()),
        },
        _ => (WorkloadKind::Deployment, name.into()),
    }
}

/// A CronJob names its Jobs after the minute (or second) they were due, in 8 to 10 digits.
fn cron_job(job: &str) -> Option<&str> {
    let (name, due) = job.rsplit_once('-')?;
    let digits = due.bytes().all(|byte| byte.is_ascii_digit());
    (digits && (8..=10).contains(&due.len()) && !name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use weft_control_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

    #[test]
    fn owners_are_followed_by_name() {
        for (case, kind, owner, hash, want) in [
            ("deployment", "ReplicaSet", "web-5d4f", Some("5d4f"), (WorkloadKind::Deployment, "web")),
            ("bare replica set", "ReplicaSet", "web-5d4f", None, (WorkloadKind::Deployment, "web-5d4f")),
            ("job", "Job", "report", None, (WorkloadKind::Job, "report")),
            ("cron job", "Job", "report-28912345", None, (WorkloadKind::CronJob, "report")),
            ("job with a short number", "Job", "report-2024", None, (WorkloadKind::Job, "report-2024")),
            ("stateful set", "StatefulSet", "db", None, (WorkloadKind::Deployment, "db")),
        ] {
            let owner = OwnerReference {
                kind: kind.into(),
                name: owner.into(),
                controller: Some(true),
                ..OwnerReference::default()
            };
            let metadata = ObjectMeta { owner_references: Some(vec![owner]), ..ObjectMeta::default() };
            let labels =
                hash.map(|hash| ("pod-template-hash".to_owned(), hash.to_owned())).into_iter().collect();
            let (kind, name) = read(&metadata, &labels);
            assert_eq!((kind, &*name), want, "{case}");
        }
        let bare = ObjectMeta { name: Some("web".into()), ..ObjectMeta::default() };
        assert_eq!(read(&bare, &Labels::new()), (WorkloadKind::Pod, "web".into()));
    }
}
