//! The edge between bytes and words: messages of discovery and of the CA, and their conversion to and from
//! the types of `weft-core`.
//!
//! Generated types stay in here and with the crates that speak gRPC (`weft-xds`, `weft-control-serve`);
//! everybody else calls the `decode_…` and `encode_…` functions, which take and give bytes and core types.
//! Nothing here does I/O. Modules stand from the top layer to the bottom; imports point down the list.
#![forbid(unsafe_code)]

pub mod ads;
pub mod ca;
pub mod state;
mod address;
mod service;
mod workload;
mod gateway;
mod authorization;
mod agent_pod;
mod traffic;
mod field;
mod generated;

pub use address::{Address, decode_address, encode_address, encode_service, encode_workload};
pub use agent_pod::{decode_agent_pod, encode_agent_pod};
pub use authorization::{Read, decode_authorization, encode_authorization};
pub use field::{BadValue, Malformed};
pub use traffic::{
    decode_request_policy, decode_telemetry, decode_traffic, encode_request_policy, encode_telemetry,
    encode_traffic,
};

/// The type of workloads and services in discovery.
pub const ADDRESS_TYPE: &str = "type.googleapis.com/istio.workload.Address";
/// The type of L4 policies in discovery.
pub const AUTHORIZATION_TYPE: &str = "type.googleapis.com/istio.security.Authorization";
/// The type of an agent's pods in discovery.
pub const AGENT_POD_TYPE: &str = "type.googleapis.com/weft.v1.AgentPod";

/// The type of what is said of a service's traffic, for waypoints.
pub const TRAFFIC_TYPE: &str = "type.googleapis.com/weft.v1.Traffic";
/// The type of policies for requests, for waypoints.
pub const REQUEST_POLICY_TYPE: &str = "type.googleapis.com/weft.v1.RequestPolicy";
/// The type of what is traced, counted and logged, for waypoints.
pub const TELEMETRY_TYPE: &str = "type.googleapis.com/weft.v1.Telemetry";

#[cfg(test)]
mod tests;
