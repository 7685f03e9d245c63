//! What becomes of connections that are older than a pod's enrolment: `weft.dev/existing` on a pod or its namespace.

use crate::selector::Labels;
use weft_control_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use weft_control_api::problem::Note;
use weft_core::enrolment::Existing;

const NAME: &str = "weft.dev/existing";

/// Reads one object: its label, else its annotation. A value that means nothing counts as neither, and is noted.
pub(crate) fn read(metadata: &ObjectMeta, notes: &mut Vec<Note>) -> Option<Existing> {
    let places = [("labels", &metadata.labels), ("annotations", &metadata.annotations)];
    places.into_iter().find_map(|(place, pairs)| one(place, pairs.as_ref()?, notes))
}

fn one(place: &str, pairs: &Labels, notes: &mut Vec<Note>) -> Option<Existing> {
    match pairs.get(NAME)?.as_str() {
        "keep" => Some(Existing::Keep),
        "reset" => Some(Existing::Reset),
        other => {
            let reason = format!("{other:?} means nothing here: keep and reset do");
            notes.push(Note::warning(format!("metadata.{place}.{NAME}"), reason));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_beats_an_annotation_of_one_object() {
        let (keep, reset) = (Some(Existing::Keep), Some(Existing::Reset));
        for (case, label, annotation, want, notes) in [
            ("none", None, None, None, 0),
            ("a label", Some("reset"), None, reset, 0),
            ("an annotation", None, Some("reset"), reset, 0),
            ("both", Some("keep"), Some("reset"), keep, 0),
            ("misspelt", Some("Reset"), Some("reset"), reset, 1),
            ("misspelt twice", Some(""), Some("yes"), None, 2),
        ] {
            let pairs = |value: Option<&str>| value.map(|value| [(NAME.to_owned(), value.to_owned())].into());
            let metadata =
                ObjectMeta { labels: pairs(label), annotations: pairs(annotation), ..ObjectMeta::default() };
            let mut noted = Vec::new();
            assert_eq!(read(&metadata, &mut noted), want, "{case}");
            assert_eq!(noted.len(), notes, "{case}");
        }
    }
}
