//! What a waypoint learns from discovery: the mesh, as every proxy knows it, what is said of services' traffic, and who
//! may ask for what.

use imbl::HashMap;
use std::sync::Arc;
use weft_core::names::{NetworkAddr, PolicyName, ServiceName};
use weft_core::snapshot::Snapshot;
use weft_l7::policy::{Applying, Policy, PolicyScope};
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
    policies: HashMap<PolicyName, Arc<Policy>>,
    /// Those that apply to a service that some of them name; to all others those for the whole waypoint apply.
    applying: HashMap<ServiceName, Arc<Applying>>,
    wide: Arc<Applying>,
}

impl Moment {
    /// What is said of a service's traffic; `None` if nothing is.
    pub fn traffic(&self, service: &ServiceName) -> Option<&Arc<ServiceTraffic>> {
        self.traffic.get(service)
    }

    /// The policies that apply to what is asked of a service, or of a workload by its own address.
    pub fn applying(&self, service: Option<&ServiceName>) -> &Arc<Applying> {
        service.and_then(|service| self.applying.get(service)).unwrap_or(&self.wide)
    }

    fn insert_policy(&mut self, policy: Policy) {
        let scope = policy.scope.clone();
        let old = self.policies.insert(policy.name.clone(), Arc::new(policy));
        self.policies_changed(old.as_deref().map(|old| &old.scope).into_iter().chain([&scope]));
    }

    fn remove_policy(&mut self, name: &PolicyName) {
        if let Some(old) = self.policies.remove(name) {
            self.policies_changed([&old.scope].into_iter());
        }
    }

    /// What applies is made anew where a policy of one of these scopes may count: its own services, or all that any
    /// policy names.
    fn policies_changed<'a>(&mut self, scopes: impl Iterator<Item = &'a PolicyScope>) {
        let all: Vec<Arc<Policy>> = self.policies.values().cloned().collect();
        for scope in scopes {
            match scope {
                PolicyScope::Services(services) => {
                    services.iter().for_each(|service| self.apply_to(service, &all));
                }
                PolicyScope::Waypoint => {
                    self.wide = Arc::new(Applying::to(None, &all));
                    let named: Vec<ServiceName> = self.applying.keys().cloned().collect();
                    named.iter().for_each(|service| self.apply_to(service, &all));
                }
            }
        }
    }

    fn apply_to(&mut self, service: &ServiceName, all: &[Arc<Policy>]) {
        let named = |policy: &Arc<Policy>| match &policy.scope {
            PolicyScope::Services(services) => services.contains(service),
            PolicyScope::Waypoint => false,
        };
        if all.iter().any(named) {
            self.applying.insert(service.clone(), Arc::new(Applying::to(Some(service), all)));
        } else {
            self.applying.remove(service);
        }
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
