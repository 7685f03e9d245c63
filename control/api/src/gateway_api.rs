//! Gateway API's resources (`gateway.networking.k8s.io`), every field of the standard and the experimental channel.
//!
//! The bindings that are to be had (`gateway-api`) have one type for each place where a thing may stand: eight for
//! the value of a header, two for each filter. Whoever compiles routes would write everything as often. Here each
//! thing has one type, durations and unions are read once, and defaults are filled in as an API server does.

pub mod gateway;
pub mod gateway_class;
pub mod http_route;
pub mod grpc_route;
pub mod filter;
pub mod stream_route;
pub mod reference_grant;
pub mod backend_tls_policy;
pub mod backend_traffic_policy;
pub mod route;
pub mod session;
pub mod matching;
pub mod status;
pub mod reference;

#[cfg(test)]
mod tests;
