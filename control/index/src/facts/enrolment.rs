//! Whether labels put a namespace or pod into the mesh (wire facts §4).

use crate::selector::Labels;
use weft_control_api::problem::Note;

/// What the labels of one object say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    In,
    Out,
}

/// Each label with the values for in and out; the first that is there wins.
const LABELS: [(&str, &str, &str); 2] =
    [("weft.dev/mesh", "enabled", "disabled"), ("istio.io/dataplane-mode", "ambient", "none")];

/// Reads the labels of one object. A value that means nothing counts as no label, and is noted.
pub(crate) fn read(labels: &Labels, notes: &mut Vec<Note>) -> Option<Wish> {
    LABELS.iter().find_map(|(label, inside, outside)| {
        let value = labels.get(*label)?;
        if value == inside {
            return Some(Wish::In);
        }
        if value == outside {
            return Some(Wish::Out);
        }
        let reason = format!("{value:?} means nothing here: {inside} and {outside} do");
        notes.push(Note::warning(format!("metadata.labels.{label}"), reason));
        None
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
            (
                "misspelt",
                &[("weft.dev/mesh", "true"), ("istio.io/dataplane-mode", "ambient")],
                { Some(Wish::In) },
                1,
            ),
        ] {
            let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            let mut noted = Vec::new();
            assert_eq!(read(&labels, &mut noted), want, "{case}");
            assert_eq!(noted.len(), notes, "{case}");
        }
    }
}
