//! What matters of each kind of object, read once: the rest of the index knows no Kubernetes types.
//!
//! A reader puts down notes about what it met; one of severity error refuses the object.

pub(crate) mod endpoint_slice;
pub(crate) mod namespace;
pub(crate) mod network_policy;
pub(crate) mod node;
pub(crate) mod owner;
pub(crate) mod pod;
pub(crate) mod port;
pub(crate) mod service_entry;
pub(crate) mod workload_entry;
pub(crate) mod service;
pub(crate) mod credential;
pub(crate) mod gateway;
pub(crate) mod waypoint;
pub(crate) mod enrolment;
pub(crate) mod said;
pub(crate) mod versions;

use weft_control_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use weft_control_api::problem::{Note, Severity};

/// True if the object has to be refused.
pub(crate) fn refuses(notes: &[Note]) -> bool {
    notes.iter().any(|note| note.severity == Severity::Error)
}

/// When an object was made, in seconds since 1970; what does not say counts as the youngest.
pub(crate) fn created(metadata: &ObjectMeta) -> i64 {
    metadata.creation_timestamp.as_ref().map_or(i64::MAX, |time| time.0.as_second())
}
