//! Istio's resources about traffic (`networking.istio.io`) and telemetry (`telemetry.istio.io`), every field of
//! them as of 1.30, also those that are deprecated and those that Weft refuses: only what is read can be named.

pub mod virtual_service;
pub mod destination_rule;
pub mod service_entry;
pub mod workload_entry;
pub mod telemetry;
pub mod percent;
pub mod destination;
pub mod string_match;
pub mod names;

#[cfg(test)]
mod tests;
