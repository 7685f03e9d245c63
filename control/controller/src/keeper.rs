//! The one writer of index and table: takes what the source tells, and tells what is wrong with it.

use crate::directory::source::{Batch as News, BatchKind};
use crate::known::Known;
use prometheus::IntCounterVec;
use tokio::sync::mpsc;
use weft_control_api::problem::{Problem, Severity};
use weft_control_index::Index;
use weft_control_index::change::Diff;
use weft_control_serve::{Batch, Table};
use weft_runtime::ready::Condition;

/// Takes news in, one batch at a time.
pub(crate) struct Keeper {
    known: Known,
    table: Table,
    ready: Condition,
    seen: IntCounterVec,
}

impl Keeper {
    /// `seen` counts problems by severity; `ready` is met once everything has been read.
    pub(crate) fn new(known: Known, table: Table, ready: Condition, seen: IntCounterVec) -> Self {
        Self { known, table, ready, seen }
    }

    /// Works until the source is gone.
    pub(crate) async fn keep(mut self, mut news: mpsc::Receiver<News>) {
        while let Some(news) = news.recv().await {
            self.take(news);
        }
    }

    fn take(&mut self, news: News) {
        let News { changes, problems, kind } = news;
        let old = self.known.set_file_problems(problems.clone());
        for problem in problems.iter().filter(|problem| !old.contains(problem)) {
            self.tell(problem);
        }
        let all = match kind {
            BatchKind::Waiting(reason) => return self.ready.unmet(reason),
            BatchKind::Initial => true,
            BatchKind::Change => false,
        };
        let (old, diff, batch) = self.known.write(|index| {
            let old: Vec<Problem> = index.problems().cloned().collect();
            let diff = index.apply_all(changes);
            let batch = if all { everything(index) } else { changed(&diff) };
            (old, diff, batch)
        });
        for problem in diff.problems.iter().flat_map(|(_, problems)| problems) {
            if !old.contains(problem) {
                self.tell(problem);
            }
        }
        self.table.apply(batch);
        self.ready.met();
    }

    fn tell(&self, problem: &Problem) {
        self.seen.with_label_values(&[problem.severity.as_str()]).inc();
        let Problem { source, line, object, field, reason, severity } = problem;
        let object = object.as_ref().map(ToString::to_string);
        match severity {
            Severity::Error => tracing::error!(%source, line, object, field, reason, "a manifest is refused"),
            Severity::Warning => {
                tracing::warn!(%source, line, object, field, reason, "a manifest needs attention");
            }
            Severity::Info => tracing::info!(%source, line, object, field, reason, "a manifest says more"),
        }
    }
}

/// All that the index holds.
fn everything(index: &Index) -> Batch {
    let mut batch = Batch::new();
    index.policies().for_each(|policy| batch.put_policy(policy));
    index.workloads().for_each(|workload| batch.put_workload(workload));
    index.requests().for_each(|policy| batch.put_request_policy(&policy.gateway, &policy.said));
    index.traffic().for_each(|traffic| batch.put_traffic(&traffic.gateway, &traffic.said));
    index.telemetries().for_each(|one| batch.put_telemetry(&one.gateway, &one.said));
    index.services().for_each(|service| batch.put_service(service));
    index.agent_pods().for_each(|pod| batch.put_agent_pod(pod));
    batch
}

fn changed(diff: &Diff) -> Batch {
    let mut batch = Batch::new();
    diff.policies.upserted.iter().for_each(|policy| batch.put_policy(policy));
    diff.policies.removed.iter().for_each(|name| batch.remove_policy(name));
    diff.workloads.upserted.iter().for_each(|workload| batch.put_workload(workload));
    diff.workloads.removed.iter().for_each(|uid| batch.remove_workload(uid));
    diff.requests.upserted.iter().for_each(|policy| batch.put_request_policy(&policy.gateway, &policy.said));
    diff.requests.removed.iter().for_each(|gone| batch.remove_request_policy(&gone.gateway, &gone.said));
    diff.traffic.upserted.iter().for_each(|traffic| batch.put_traffic(&traffic.gateway, &traffic.said));
    diff.traffic.removed.iter().for_each(|gone| batch.remove_traffic(&gone.gateway, &gone.said));
    diff.telemetries.upserted.iter().for_each(|one| batch.put_telemetry(&one.gateway, &one.said));
    diff.telemetries.removed.iter().for_each(|gone| batch.remove_telemetry(&gone.gateway, &gone.said));
    diff.services.upserted.iter().for_each(|service| batch.put_service(service));
    diff.services.removed.iter().for_each(|name| batch.remove_service(name));
    diff.agent_pods.upserted.iter().for_each(|pod| batch.put_agent_pod(pod));
    let gone = &diff.agent_pods.removed;
    gone.iter().for_each(|key| batch.remove_agent_pod(&key.node, &key.workload_uid));
    batch
}
