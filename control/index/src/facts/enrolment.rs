//! Whether labels put a namespace or pod into the mesh (wire facts §4).

use crate::selector::Labels;
use weft_control_api::problem::Note;

/// What the labels of one object say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    In,
    Out,
}

/// A label that may stand on a pod or namespace.
struct Label {
    name: &'static str,
    inside: &'static str,
    outside: &'static str,
    /// What a value counts as that means nothing, and in words.
    otherwise: (Option<Wish>, &'static str),
}

/// The first that is there wins.
const LABELS: [Label; 2] = [
    Label {
        name: "weft.dev/mesh",
        inside: "enabled",
        outside: "disabled",
        // Whoever wrote it had the mesh in mind. Left outside by a slip, a pod would speak in plain text and no policy
        // would hold for it; taken in by one, it is only more protected than was meant.
        otherwise: (Some(Wish::In), "it counts as enabled"),
    },
    Label {
        name: "istio.io/dataplane-mode",
        inside: "ambient",
        outside: "none",
        // As in Istio, which knows other modes.
        otherwise: (None, "it counts as absent"),
    },
];

/// Reads the labels of one object. A value that means nothing is noted.
pub(crate) fn read(labels: &Labels, notes: &mut Vec<Note>) -> Option<Wish> {
    LABELS.iter().find_map(|Label { name, inside, outside, otherwise: (otherwise, words) }| {
        let value = labels.get(*name)?;
        if value == inside {
            return Some(Wish::In);
        }
        if value == outside {
            return Some(Wish::Out);
        }
        let reason = format!("{value:?} means nothing here: {inside} and {outside} do; {words}");
        notes.push(Note::warning(format!("metadata.labels.{name}"), reason));
        *otherwise
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_labels_beat_the_others_on_one_object() {
        for (case, labels, want, notes) in [
            ("none", &[][..], None, 0),
            ("in", &[("weft.dev/mesh", "enabled")], Some(Wish::In), 0),
            ("out", &[("weft.dev/mesh", "disabled")], Some(Wish::Out), 0),
            ("ambient", &[("istio.io/dataplane-mode", "ambient")], Some(Wish::In), 0),
            ("not ambient", &[("istio.io/dataplane-mode", "none")], Some(Wish::Out), 0),
            (
                "own first",
                &[("weft.dev/mesh", "disabled"), ("istio.io/dataplane-mode", "ambient")],
                { Some(Wish::Out) },
                0,
            ),
            ("misspelt", &[("weft.dev/mesh", "true")], Some(Wish::In), 1),
            ("empty", &[("weft.dev/mesh", "")], Some(Wish::In), 1),
            (
                "misspelt, and the other does not speak in its place",
                &[("weft.dev/mesh", "Enabled"), ("istio.io/dataplane-mode", "none")],
                Some(Wish::In),
                1,
            ),
            ("another mode of Istio's", &[("istio.io/dataplane-mode", "sidecar")], None, 1),
        ] {
            let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            let mut noted = Vec::new();
            assert_eq!(read(&labels, &mut noted), want, "{case}");
            assert_eq!(noted.len(), notes, "{case}");
        }
    }
}
