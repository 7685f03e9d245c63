//! What a waypoint learns from discovery: the mesh, as every proxy knows it, and what is said of services' traffic.

use imbl::HashMap;
use std::sync::Arc;
use weft_core::names::{NetworkAddr, ServiceName};
use weft_core::snapshot::Snapshot;
use weft_l7::service::ServiceTraffic;
use weft_l7::traffic::Traffic;
use weft_proto::{ADDRESS_TYPE, AUTHORIZATION_TYPE, TRAFFIC_TYPE};
use weft_xds::{Effect, Mesh, Model, Resource};

/// The mesh as a waypoint knows it.
#[derive(Debug, Clone, Copy)]
pub enum WaypointMesh {}

/// One moment of it.
#[derive(Debug, Clone, Default)]
pub struct Moment {
    /// Workloads, services and L4 policies.
    pub mesh: Snapshot,
    traffic: HashMap<ServiceName, Arc<ServiceTraffic>>,
}

impl Moment {
    /// What is said of a service's traffic; `None` if nothing is.
    pub fn traffic(&self, service: &ServiceName) -> Option<&Arc<ServiceTraffic>> {
        self.traffic.get(service)
    }
}

impl Model for WaypointMesh {
    type Snapshot = Moment;

    // What is said of a service comes before the service: a request must not meet the one without the other.
    const TYPES: &'static [&'static str] = &[AUTHORIZATION_TYPE, TRAFFIC_TYPE, ADDRESS_TYPE];

    fn insert(
        moment: &mut Moment,
        type_url: &'static str,
        name: &str,
        body: &[u8],
    ) -> Result<(), (Effect, Arc<str>)> {
        if type_url != TRAFFIC_TYPE {
            return Mesh::insert(&mut moment.mesh, type_url, name, body);
        }
        let traffic = read(name, body).map_err(|reason| (Effect::Kept, reason))?;
        moment.traffic.insert(traffic.said().service.clone(), Arc::new(traffic));
        Ok(())
    }

    fn remove(moment: &mut Moment, type_url: &'static str, name: &str) {
        if type_url != TRAFFIC_TYPE {
            return Mesh::remove(&mut moment.mesh, type_url, name);
        }
        if let Some(name) = ServiceName::parse(name) {
            moment.traffic.remove(&name);
        }
    }

    fn resources(moment: &Moment) -> Vec<Resource> {
        let traffic = moment.traffic.values().filter_map(|traffic| {
            // It came as JSON, so it goes as JSON.
            let json = serde_json::to_vec(traffic.said()).ok()?;
            let name = traffic.said().service.to_string();
            Some(Resource { type_url: TRAFFIC_TYPE, name, body: weft_proto::encode_traffic(json) })
        });
        Mesh::resources(&moment.mesh).into_iter().chain(traffic).collect()
    }

    fn knows(moment: &Moment, addr: &NetworkAddr) -> bool {
        Mesh::knows(&moment.mesh, addr)
    }
}

fn read(name: &str, body: &[u8]) -> Result<ServiceTraffic, Arc<str>> {
    let json = weft_proto::decode_traffic(body).map_err(|error| error.to_string())?;
    let said: Traffic = serde_json::from_slice(&json).map_err(|error| error.to_string())?;
    if said.service.to_string() != name {
        return Err(format!("it is about {}", said.service).into());
    }
    ServiceTraffic::new(said).map_err(|error| error.to_string().into())
}
