//! The node proxy: carries the connections of a node's pods through the mesh, decides policy, and tells of it.
//! It faces hostile bytes and holds no privilege; what needs one, the agent does.
#![forbid(unsafe_code)]

pub mod app;
pub mod config;
pub mod admin;
pub mod link;
pub mod worker;
pub mod telemetry;
pub mod sandbox;

pub use weft_runtime::log::describe;
