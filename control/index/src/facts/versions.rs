//! Which versions of Weft's own dialect of the tunnel something speaks: a Node says it of its proxy, and an instance of a
//! waypoint of itself.

use weft_control_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use weft_control_api::problem::Note;

/// The annotation: versions, separated by commas.
const NAME: &str = "weft.dev/tunnel-versions";

/// What an object says; none if it says nothing. What is no version is a problem, and the others count.
pub(crate) fn read(metadata: &ObjectMeta, notes: &mut Vec<Note>) -> Vec<u16> {
    let text = metadata.annotations.as_ref().and_then(|all| all.get(NAME));
    let parts = text.into_iter().flat_map(|text| text.split(',')).map(str::trim);
    let mut versions = Vec::new();
    for part in parts.filter(|part| !part.is_empty()) {
        match part.parse() {
            Ok(version) => versions.push(version),
            Err(_) => notes.push(Note::warning(
                format!("metadata.annotations.{NAME}"),
                format!("{part:?} is no version"),
            )),
        }
    }
    versions
}
