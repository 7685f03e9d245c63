//! What Weft's own annotations on a DestinationRule say: what Envoy can do and Istio has no field for.

use std::str::FromStr;
use weft_control_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use weft_control_api::problem::Note;
use weft_l7::destination::{EmptySubset, FailureShare, Settings, SuccessRate};
use weft_l7::share::Share;

const SUCCESS_RATE: &str = "weft.dev/outlier-success-rate";
const FAILURE_PERCENTAGE: &str = "weft.dev/outlier-failure-percentage";
const SUBSET_FALLBACK: &str = "weft.dev/subset-fallback";

/// Where an annotation does not say (Envoy, OutlierDetection): endpoints with so many requests within an interval.
const ENDPOINTS: u32 = 5;
const SUCCESS_RATE_REQUESTS: u32 = 100;
const FAILURE_PERCENTAGE_REQUESTS: u32 = 50;
const DEVIATIONS: f64 = 1.9;
const FAILURE_PERCENT: f64 = 85.0;
/// More standard deviations than this nobody is away from a mean.
const DEVIATIONS_MAX: f64 = 1_000.0;

/// All that the annotations of a rule say, of what the rule itself says.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub(super) struct Annotations {
    success_rate: Option<SuccessRate>,
    failure_share: Option<FailureShare>,
    /// For its subsets.
    pub(super) empty_subset: EmptySubset,
}

impl Annotations {
    /// Those of an object.
    pub(super) fn of(metadata: &ObjectMeta) -> Self {
        // What is not understood has refused the object when it came.
        read(metadata, &mut Vec::new())
    }

    /// Puts what they say where the rule says when endpoints are left alone.
    pub(super) fn lay_over(&self, mut settings: Settings) -> Settings {
        if let Some(outlier) = &mut settings.outlier {
            (outlier.success_rate, outlier.failure_share) = (self.success_rate, self.failure_share);
        }
        settings
    }
}

/// Notes what cannot be understood, which refuses the object, and what has no effect.
pub(super) fn check(metadata: &ObjectMeta, has_outlier: bool, has_subsets: bool, notes: &mut Vec<Note>) {
    read(metadata, notes);
    for (name, has_effect, without) in [
        (SUCCESS_RATE, has_outlier, "outlierDetection"),
        (FAILURE_PERCENTAGE, has_outlier, "outlierDetection"),
        (SUBSET_FALLBACK, has_subsets, "subsets"),
    ] {
        if text(metadata, name).is_some() && !has_effect {
            notes.push(Note::warning(field(name), format!("has no effect: the rule has no {without}")));
        }
    }
}

fn read(metadata: &ObjectMeta, notes: &mut Vec<Note>) -> Annotations {
    let success_rate = text(metadata, SUCCESS_RATE).map(success_rate);
    let failure_share = text(metadata, FAILURE_PERCENTAGE).map(failure_share);
    let empty_subset = text(metadata, SUBSET_FALLBACK).map(empty_subset);
    Annotations {
        success_rate: understood(SUCCESS_RATE, success_rate, notes),
        failure_share: understood(FAILURE_PERCENTAGE, failure_share, notes),
        empty_subset: understood(SUBSET_FALLBACK, empty_subset, notes).unwrap_or_default(),
    }
}

fn text<'a>(metadata: &'a ObjectMeta, name: &str) -> Option<&'a str> {
    metadata.annotations.as_ref()?.get(name).map(String::as_str)
}

fn field(name: &str) -> String {
    format!("metadata.annotations.{name}")
}

fn understood<T>(name: &str, read: Option<Result<T, String>>, notes: &mut Vec<Note>) -> Option<T> {
    match read? {
        Ok(read) => Some(read),
        Err(why) => {
            notes.push(Note::error(field(name), why));
            None
        }
    }
}

fn success_rate(text: &str) -> Result<SuccessRate, String> {
    let words = Words::new(text, &["deviations", "endpoints", "requests"])?;
    let deviations: f64 = words.take("deviations", DEVIATIONS)?;
    if !(0.0..=DEVIATIONS_MAX).contains(&deviations) {
        return Err(format!("{deviations} standard deviations are none: 0 to {DEVIATIONS_MAX} are"));
    }
    Ok(SuccessRate {
        endpoints_min: words.take("endpoints", ENDPOINTS)?,
        requests_min: words.take("requests", SUCCESS_RATE_REQUESTS)?,
        // Within a million, so nothing is lost.
        deviations_thousandths: (deviations * 1_000.0).round() as u32,
    })
}

fn failure_share(text: &str) -> Result<FailureShare, String> {
    let words = Words::new(text, &["percent", "endpoints", "requests"])?;
    let percent: f64 = words.take("percent", FAILURE_PERCENT)?;
    if !(0.0..=100.0).contains(&percent) {
        return Err(format!("{percent} is no percentage"));
    }
    Ok(FailureShare {
        endpoints_min: words.take("endpoints", ENDPOINTS)?,
        requests_min: words.take("requests", FAILURE_PERCENTAGE_REQUESTS)?,
        above: Share::millionths((percent * 10_000.0).round() as u32).map_err(|error| error.to_string())?,
    })
}

fn empty_subset(text: &str) -> Result<EmptySubset, String> {
    match text {
        "none" => Ok(EmptySubset::Nobody),
        "any" => Ok(EmptySubset::Everybody),
        _ => Err(format!("{text:?} means nothing here: none and any do")),
    }
}

/// Numbers with names, such as `percent=50,requests=20`.
struct Words<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Words<'a> {
    fn new(text: &'a str, names: &[&str]) -> Result<Self, String> {
        let mut words: Vec<(&str, &str)> = Vec::new();
        for word in text.split(',').map(str::trim) {
            let (name, number) = word.split_once('=').unwrap_or((word, ""));
            if !names.contains(&name) {
                return Err(format!(
                    "{word:?} means nothing here: {}=NUMBER do, between commas",
                    names.join("=NUMBER, ")
                ));
            }
            if words.iter().any(|(known, _)| *known == name) {
                return Err(format!("{name} is said twice"));
            }
            words.push((name, number));
        }
        Ok(Self(words))
    }

    /// The number of a name, or what stands for it.
    fn take<N: FromStr>(&self, name: &str, usual: N) -> Result<N, String> {
        let Some((_, number)) = self.0.iter().find(|(known, _)| *known == name) else {
            return Ok(usual);
        };
        number.parse().map_err(|_| format!("{name}={number} is no number that means something"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_they_say() {
        let rate = |deviations_thousandths, endpoints_min, requests_min| SuccessRate {
            endpoints_min,
            requests_min,
            deviations_thousandths,
        };
        for (text, want) in [
            ("deviations=1.9", Some(rate(1_900, 5, 100))),
            ("requests=20", Some(rate(1_900, 5, 20))),
            ("deviations=0.5, endpoints=3, requests=10", Some(rate(500, 3, 10))),
            ("", None),
            ("1.9", None),
            ("on", None),
            ("percent=5", None),
            ("deviations=-1", None),
            ("deviations=NaN", None),
            ("endpoints=1.5", None),
            ("endpoints=", None),
            ("endpoints=1,endpoints=2", None),
            ("deviations=1,", None),
        ] {
            assert_eq!(success_rate(text).ok(), want, "{text:?}: {:?}", success_rate(text));
        }
        let share = |percent, endpoints_min, requests_min| FailureShare {
            endpoints_min,
            requests_min,
            above: Share::fraction(percent, 100).expect("a part"),
        };
        for (text, want) in [
            ("percent=85", Some(share(85, 5, 50))),
            ("endpoints=1", Some(share(85, 1, 50))),
            ("percent=50,endpoints=2,requests=7", Some(share(50, 2, 7))),
            ("percent=101", None),
            ("percent=-1", None),
            ("deviations=1", None),
        ] {
            assert_eq!(failure_share(text).ok(), want, "{text:?}: {:?}", failure_share(text));
        }
        for (text, want) in [
            ("any", Some(EmptySubset::Everybody)),
            ("none", Some(EmptySubset::Nobody)),
            ("Any", None),
            ("", None),
        ] {
            assert_eq!(empty_subset(text).ok(), want, "{text:?}");
        }
    }
}
