//! The control plane's server: discovery (delta ADS) and certificates, to callers that show a token.
//!
//! A [`Table`] is the one writer of what is served; streams read whole snapshots of it and are told what
//! changed since they were told last. What goes into the table, and who signs, is decided elsewhere. Modules
//! stand from the top layer to the bottom; imports point down the list.
#![forbid(unsafe_code)]

mod certificates;
mod discovery;
mod session;
mod subscription;
mod clients;
mod auth;
mod incoming;
mod table;
mod batch;
mod state;

pub use auth::{Auth, Caller, Instance, WaypointView};
pub use batch::Batch;
pub use certificates::{CertificateCounts, CertificateService};
pub use clients::{Clients, Nack, Role, StreamStatus, TypeStatus};
pub use discovery::DiscoveryService;
pub use incoming::{Incoming, IncomingError};
pub use state::Kind;
pub use table::{Table, TableView};

#[cfg(test)]
mod tests;
