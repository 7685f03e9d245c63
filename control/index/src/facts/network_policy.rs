//! What matters of a NetworkPolicy: which pods it selects. Weft does not enforce it (yet), but must not carry
//! those pods' traffic where the network plugin does not see it. One that cannot be read may select any pod of its
//! namespace, so it counts as if it selected all of them.

use crate::selector::Selector;
use weft_control_api::k8s_openapi::api::networking::v1::NetworkPolicy;
use weft_control_api::problem::Note;

pub(crate) fn read(policy: &NetworkPolicy, notes: &mut Vec<Note>) -> Selector {
    let selector = policy.spec.as_ref().and_then(|spec| spec.pod_selector.as_ref());
    let Some(selector) = selector else {
        return Selector::default(); // All pods of the namespace.
    };
    Selector::read(selector).unwrap_or_else(|(index, operator)| {
        let field = format!("spec.podSelector.matchExpressions[{index}].operator");
        notes.push(Note::error(field, format!("{operator:?} is no operator")));
        unreadable()
    })
}

/// All pods of the namespace.
pub(crate) fn unreadable() -> Selector {
    Selector::default()
}
