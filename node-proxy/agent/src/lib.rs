//! The agent of a node: it enrols pods, holds their listeners and makes sockets for the node proxy.
//!
//! It runs as root, is small and rarely changed, and never parses a byte of application traffic. Modules
//! stand from the top layer to the bottom; imports point down the list.
#![forbid(unsafe_code)]

pub mod app;
pub mod control;
pub mod serve;
pub mod config;
pub mod actor;
pub mod status;
pub mod metrics;
pub mod enrol;
pub mod supply;
pub mod memory;
pub mod existing;
pub mod sockets;
pub mod capture;
pub mod reconcile;
mod tables;
