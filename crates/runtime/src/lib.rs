//! What every process of the mesh needs to run: settings, log, metrics, readiness, an administrative
//! server, an orderly end, and the passing of file descriptors.
//!
//! It knows nothing of meshes. Modules stand from the top layer to the bottom; imports point down the list.

pub mod access;
pub mod metrics;
pub mod ready;
pub mod http;
pub mod log;
pub mod outlet;
pub mod drain;
pub mod fds;
pub mod settings;

pub use settings::Settings;
