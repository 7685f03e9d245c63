//! What matters of a Namespace.

use crate::facts::enrolment::{self, Wish};
use crate::facts::said;
use crate::facts::waypoint::{self, Bypass, Use};
use crate::selector::Labels;
use std::sync::Arc;
use weft_control_api::k8s_openapi::api::core::v1::Namespace;
use weft_control_api::problem::Note;
use weft_core::enrolment::{Acceleration, Existing};

/// A namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct NamespaceFacts {
    pub(crate) wish: Option<Wish>,
    pub(crate) existing: Option<Existing>,
    pub(crate) acceleration: Option<Acceleration>,
    /// For its services and pods that do not say.
    pub(crate) waypoint: Option<Use>,
    pub(crate) bypass: Option<Bypass>,
    /// What Gateways select namespaces by.
    pub(crate) labels: Labels,
}

pub(crate) fn read(namespace: &Namespace, name: &Arc<str>, notes: &mut Vec<Note>) -> NamespaceFacts {
    let labels = namespace.metadata.labels.clone().unwrap_or_default();
    NamespaceFacts {
        wish: enrolment::read(&labels, notes),
        existing: said::read(&namespace.metadata, notes),
        acceleration: said::read(&namespace.metadata, notes),
        waypoint: waypoint::read(&labels, name, notes),
        bypass: said::read(&namespace.metadata, notes),
        labels,
    }
}
