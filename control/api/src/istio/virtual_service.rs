//! `VirtualService`: which traffic to a host goes where, and what is done to it.

mod check;
pub mod fault;
pub mod http;
pub mod http_match;
pub mod response;
pub mod stream;

use crate::resource::Resource;
use http::HttpRoute;
use serde::{Deserialize, Serialize};
use stream::{TcpRoute, TlsRoute};

/// One VirtualService.
pub type VirtualService = Resource<VirtualServiceSpec>;

/// Which traffic, and its routes. Of each list the first route that matches counts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VirtualServiceSpec {
    /// Hosts, in the words of Destination; empty for one that others delegate to.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Gateways whose traffic it is for, and `mesh` for that within the mesh; only `mesh` if it is empty.
    #[serde(default)]
    pub gateways: Vec<String>,
    /// For HTTP, and for TLS that a gateway ended.
    #[serde(default)]
    pub http: Vec<HttpRoute>,
    /// For TLS that nobody ended.
    #[serde(default)]
    pub tls: Vec<TlsRoute>,
    /// For anything else.
    #[serde(default)]
    pub tcp: Vec<TcpRoute>,
    /// Namespaces whose traffic it is for; all if it is empty, `.` for its own.
    #[serde(default)]
    pub export_to: Vec<String>,
}
