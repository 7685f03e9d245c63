//! What `weft` asks a running waypoint: what a service's requests meet, what would become of one, and how endpoints,
//! certificates and policies are. The formats are this module's own; routes and requests are answered by what decides
//! requests.

mod explain;
mod listing;
mod subject;

use crate::knowledge::{Moment, WaypointMesh};
use crate::standing::Standing;
use serde::Serialize;
use std::sync::Arc;
use subject::Ours;
use tokio::sync::{mpsc, oneshot};
use weft_core::names::WorkloadUid;
use weft_l7::policy::{Policy, PolicyScope, Ruleset};
use weft_runtime::http::{Answer, Method, Request, Routes, StatusCode};
use weft_xds::View;
use weft_xds::describe::{CertificateRow, DiscoveryRow, PolicyRow, Rules, certificates, discovery};
use weft_xds::leaves::Leaves;

/// By which a worker is asked how its endpoints stand.
pub(crate) type Teller = mpsc::Sender<oneshot::Sender<Vec<Standing>>>;

/// What the administrative server reads.
#[derive(Clone)]
pub(crate) struct Admin {
    /// The pod that it runs in, as `<namespace>/<name>`.
    pub(crate) pod: Arc<str>,
    /// Its own workload.
    pub(crate) uid: WorkloadUid,
    /// Discovery.
    pub(crate) view: View<WaypointMesh>,
    /// Certificates.
    pub(crate) leaves: Leaves,
    /// The workers.
    pub(crate) workers: Vec<Teller>,
}

impl Admin {
    /// The routes.
    pub(crate) fn routes(self) -> Routes {
        let get = |path: &'static str, answer: fn(&Self, &Request) -> Answer| {
            let admin = self.clone();
            Routes::new().get(path, move |request| answer(&admin, &request))
        };
        let endpoints = self.clone();
        Routes::new()
            .route(Method::GET, "/endpoints", move |_| {
                let admin = endpoints.clone();
                async move { Answer::of(&admin.endpoints().await) }
            })
            .merge(get("/status", |admin, _| Answer::of(&admin.status())))
            .merge(get("/policies", |admin, _| Answer::of(&policies(&admin.view.now()))))
            .merge(get("/certificates", |admin, _| Answer::of(&certificates(&admin.leaves))))
            .merge(get("/routes", |admin, request| admin.of_service(request, listing::answer)))
            .merge(get("/explain", |admin, request| admin.of_service(request, explain::answer)))
    }

    fn of_service(&self, request: &Request, answer: fn(&Ours<'_>, &Request) -> Answer) -> Answer {
        let moment = self.view.now();
        match Ours::find(&moment, &self.uid, request) {
            Ok(ours) => answer(&ours, request),
            Err(why) => Answer::text(StatusCode::NOT_FOUND, format!("{why}\n")),
        }
    }

    /// By target, workload and worker.
    async fn endpoints(&self) -> Vec<OfWorker> {
        let mut all = Vec::new();
        for (worker, teller) in self.workers.iter().enumerate() {
            let (tx, rx) = oneshot::channel();
            if teller.send(tx).await.is_ok() {
                // A worker that has gone sends nothing anywhere.
                let rows = rx.await.unwrap_or_default().into_iter();
                all.extend(rows.map(|standing| OfWorker { worker, standing }));
            }
        }
        all.sort_by(|a, b| {
            let key =
                |one: &OfWorker| (one.standing.target.clone(), one.standing.workload.clone(), one.worker);
            key(a).cmp(&key(b))
        });
        all
    }

    fn status(&self) -> Status {
        let moment = self.view.now();
        Status {
            pod: self.pod.to_string(),
            gateways: subject::gateways(&moment, &self.uid),
            services: subject::bound(&moment, &self.uid).iter().map(|one| one.name.to_string()).collect(),
            policies: moment.policies().len(),
            certificates: certificates(&self.leaves),
            discovery: discovery(&self.view.sync()),
        }
    }
}

/// The waypoint as `weft waypoint status` shows it.
#[derive(Debug, Serialize)]
struct Status {
    pod: String,
    /// The services of its Gateway, under which clients find it.
    gateways: Vec<String>,
    /// Those before which it stands.
    services: Vec<String>,
    policies: usize,
    certificates: Vec<CertificateRow>,
    discovery: DiscoveryRow,
}

/// An endpoint as one worker sees it.
#[derive(Debug, Serialize)]
struct OfWorker {
    worker: usize,
    #[serde(flatten)]
    standing: Standing,
}

fn policies(moment: &Moment) -> Vec<PolicyRow> {
    let mut rows: Vec<_> = moment.policies().map(|one| policy(one)).collect();
    rows.sort();
    rows
}

fn policy(one: &Policy) -> PolicyRow {
    let rules = match &one.ruleset {
        Ruleset::Rules(rules) => Rules::Understood(rules.len()),
        Ruleset::Unusable(why) => Rules::Unusable(why),
    };
    let scope = match &one.scope {
        PolicyScope::Waypoint => "waypoint".to_owned(),
        // By commas.
        PolicyScope::Services(services) => {
            services.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
        }
    };
    PolicyRow::new(&one.name, scope, (one.action, one.enforcement), rules)
}
