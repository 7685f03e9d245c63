//! What matters of a Namespace.

use crate::facts::enrolment::{self, Wish};
use crate::facts::said;
use weft_control_api::k8s_openapi::api::core::v1::Namespace;
use weft_control_api::problem::Note;
use weft_core::enrolment::{Acceleration, Existing};

/// A namespace. Its waypoint will stand here too.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct NamespaceFacts {
    pub(crate) wish: Option<Wish>,
    pub(crate) existing: Option<Existing>,
    pub(crate) acceleration: Option<Acceleration>,
}

pub(crate) fn read(namespace: &Namespace, notes: &mut Vec<Note>) -> NamespaceFacts {
    let labels = namespace.metadata.labels.as_ref();
    NamespaceFacts {
        wish: labels.and_then(|labels| enrolment::read(labels, notes)),
        existing: said::read(&namespace.metadata, notes),
        acceleration: said::read(&namespace.metadata, notes),
    }
}
