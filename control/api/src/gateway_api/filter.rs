//! What routes do to requests and responses besides sending them somewhere.

pub mod cors;
pub mod external_auth;
pub mod grpc;
pub mod headers;
pub mod http;
pub mod mirror;
pub mod redirect;
