//! The words of L7 traffic management, and its pure decisions: which rule a request meets, which endpoint it goes to,
//! whether it is tried again, and whether it may be at all.
//!
//! Gateway API's routes and Istio's become the same words in `weft-control-index`, with conflicts and precedence
//! settled, so whoever carries requests knows neither. Nothing here does I/O, reads a clock, or knows an async runtime.
//! The words are serialisable: discovery carries them as JSON that refuses what it does not know, because a rule that is
//! obeyed by half is worse than the one before. Modules stand from the top layer to the bottom; imports point down
//! the list.
#![forbid(unsafe_code)]

pub mod apply;
pub mod telemetry;
pub mod policy;
pub mod service;
pub mod table;
pub mod traffic;
pub mod balance;
pub mod words;
mod cover;
pub mod rule;
pub mod outlier;
pub mod retry;
pub mod limit;
pub mod destination;
pub mod matches;
pub mod target;
pub mod headers;
pub mod condition;
pub mod deadline;
pub mod fault;
pub mod resilience;
pub mod adaptive;
pub mod grpc;
pub mod path;
pub mod text;
pub mod pattern;
pub mod share;
mod wire;
