//! The words of the mesh and its pure decisions: identities, workloads, services, policies, snapshots,
//! and the functions that choose a next hop and decide whether a connection may be.
//!
//! Nothing here does I/O, reads a clock, or knows an async runtime. Modules stand from the top layer to
//! the bottom; imports point down the list.
#![forbid(unsafe_code)]

pub mod route;
pub mod admit;
pub mod waypoint;
pub mod balance;
pub mod snapshot;
pub mod policy;
pub mod labels;
pub mod service;
pub mod enrolment;
pub mod workload;
pub mod names;
pub mod identity;
pub mod ports;
#[cfg(test)]
mod samples;
