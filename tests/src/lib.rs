//! What the end-to-end tests, the demo and the benchmark share: a mesh on top of the testkit's world.
#![forbid(unsafe_code)]

pub mod stage;
pub mod asking;
pub mod collector;
pub mod metrics;
pub mod requests;
pub mod talk;
pub mod traces;
pub mod forger;
pub mod vault;
pub mod envoy;
pub mod waiting;
