//! The ambient node proxy to beat, as it was measured once on a machine of the same kind: two cores, cross-node, except
//! where another is said.

use crate::load::Load;

/// Its rate as a ratio to direct.
pub(crate) fn ratio(load: Load) -> Option<f64> {
    Some(match load {
        Load::Streams(1) => 0.29,
        Load::Streams(8) => 0.30,
        Load::KeepAlive(1) => 0.31,
        Load::KeepAlive(32) => 0.26,
        Load::NewConnections(1) => 0.18,
        Load::NewConnections(16) => 0.24,
        _ => return None,
    })
}

/// CPU time of its proxies, in seconds for a gigabyte, for 10 000 requests or for 10 000 connections.
pub(crate) fn proxy_cpu(load: Load) -> Option<f64> {
    Some(match load {
        Load::Streams(1) => 1.32,
        Load::KeepAlive(32) => 0.56,
        Load::NewConnections(16) => 3.4,
        _ => return None,
    })
}

/// CPU time of all processes on one core, in multiples of direct.
pub(crate) fn cpu_multiple(load: Load) -> Option<f64> {
    Some(match load {
        Load::KeepAlive(1) => 4.5,
        Load::KeepAlive(32) => 3.8,
        Load::NewConnections(1) => 6.3,
        Load::NewConnections(16) => 4.4,
        Load::Streams(1) => 6.6,
        _ => return None,
    })
}

/// What it adds to the median of a quiet connection, in microseconds.
pub(crate) const ADDED_MICROS: f64 = 131.0;
/// Its memory when idle, in bytes.
pub(crate) const IDLE_BYTES: f64 = 17e6;
/// What an open connection adds, in bytes.
pub(crate) const CONNECTION_BYTES: f64 = 5.4e3;
