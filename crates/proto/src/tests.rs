//! Tests by topic.

mod refused;
mod round_trip;
mod wire;
