//! Names and addresses that are keys in the mesh's tables.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Wraps the text as it came.
            pub fn new(text: impl Into<Arc<str>>) -> Self {
                Self(text.into())
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name! {
    /// A workload's key in discovery, `<cluster>/<group>/<kind>/<namespace>/<name>`.
    WorkloadUid
}
name! {
    /// The name of a Kubernetes node.
    NodeName
}
name! {
    /// A network in which addresses are unique; empty for the only one.
    Network
}

impl Network {
    /// The one network of a mesh that names none.
    pub fn default_network() -> Self {
        Self::new("")
    }
}

/// Two names that stand together: a namespace and what is unique within it.
macro_rules! pair {
    ($(#[$doc:meta])* $name:ident, $second:ident, $about:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name {
            /// The Kubernetes namespace.
            pub namespace: Arc<str>,
            #[doc = $about]
            pub $second: Arc<str>,
        }

        impl $name {
            /// Puts the two together.
            pub fn new(namespace: impl Into<Arc<str>>, $second: impl Into<Arc<str>>) -> Self {
                Self { namespace: namespace.into(), $second: $second.into() }
            }

            /// Reads `<namespace>/<rest>`; the rest may hold further slashes only if it came so.
            pub fn parse(text: &str) -> Option<Self> {
                let (namespace, rest) = text.split_once('/')?;
                (!rest.is_empty()).then(|| Self::new(namespace, rest))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}/{}", self.namespace, self.$second)
            }
        }
    };
}

pair! {
    /// A service's key in discovery, `<namespace>/<hostname>`.
    ServiceName, hostname, "The full host name, such as `web.default.svc.cluster.local`."
}
pair! {
    /// A policy's key in discovery, `<namespace>/<name>`.
    PolicyName, name, "The policy's name."
}

pair! {
    /// A Gateway: what the instances of a waypoint serve together.
    GatewayName, name, "The Gateway's name."
}

/// An address within a network.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NetworkAddr {
    /// Where the address is unique.
    pub network: Network,
    /// The address, never an IPv4-mapped IPv6 one.
    pub ip: IpAddr,
}

impl fmt::Display for NetworkAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.ip)
    }
}

/// Where the application meant to connect, before capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OriginalDst(pub SocketAddr);

/// The address that the application's connection came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientAddr(pub SocketAddr);

/// Turns an IPv4-mapped IPv6 address into the IPv4 address it stands for; dual-stack sockets report those.
pub fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}
