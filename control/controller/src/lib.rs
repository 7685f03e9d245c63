//! The control plane: sources of Kubernetes objects, the index, discovery and certificates in one process.
#![forbid(unsafe_code)]

pub mod app;
pub mod local_token;
mod admin;
mod waypoints;
pub mod analyze;
mod status;
mod metrics;
mod keeper;
mod known;
mod authority;
pub mod settings;
pub mod directory;
