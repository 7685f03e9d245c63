//! Objects in, core values out: the one place that knows what Kubernetes' and Istio's objects mean to the mesh.
//!
//! No I/O, no clock, no async, no Kubernetes client. [`Index::apply`] takes changes of objects and answers
//! with the core values that changed; what it costs depends on what changed, not on what exists.
#![forbid(unsafe_code)]

mod index;
pub mod overview;
mod findings;
mod telemetry;
mod requests;
mod absorb;
mod gateway_status;
mod entries;
mod workload;
mod traffic;
mod endpoints;
mod waypoint;
mod peers;
mod ranges;
mod cluster;
mod policy;
mod facts;
mod agents;
mod dirty;
mod problems;
mod told;
mod selector;
pub mod change;
pub mod agent;
pub mod config;
mod name;

pub use index::Index;
