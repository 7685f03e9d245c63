//! Which waypoint the labels of one object ask for (wire facts §4). Each label of Weft's own beats Istio's of the same
//! meaning.

use crate::facts::said::Sayable;
use crate::name::Name;
use crate::selector::Labels;
use std::sync::Arc;
use weft_control_api::problem::Note;

/// What the labels of one object say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Use {
    /// No waypoint, whatever the namespace says.
    Nobody,
    /// This one.
    Gateway(Wanted),
}

/// A waypoint that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) gateway: Name,
    /// The label that names it.
    pub(crate) label: &'static str,
}

const GATEWAY: [&str; 2] = ["weft.dev/waypoint", "istio.io/use-waypoint"];
const NAMESPACE: [&str; 2] = ["weft.dev/waypoint-namespace", "istio.io/use-waypoint-namespace"];
/// The name that no Gateway is asked for by.
const NONE: &str = "none";

/// Reads the labels of an object of a namespace; without a label for it, the Gateway is in the same one.
pub(crate) fn read(labels: &Labels, namespace: &Arc<str>, notes: &mut Vec<Note>) -> Option<Use> {
    let elsewhere = first(&NAMESPACE, labels, notes);
    let Some((label, gateway)) = first(&GATEWAY, labels, notes) else {
        if let Some((label, _)) = elsewhere {
            let reason = format!("means nothing without {} beside it", GATEWAY[0]);
            notes.push(Note::warning(format!("metadata.labels.{label}"), reason));
        }
        return None;
    };
    if gateway == NONE {
        return Some(Use::Nobody);
    }
    let namespace = elsewhere.map_or_else(|| namespace.clone(), |(_, other)| other.into());
    Some(Use::Gateway(Wanted { gateway: Name::new(namespace, gateway), label }))
}

/// The first label that says something. One that is empty counts as none, and is noted.
fn first<'a>(
    names: &[&'static str],
    labels: &'a Labels,
    notes: &mut Vec<Note>,
) -> Option<(&'static str, &'a str)> {
    names.iter().find_map(|label| {
        let value = labels.get(*label)?;
        if value.is_empty() {
            notes.push(Note::warning(format!("metadata.labels.{label}"), "is empty: it counts as unsaid"));
            return None;
        }
        Some((*label, value.as_str()))
    })
}

/// Whether connections to a service's endpoints may come past its waypoint, though that enforces policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Bypass {
    #[default]
    Refuse,
    Allow,
}

impl Sayable for Bypass {
    const NAME: &'static str = "weft.dev/waypoint-bypass";
    const VALUES: &'static [(&'static str, Self)] = &[("allow", Self::Allow), ("refuse", Self::Refuse)];
    /// Policy is never skipped because of a misspelt word.
    const SAFE: Self = Self::Refuse;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_labels_beat_istios_one_by_one() {
        let to = |namespace: &str, gateway: &str, label| {
            let gateway = Name::new(namespace, gateway);
            Some(Use::Gateway(Wanted { gateway, label }))
        };
        let [own, istio] = GATEWAY;
        let [own_ns, istio_ns] = NAMESPACE;
        for (case, labels, want, notes) in [
            ("none", &[][..], None, 0),
            ("own", &[(own, "wp")][..], to("shop", "wp", own), 0),
            ("istio's", &[(istio, "wp")], to("shop", "wp", istio), 0),
            ("both", &[(own, "a"), (istio, "b")], to("shop", "a", own), 0),
            ("opted out", &[(own, "none"), (istio, "b")], Some(Use::Nobody), 0),
            ("istio's way out", &[(istio, "none")], Some(Use::Nobody), 0),
            ("own first", &[(own, "a"), (istio, "none")], to("shop", "a", own), 0),
            ("elsewhere", &[(istio, "wp"), (istio_ns, "infra")], to("infra", "wp", istio), 0),
            ("elsewhere, own", &[(own, "wp"), (own_ns, "infra")], to("infra", "wp", own), 0),
            ("elsewhere, mixed", &[(own, "wp"), (istio_ns, "infra")], to("infra", "wp", own), 0),
            ("elsewhere, both", &[(own, "wp"), (own_ns, "a"), (istio_ns, "b")], to("a", "wp", own), 0),
            ("empty", &[(own, "")], None, 1),
            ("empty before istio's", &[(own, ""), (istio, "wp")], to("shop", "wp", istio), 1),
            ("only a namespace", &[(istio_ns, "infra")], None, 1),
        ] {
            let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            let mut noted = Vec::new();
            assert_eq!(read(&labels, &"shop".into(), &mut noted), want, "{case}");
            assert_eq!(noted.len(), notes, "{case}");
        }
    }
}
