//! A connection of a pod, by its numbers.

use std::net::SocketAddr;

/// Both ends of a connection, as the pod sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ends {
    /// The pod's end.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
}
