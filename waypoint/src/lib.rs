//! The waypoint: what a namespace, a service account or a service needs of HTTP. Node proxies bring it the connections of
//! clients through tunnels; it reads their requests, decides by routes and policy, and brings each to a backend through
//! tunnels of its own. It holds no privilege.
#![forbid(unsafe_code)]

pub mod app;
pub mod config;
mod worker;
mod inbound;
mod connection;
mod tcp;
mod requests;
mod forward;
mod upstream;
mod endpoints;
mod tunnels;
mod telemetry;
mod rewind;
mod body;
mod client;
pub mod knowledge;
