//! The tunnels of the mesh: Weft's own dialect and HBONE behind one seam, and the relays that carry an
//! application's bytes through them.
//!
//! It knows sockets, TLS and frames. It knows no policy, no discovery and no Kubernetes: whoever opens or
//! accepts a stream has decided before.
#![forbid(unsafe_code)]

pub mod pool;
pub mod handle;
pub mod accept;
pub mod handshakes;
pub mod io;
pub mod stream;
pub mod hbone;
pub mod mux;
pub mod join;
pub mod request;
pub mod words;
mod tls_stream;
mod batch;
mod handshake;
pub mod tls;
pub mod record;
mod aead;
pub mod end;
mod watch;
pub mod socket;
pub mod moment;
pub mod scratch;
