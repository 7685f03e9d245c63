//! The service that a question is about: one before which this waypoint stands.

use crate::knowledge::Moment;
use std::sync::Arc;
use weft_core::names::WorkloadUid;
use weft_core::service::Service;
use weft_core::waypoint::is_instance;
use weft_core::workload::Workload;
use weft_runtime::http::Request;

/// A service before which this waypoint stands, and what is known.
pub(super) struct Ours<'a> {
    pub(super) moment: &'a Arc<Moment>,
    /// The waypoint's own workload.
    pub(super) own: &'a Arc<Workload>,
    pub(super) service: &'a Arc<Service>,
}

/// Why a question cannot be answered here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotOurs {
    #[error("discovery does not know this waypoint's own pod yet")]
    UnknownSelf,
    #[error("which service? say service=NAMESPACE/NAME, or its host name")]
    Unsaid,
    #[error("{asked} may be {}; say NAMESPACE/NAME", .found.join(", "))]
    Several { asked: String, found: Vec<String> },
    #[error("{asked} is no service that this waypoint stands before; {}", among(.bound))]
    Nothing { asked: String, bound: Vec<String> },
}

fn among(bound: &[String]) -> String {
    if bound.is_empty() { "there is none".to_owned() } else { format!("those are {}", bound.join(", ")) }
}

impl<'a> Ours<'a> {
    pub(super) fn find(
        moment: &'a Arc<Moment>,
        uid: &WorkloadUid,
        request: &Request,
    ) -> Result<Self, NotOurs> {
        let own = moment.mesh.workload(uid).ok_or(NotOurs::UnknownSelf)?;
        let asked = request.values("service").next().flatten().filter(|text| !text.is_empty());
        let asked = asked.ok_or(NotOurs::Unsaid)?;
        let bound = bound(moment, uid);
        let found: Vec<_> = bound.iter().filter(|one| is_named(one, &asked)).collect();
        let names = |all: &[&&'a Arc<Service>]| all.iter().map(|one| one.name.to_string()).collect();
        match found.as_slice() {
            [service] => Ok(Self { moment, own, service }),
            [] => Err(NotOurs::Nothing { asked, bound: names(&bound.iter().collect::<Vec<_>>()) }),
            several => Err(NotOurs::Several { asked, found: names(several) }),
        }
    }
}

/// By its host name, its short name, or either below its namespace.
fn is_named(service: &Service, asked: &str) -> bool {
    let own = |name: &str| *name == *service.name.hostname || *name == *service.short_name;
    let below = asked
        .split_once('/')
        .is_some_and(|(namespace, name)| *namespace == *service.name.namespace && own(name));
    below || own(asked)
}

/// The services before which the waypoint stands, by name.
pub(super) fn bound<'a>(moment: &'a Moment, uid: &WorkloadUid) -> Vec<&'a Arc<Service>> {
    let Some(own) = moment.mesh.workload(uid) else {
        return Vec::new();
    };
    let ours = |service: &&Arc<Service>| {
        service.waypoint.as_ref().is_some_and(|gateway| is_instance(&moment.mesh, gateway, own))
    };
    let mut all: Vec<_> = moment.mesh.services().filter(ours).collect();
    all.sort_by(|a, b| (&a.name.namespace, &a.name.hostname).cmp(&(&b.name.namespace, &b.name.hostname)));
    all
}

/// The services that the waypoint itself serves: those of its Gateway.
pub(super) fn gateways(moment: &Moment, uid: &WorkloadUid) -> Vec<String> {
    let own = moment.mesh.workload(uid);
    let mut all: Vec<_> =
        own.into_iter().flat_map(|own| own.services.iter()).map(|(name, _)| name.to_string()).collect();
    all.sort();
    all
}
