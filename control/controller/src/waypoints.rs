//! `/waypoints`: which there are, who serves them, what they stand before, which Telemetries hold there, and whether they know
//! it, for `weft waypoint`.

use crate::known::Known;
use serde_json::{Value, json};
use weft_control_index::Index;
use weft_control_index::overview::Waypoint;
use weft_control_serve::{Clients, Role, StreamStatus};
use weft_core::names::{GatewayName, ServiceName};
use weft_core::workload::{GatewayAddr, GatewayDestination, Health, Workload};
use weft_runtime::http::{Answer, Routes};

/// What the answer is made of.
#[derive(Clone)]
pub(crate) struct Waypoints {
    pub(crate) known: Known,
    pub(crate) clients: Clients,
}

impl Waypoints {
    pub(crate) fn routes(self) -> Routes {
        Routes::new().get("/waypoints", move |_| Answer::json(self.value().to_string()))
    }

    fn value(&self) -> Value {
        let streams = self.clients.streams();
        let is_waypoint = |stream: &&StreamStatus| stream.role == Role::Waypoint;
        let streams: Vec<_> = streams.iter().filter(is_waypoint).collect();
        self.known.read(|index| {
            index.waypoints().iter().map(|one| row(index, one, &streams)).collect::<Vec<_>>().into()
        })
    }
}

fn row(index: &Index, one: &Waypoint, streams: &[&StreamStatus]) -> Value {
    let GatewayName { namespace, name } = &one.gateway;
    let serves = |workload: &&std::sync::Arc<Workload>| {
        let served = index.waypoint_of(&workload.namespace, &workload.name);
        served.is_some_and(|(gateway, _)| gateway == one.gateway)
    };
    let mut instances: Vec<_> =
        index.workloads().filter(serves).map(|workload| instance(workload, streams)).collect();
    instances.sort_by_key(|row| row["name"].to_string());
    let services = index.services().filter(|service| is(service.waypoint.as_ref(), &one.service));
    let mut services: Vec<String> = services.map(|service| service.name.to_string()).collect();
    services.sort();
    let pods = index.workloads().filter(|workload| is(workload.waypoint.as_ref(), &one.service));
    let mut pods: Vec<String> = pods.map(|pod| format!("{}/{}", pod.namespace, pod.name)).collect();
    pods.sort();
    let telemetries = index.telemetries_at(&one.gateway).into_iter().map(|telemetry| {
        let services: Vec<String> = telemetry.services().iter().map(ToString::to_string).collect();
        json!({ "name": telemetry.name.to_string(), "services": services })
    });
    json!({
        "namespace": &**namespace,
        "name": &**name,
        "class": &*one.class,
        "for": one.takes,
        "instances": instances,
        "services": services,
        "workloads": pods,
        "telemetries": telemetries.collect::<Vec<_>>(),
    })
}

fn is(waypoint: Option<&GatewayAddr>, service: &ServiceName) -> bool {
    waypoint.is_some_and(|addr| match &addr.destination {
        GatewayDestination::Service(name) => name == service,
        GatewayDestination::Addr(_) => false,
    })
}

/// `in_sync` is null for one that is not connected.
fn instance(workload: &Workload, streams: &[&StreamStatus]) -> Value {
    let own = |stream: &&&StreamStatus| {
        let pod = stream.caller.pod.as_ref();
        pod.is_some_and(|pod| *pod.namespace == *workload.namespace && *pod.name == *workload.name)
    };
    let stream = streams.iter().find(own);
    json!({
        "name": &*workload.name,
        "node": workload.node.as_str(),
        "addresses": workload.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "ready": workload.health == Health::Healthy && !workload.terminating,
        "in_sync": stream.map(|stream| stream.types.values().all(|one| one.answered >= one.sent)),
        "rejections": stream.map_or(0, |stream| stream.nacks.len()),
    })
}
