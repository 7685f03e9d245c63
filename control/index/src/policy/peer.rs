//! PeerAuthentication: whether connections outside the mesh's tunnel are accepted.

use crate::config::IndexConfig;
use crate::facts::created;
use crate::name::Name;
use crate::policy::{PeerFacts, PeerSaid, Plain, Reach, labels_of, source};
use crate::selector::{Labels, Selector, Within};
use std::collections::BTreeMap;
use weft_control_api::peer_authentication::{Mode, MutualTls, PeerAuthentication, PeerAuthenticationSpec};
use weft_control_api::problem::{Note, Severity};

/// Reads a PeerAuthentication. An error among the notes makes it unusable, not absent.
pub(crate) fn read(
    peer: &PeerAuthentication,
    name: &Name,
    config: &IndexConfig,
    notes: &mut Vec<Note>,
) -> PeerFacts {
    let spec = peer.spec.clone().unwrap_or_default();
    let reach = reach(labels_of(spec.selector.as_ref()), name, config);
    let said = said(&spec, &reach, notes);
    if config.is_root(&name.namespace) && matches!(reach, Reach::Pods(..)) {
        let reason = "a selector in a root namespace reaches that namespace's own pods only";
        notes.push(Note::warning("spec.selector", reason));
    }
    let created = created(&peer.metadata);
    let error = notes.iter().find(|note| note.severity == Severity::Error);
    let said = error.map_or(said, |error| PeerSaid::Unusable(error.text().into()));
    PeerFacts { reach, created, said }
}

/// An empty selector is none, as in Istio.
pub(crate) fn reach(labels: Option<Labels>, name: &Name, config: &IndexConfig) -> Reach {
    match labels.filter(|labels| !labels.is_empty()) {
        Some(labels) => Reach::Pods(Within::Namespace(name.namespace.clone()), Selector::labels(labels)),
        None => Reach::wide(name, config),
    }
}

fn said(spec: &PeerAuthenticationSpec, reach: &Reach, notes: &mut Vec<Note>) -> PeerSaid {
    let all = spec.mtls.as_ref().and_then(|mtls| mode(mtls, "spec.mtls.mode", notes));
    let mut ports = BTreeMap::new();
    let written = spec.port_level_mtls.iter().flatten();
    for (text, mtls) in written {
        let field = format!("spec.portLevelMtls.{text}");
        match source::port(text) {
            Ok(port) => {
                ports.insert(port, mode(mtls, &format!("{field}.mode"), notes));
            }
            Err(reason) => notes.push(Note::error(field, format!("{text:?} {reason}"))),
        }
    }
    if !ports.is_empty() && !matches!(reach, Reach::Pods(..)) {
        notes.push(Note::error("spec.portLevelMtls", "needs a selector: ports are those of chosen pods"));
    }
    PeerSaid::Modes { all, ports }
}

fn mode(mtls: &MutualTls, field: &str, notes: &mut Vec<Note>) -> Option<Plain> {
    match mtls.mode {
        None | Some(Mode::Unset) => None,
        Some(Mode::Permissive) => Some(Plain::Accepted),
        Some(Mode::Strict) => Some(Plain::Refused),
        Some(Mode::Disable) => {
            let reason = "DISABLE is taken for PERMISSIVE: between members of the mesh the tunnel stays";
            notes.push(Note::warning(field, reason));
            Some(Plain::Accepted)
        }
    }
}
