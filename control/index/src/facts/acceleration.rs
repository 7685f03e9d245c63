//! How far the connections of a pod, or of all pods of a namespace, may be accelerated.

use weft_control_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use weft_control_api::problem::Note;
use weft_core::enrolment::Acceleration;

/// The annotation, which may as well be a label.
const NAME: &str = "weft.dev/acceleration";

/// What one object says; nothing if it says nothing. A value that means nothing is noted, and switches it off: an
/// application that somebody cared to say something about must not get more than was meant.
pub(crate) fn read(metadata: &ObjectMeta, notes: &mut Vec<Note>) -> Option<Acceleration> {
    let places = [("annotations", &metadata.annotations), ("labels", &metadata.labels)];
    let found = places.iter().find_map(|(place, all)| Some((place, all.as_ref()?.get(NAME)?)));
    let (place, value) = found?;
    Some(match value.as_str() {
        "off" => Acceleration::Off,
        "proxy" => Acceleration::Proxy,
        "full" => Acceleration::Full,
        other => {
            let reason = format!("{other:?} means nothing here: off, proxy and full do; it is off");
            notes.push(Note::warning(format!("metadata.{place}.{NAME}"), reason));
            Acceleration::Off
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        let pairs = |value: Option<&str>| value.map(|value| [(NAME.to_owned(), value.to_owned())].into());
        for (case, annotation, label, want, notes) in [
            ("nothing", None, None, None, 0),
            ("off", Some("off"), None, Some(Acceleration::Off), 0),
            ("proxy", Some("proxy"), None, Some(Acceleration::Proxy), 0),
            ("full", Some("full"), None, Some(Acceleration::Full), 0),
            ("a label", None, Some("full"), Some(Acceleration::Full), 0),
            ("the annotation first", Some("proxy"), Some("full"), Some(Acceleration::Proxy), 0),
            ("misspelt", Some("Full"), Some("full"), Some(Acceleration::Off), 1),
        ] {
            let metadata =
                ObjectMeta { annotations: pairs(annotation), labels: pairs(label), ..ObjectMeta::default() };
            let mut noted = Vec::new();
            assert_eq!(read(&metadata, &mut noted), want, "{case}");
            assert_eq!(noted.len(), notes, "{case}");
        }
    }
}
