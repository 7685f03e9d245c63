//! `weft-waypoint` as a process on loopback addresses, from a stream of discovery to what its clients and backends see.
//! Tunnels, certificates and HTTP are real; it needs no privilege. Each test has a waypoint and addresses of its own.
#![expect(clippy::unwrap_used, reason = "a test; helpers outside test functions count too")]

mod admin;
mod attacks;
mod backend;
mod change;
mod client;
mod collector;
mod control;
mod dynamic;
mod floods;
mod frames;
mod grpc;
mod http2;
mod interop;
mod leaving;
mod passage;
mod peers;
mod policy;
mod prometheus;
mod protocols;
mod resilience;
mod routing;
mod secured;
mod telemetry;
mod trace;
mod tunnels;
mod uploads;
mod upstream;
mod words;
mod workers;
mod world;
