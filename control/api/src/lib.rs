//! The Kubernetes objects that Weft reads: which kinds there are, their types, and how a JSON value becomes
//! one of them or a refusal that names the field.
//!
//! The core kinds are `k8s_openapi`'s; Gateway API's and Istio's resources are written out here, every field of
//! them, also those that Weft refuses. What a resource says against itself is found here too. Nothing here
//! interprets an object (that is `weft-control-index`) or reads a file.
#![forbid(unsafe_code)]

pub mod decode;
pub mod refusal;
pub mod object;
pub mod authorization_policy;
pub mod peer_authentication;
pub mod gateway_api;
pub mod istio;
pub mod secret;
pub mod resource;
pub mod selector;
pub mod port;
pub mod duration;
pub mod text;
pub mod check;
pub mod fields;
mod quantity;
pub mod problem;
pub mod kind;

#[cfg(test)]
mod testing;

pub use k8s_openapi;
