//! What proxies learn: workloads, services and policies, as a core [`Snapshot`].

use crate::model::{Effect, Model, Resource};
use std::sync::Arc;
use weft_core::names::{NetworkAddr, PolicyName, ServiceName, WorkloadUid};
use weft_core::snapshot::Snapshot;
use weft_proto::{ADDRESS_TYPE, AUTHORIZATION_TYPE, Address};

/// The mesh as a proxy knows it.
#[derive(Debug, Clone, Copy)]
pub enum Mesh {}

/// Which workloads and services are asked for. Policies are always all asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subscribe {
    /// All of them.
    All,
    /// Those that were asked for by address.
    OnDemand,
}

impl Model for Mesh {
    type Snapshot = Snapshot;

    // Policies first: a workload must not be there before what protects it.
    const TYPES: &'static [&'static str] = &[AUTHORIZATION_TYPE, ADDRESS_TYPE];

    fn insert(
        snapshot: &mut Snapshot,
        type_url: &'static str,
        name: &str,
        body: &[u8],
    ) -> Result<(), (Effect, Arc<str>)> {
        if type_url == AUTHORIZATION_TYPE {
            let read = weft_proto::decode_authorization(name, body);
            snapshot.insert_policy(Arc::new(read.policy));
            return read.complaint.map_or(Ok(()), |why| Err((Effect::Denies, why)));
        }
        let address = weft_proto::decode_address(body);
        let address = address.map_err(|error| (Effect::Kept, error.to_string().into()))?;
        let own = address.resource_name();
        if own != name {
            return Err((Effect::Kept, format!("it calls itself {own}").into()));
        }
        match address {
            Address::Workload(workload) => snapshot.insert_workload(Arc::new(workload)),
            Address::Service(service) => snapshot.insert_service(Arc::new(service)),
        }
        Ok(())
    }

    fn remove(snapshot: &mut Snapshot, type_url: &'static str, name: &str) {
        if type_url == AUTHORIZATION_TYPE {
            let name = PolicyName::parse(name).unwrap_or_else(|| PolicyName::new("", name));
            return snapshot.remove_policy(&name);
        }
        // The name does not say what it is the name of, and no name is both.
        snapshot.remove_workload(&WorkloadUid::new(name));
        if let Some(name) = ServiceName::parse(name) {
            snapshot.remove_service(&name);
        }
    }

    fn resources(snapshot: &Snapshot) -> Vec<Resource> {
        let policies = snapshot.policies().map(|policy| Resource {
            type_url: AUTHORIZATION_TYPE,
            name: policy.name.to_string(),
            body: weft_proto::encode_authorization(policy),
        });
        let workloads = snapshot.workloads().map(|workload| Resource {
            type_url: ADDRESS_TYPE,
            name: workload.uid.to_string(),
            body: weft_proto::encode_workload(workload),
        });
        let services = snapshot.services().map(|service| Resource {
            type_url: ADDRESS_TYPE,
            name: service.name.to_string(),
            body: weft_proto::encode_service(service),
        });
        policies.chain(workloads).chain(services).collect()
    }

    fn knows(snapshot: &Snapshot, addr: &NetworkAddr) -> bool {
        snapshot.workload_at(addr).is_some() || snapshot.services_at(addr).next().is_some()
    }
}
