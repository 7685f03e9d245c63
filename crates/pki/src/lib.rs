//! SPIFFE X.509 for the mesh: certificate requests, leaves with their keys, trust bundles, and the rustls
//! configurations of both ends of a tunnel.
//!
//! Nothing here does I/O, reads a clock (rustls asks its own during a handshake) or knows an async runtime.
//! Signing certificates is the control plane's job (`weft-control-ca`); who may talk to whom is policy and
//! stands in `weft-core`. Modules stand from the top layer to the bottom; imports point down the list.
#![forbid(unsafe_code)]

pub mod serving;
pub mod tls;
pub mod verifier;
pub mod request;
pub mod sealed;
pub mod leaf;
pub mod live;
pub mod trust;
pub mod peer;
pub mod certificate;
pub mod server_name;
pub mod provider;

pub use certificate::{BadCertificate, BadSan, Usage, claimed_identity};
pub use leaf::{Leaf, LeafError, renew_at, renewal_time};
pub use live::{TrustView, TrustWriter, live_trust};
pub use peer::{Peer, PeerError};
pub use request::{CertificateRequest, CompleteError, GenerateError};
pub use sealed::SealedError;
pub use server_name::{ip_server_name, tunnel_server_name};
pub use serving::{ServingError, ServingSlot, control_client_config, control_server_config};
pub use tls::{ConfigError, LeafResolver, client_config, peer_of, server_config};
pub use trust::{BundleError, Fingerprint, TrustBundle};
pub use verifier::Expect;

#[cfg(test)]
mod tests;
