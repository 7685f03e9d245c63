//! Requests that somebody else has to allow (GEP-1494).

use crate::check::{Check, Findings, union};
use crate::gateway_api::reference::BackendObjectReference;
use serde::{Deserialize, Serialize};

/// Asks a service about each request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExternalAuth {
    /// How it is asked.
    pub protocol: ExternalAuthProtocol,
    /// Who is asked.
    pub backend_ref: BackendObjectReference,
    /// More about asking by gRPC; only for that.
    pub grpc: Option<GrpcAuth>,
    /// More about asking by HTTP; only for that.
    pub http: Option<HttpAuth>,
    /// How much of the body goes along; nothing if there is none.
    pub forward_body: Option<ForwardBody>,
}

/// How an authoriser is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ExternalAuthProtocol {
    /// Envoy's ext_authz.
    Grpc,
    /// The request itself, without its body, answered by 200 if it may be.
    Http,
}

/// More about asking by gRPC.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GrpcAuth {
    /// Headers that the authoriser sees; all if it is empty.
    #[serde(default)]
    pub allowed_headers: Vec<String>,
}

/// More about asking by HTTP.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpAuth {
    /// What stands before the path of the request; nothing if there is none.
    pub path: Option<String>,
    /// Headers that the authoriser sees besides the necessary ones.
    #[serde(default)]
    pub allowed_headers: Vec<String>,
    /// Headers of its answer that the request gets; all if it is empty.
    #[serde(default)]
    pub allowed_response_headers: Vec<String>,
}

/// How much of the body the authoriser sees.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ForwardBody {
    /// So many bytes; nothing of it if zero.
    #[serde(default)]
    pub max_size: u16,
}

/// Most headers of each list.
const HEADERS_MAX: usize = 64;

impl Check for ExternalAuth {
    fn check(&self, found: &mut Findings) {
        found.field("backendRef", &self.backend_ref);
        let set = [("grpc", self.grpc.is_some()), ("http", self.http.is_some())];
        let (kind, wanted) = match self.protocol {
            ExternalAuthProtocol::Grpc => ("GRPC", "grpc"),
            ExternalAuthProtocol::Http => ("HTTP", "http"),
        };
        if let Err(reason) = union(kind, wanted, &set) {
            found.refuse(reason);
        }
        if let Some(grpc) = &self.grpc {
            found.at("grpc", |found| found.count("allowedHeaders", &grpc.allowed_headers, 0..=HEADERS_MAX));
        }
        if let Some(http) = &self.http {
            found.at("http", |found| {
                found.count("allowedHeaders", &http.allowed_headers, 0..=HEADERS_MAX);
                found.count("allowedResponseHeaders", &http.allowed_response_headers, 0..=HEADERS_MAX);
            });
        }
    }
}
