//! `/status`: how the control plane and its clients are doing, for `weft status`.

use crate::authority::Keys;
use crate::known::Known;
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::watch;
use weft_control_api::gateway_api::status::Status as ObjectStatus;
use weft_control_api::kind::ObjectKey;
use weft_control_api::problem::Problem;
use weft_control_ca::Phase;
use weft_control_serve::{Clients, Kind, StreamStatus, TableView};
use weft_runtime::http::{Answer, Routes};

/// What the status is made of.
pub(crate) struct Status {
    pub(crate) known: Known,
    pub(crate) table: TableView,
    pub(crate) clients: Clients,
    pub(crate) keys: Keys,
    /// Of the certificate of the control plane's own port.
    pub(crate) serving: watch::Receiver<(SystemTime, SystemTime)>,
}

impl Status {
    pub(crate) fn routes(self) -> Routes {
        Routes::new().get("/status", move |_| Answer::json(self.value().to_string()))
    }

    fn value(&self) -> Value {
        let resources: serde_json::Map<String, Value> =
            Kind::ALL.iter().map(|kind| (kind.word().to_owned(), json!(self.table.count(*kind)))).collect();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "generation": self.table.generation(),
            "resources": resources,
            "clients": self.clients.streams().iter().map(client).collect::<Vec<_>>(),
            "problems": self.known.problems().iter().map(problem).collect::<Vec<_>>(),
            "statuses": self.known.read(|index| index.statuses().map(object_status).collect::<Vec<_>>()),
            "authority": self.authority(),
        })
    }

    fn authority(&self) -> Value {
        let authority = self.keys.authority();
        let authority = authority.borrow();
        let rotation = self.keys.rotation().map(|(phase, signing, since)| {
            let phase = match phase {
                Phase::Steady => "steady",
                Phase::Announced => "announced",
                Phase::Switched => "switched",
            };
            json!({ "phase": phase, "signingRoot": signing, "since": seconds(since) })
        });
        let (from, to) = *self.serving.borrow();
        json!({
            "trustDomain": authority.trust_domain(),
            "notAfter": seconds(authority.not_after()),
            "rotation": rotation,
            "problem": self.keys.complaint(),
            "serving": { "notBefore": seconds(from), "notAfter": seconds(to) },
        })
    }
}

fn client(stream: &StreamStatus) -> Value {
    let types: serde_json::Map<String, Value> = stream
        .types
        .iter()
        .map(|(kind, one)| {
            let state = if one.answered >= one.sent { "synced" } else { "pending" };
            (kind.word().to_owned(), json!({ "state": state, "sent": one.sent, "answered": one.answered }))
        })
        .collect();
    let nacks: Vec<Value> = stream
        .nacks
        .iter()
        .map(|nack| json!({ "type": nack.kind.word(), "message": &*nack.message, "at": seconds(nack.at) }))
        .collect();
    json!({
        "role": stream.role.word(),
        "node": &*stream.node,
        "nodeId": &*stream.node_id,
        "serviceAccount": stream.caller.service_account.to_string(),
        "since": seconds(stream.since),
        "types": types,
        "rejections": nacks,
    })
}

/// A problem, as all who tell of problems write it.
pub(crate) fn problem(problem: &Problem) -> Value {
    json!({
        "source": &*problem.source,
        "line": problem.line,
        "object": problem.object.as_ref().map(ToString::to_string),
        "field": problem.field,
        "severity": problem.severity.as_str(),
        "reason": problem.reason,
    })
}

/// What becomes of a route or a Gateway, as its `status` in Kubernetes would say it.
fn object_status((key, status): (&ObjectKey, &ObjectStatus)) -> Value {
    json!({
        "kind": key.kind.name(),
        "namespace": &*key.namespace,
        "name": &*key.name,
        "status": status,
    })
}

/// Seconds since 1970; what a time is in JSON.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
