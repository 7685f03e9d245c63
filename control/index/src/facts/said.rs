//! What a pod or its namespace says under a name of Weft's own that both labels and annotations may have:
//! `weft.dev/existing` and `weft.dev/acceleration`. One rule for all of them:
//!
//! - An object's annotation beats its label, and a pod beats its namespace.
//! - A value that means nothing is a problem, and its object gets what is safe, as if nobody had said anything. Neither
//!   label nor namespace speaks in its place: whoever wrote it meant to overrule them.

use weft_control_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use weft_control_api::problem::Note;
use weft_core::enrolment::{Acceleration, Existing};

/// Something that can be said so.
pub(crate) trait Sayable: Copy + Default + PartialEq + 'static {
    /// The key of the annotation or label.
    const NAME: &'static str;
    /// Every value, in words.
    const VALUES: &'static [(&'static str, Self)];
    /// What does no harm.
    const SAFE: Self;
}

/// What becomes of connections that are older than a pod's enrolment.
impl Sayable for Existing {
    const NAME: &'static str = "weft.dev/existing";
    const VALUES: &'static [(&'static str, Self)] = &[("keep", Self::Keep), ("reset", Self::Reset)];
    /// What was ended cannot be had back.
    const SAFE: Self = Self::Keep;
}

/// How far connections are accelerated.
impl Sayable for Acceleration {
    const NAME: &'static str = "weft.dev/acceleration";
    const VALUES: &'static [(&'static str, Self)] =
        &[("off", Self::Off), ("proxy", Self::Proxy), ("full", Self::Full)];
    /// An application that somebody cared to say something about must not get more than was meant.
    const SAFE: Self = Self::Off;
}

/// What one object says; nothing if it says nothing.
pub(crate) fn read<S: Sayable>(metadata: &ObjectMeta, notes: &mut Vec<Note>) -> Option<S> {
    let places = [("annotations", &metadata.annotations), ("labels", &metadata.labels)];
    let found = places.iter().find_map(|(place, all)| Some((place, all.as_ref()?.get(S::NAME)?)));
    let (place, text) = found?;
    let known = S::VALUES.iter().find(|(word, _)| word == text).map(|(_, value)| *value);
    Some(known.unwrap_or_else(|| {
        let reason =
            format!("{text:?} means nothing here: {} do; it counts as {}", words::<S>(), safe::<S>());
        notes.push(Note::warning(format!("metadata.{place}.{}", S::NAME), reason));
        S::SAFE
    }))
}

/// `keep and reset`.
fn words<S: Sayable>() -> String {
    let words: Vec<&str> = S::VALUES.iter().map(|(word, _)| *word).collect();
    match words.as_slice() {
        [others @ .., last] if !others.is_empty() => format!("{} and {last}", others.join(", ")),
        _ => words.concat(),
    }
}

fn safe<S: Sayable>() -> &'static str {
    S::VALUES.iter().find(|(_, value)| *value == S::SAFE).map_or("unsaid", |(word, _)| word)
}

/// What holds for a pod of a namespace.
pub(crate) fn for_pod<S: Sayable>(pod: Option<S>, namespace: Option<S>) -> S {
    pod.or(namespace).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<S: Sayable + std::fmt::Debug>(low: (&str, S), high: (&str, S)) {
        let ((low, is_low), (high, is_high)) = (low, high);
        for (case, annotation, label, want, notes) in [
            ("nothing", None, None, None, 0),
            ("an annotation", Some(low), None, Some(is_low), 0),
            ("another", Some(high), None, Some(is_high), 0),
            ("a label", None, Some(high), Some(is_high), 0),
            ("the annotation first", Some(low), Some(high), Some(is_low), 0),
            ("a misspelt label behind it", Some(high), Some("yes"), Some(is_high), 0),
            ("misspelt", Some("Yes"), Some(high), Some(S::SAFE), 1),
            ("empty", Some(""), None, Some(S::SAFE), 1),
            ("a misspelt label", None, Some("yes"), Some(S::SAFE), 1),
        ] {
            let pairs =
                |value: Option<&str>| value.map(|value| [(S::NAME.to_owned(), value.to_owned())].into());
            let metadata =
                ObjectMeta { annotations: pairs(annotation), labels: pairs(label), ..ObjectMeta::default() };
            let mut noted = Vec::new();
            assert_eq!(read::<S>(&metadata, &mut noted), want, "{}: {case}", S::NAME);
            assert_eq!(noted.len(), notes, "{}: {case}", S::NAME);
        }
        for (case, pod, namespace, want) in [
            ("nobody", None, None, S::default()),
            ("the namespace", None, Some(is_high), is_high),
            ("the pod", Some(is_low), Some(is_high), is_low),
        ] {
            assert_eq!(for_pod(pod, namespace), want, "{}: {case}", S::NAME);
        }
    }

    #[test]
    fn one_rule_for_all() {
        check(("keep", Existing::Keep), ("reset", Existing::Reset));
        check(("off", Acceleration::Off), ("full", Acceleration::Full));
        check(("proxy", Acceleration::Proxy), ("full", Acceleration::Full));
    }
}
