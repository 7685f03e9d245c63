//! What all Telemetries that apply come to.

use super::{LabelChange, Logging, Metric, MetricOverride, Reach, Sink, Switch, TagValue, Telemetry};
use crate::condition::Condition;
use crate::policy::PolicyScope;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use weft_core::names::ServiceName;

/// What holds for the requests to one service, or to all that nothing is said of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective {
    /// Of a million requests that come without a decision so many are sampled; as the waypoint is set if nobody says.
    pub sampled_ppm: Option<u32>,
    /// Whether spans are reported.
    pub reporting: Switch,
    /// Whether backends are told of the trace.
    pub propagation: Switch,
    /// Tags of spans besides the usual ones.
    pub tags: Vec<(Arc<str>, TagValue)>,
    /// Where lines go, and which ones.
    pub logs: Vec<(Sink, Option<Condition>)>,
    /// Headers of requests that tags and filters look at, in lower case.
    pub headers: Vec<Arc<str>>,
    /// What becomes of metrics, in the order of [`Metric::ALL`].
    metrics: [OfMetric; Metric::ALL.len()],
}

/// What becomes of one metric.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OfMetric {
    /// Whether it is not counted.
    pub disabled: bool,
    /// Changes of its labels, by their names.
    pub labels: BTreeMap<Arc<str>, LabelChange>,
}

impl Effective {
    /// What holds for a service, or for all of which none is named. Nothing if no Telemetry applies.
    ///
    /// As in Istio, that of the mesh comes first, then the namespace's, then the one that names the waypoint or the service;
    /// of several of one reach only the oldest counts, and of those of one age the first by name.
    pub fn of<'a>(
        service: Option<&ServiceName>,
        all: impl IntoIterator<Item = &'a Telemetry>,
    ) -> Option<Self> {
        let levels = levels(service, all);
        (!levels.is_empty()).then(|| Self::merge(&levels))
    }

    fn merge(levels: &[&Telemetry]) -> Self {
        let mut merged = Self {
            sampled_ppm: None,
            reporting: Switch::On,
            propagation: Switch::On,
            tags: Vec::new(),
            logs: logs(levels.iter().flat_map(|level| &level.logging)),
            headers: Vec::new(),
            metrics: Default::default(),
        };
        for one in levels.iter().flat_map(|level| &level.tracing) {
            merged.sampled_ppm = one.sampled_ppm.or(merged.sampled_ppm);
            merged.reporting = one.reporting.unwrap_or(merged.reporting);
            merged.propagation = one.propagation.unwrap_or(merged.propagation);
            if !one.tags.is_empty() {
                merged.tags = one.tags.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
            }
        }
        levels.iter().flat_map(|level| &level.metrics).for_each(|one| merged.change(one));
        let of_tags = merged.tags.iter().filter_map(|(_, value)| match value {
            TagValue::Header(name, _) => Some(name.clone()),
            TagValue::Literal(_) => None,
        });
        let of_filters = merged.logs.iter().filter_map(|(_, filter)| filter.as_ref());
        let headers: BTreeSet<Arc<str>> = of_tags.chain(of_filters.flat_map(Condition::headers)).collect();
        merged.headers = headers.into_iter().collect();
        merged
    }

    fn change(&mut self, one: &MetricOverride) {
        for (metric, of) in Metric::ALL.iter().zip(&mut self.metrics) {
            if one.metric.is_none_or(|wanted| wanted == *metric) {
                of.disabled = one.disabled.unwrap_or(of.disabled);
                of.labels.extend(one.labels.iter().map(|(name, change)| (name.clone(), change.clone())));
            }
        }
    }

    /// What becomes of a metric.
    pub fn metric(&self, metric: Metric) -> &OfMetric {
        &self.metrics[metric as usize]
    }
}

/// Those of which something holds for some of a waypoint's requests, the widest first, then by name. The others have an
/// older one before them wherever they would count.
pub fn in_force<'a>(all: &[&'a Telemetry]) -> Vec<&'a Telemetry> {
    let named = all.iter().flat_map(|one| one.services()).map(Some);
    let services: BTreeSet<Option<&ServiceName>> = named.chain([None]).collect();
    let levels = services.into_iter().flat_map(|service| levels(service, all.iter().copied()));
    let found: BTreeMap<_, _> = levels.map(|one| ((one.reach, &one.name), one)).collect();
    found.into_values().collect()
}

/// Those that hold for a service, or for all of which none is named: one of each reach, the widest first.
fn levels<'a>(
    service: Option<&ServiceName>,
    all: impl IntoIterator<Item = &'a Telemetry>,
) -> Vec<&'a Telemetry> {
    let applies = |one: &&Telemetry| match (&one.scope, service) {
        (PolicyScope::Waypoint, _) => true,
        (PolicyScope::Services(named), Some(service)) => named.contains(service),
        (PolicyScope::Services(_), None) => false,
    };
    let mut by_reach = BTreeMap::<Reach, &Telemetry>::new();
    for one in all.into_iter().filter(applies) {
        let order = |one: &Telemetry| (one.created, one.name.to_string());
        let first = by_reach.entry(one.reach).or_insert(one);
        if order(one) < order(first) {
            *first = one;
        }
    }
    by_reach.into_values().collect()
}

/// Where lines go. The sinks are the last ones that somebody wrote; an entry without sinks is about those that the entry
/// before it was about, and one that is disabled takes its sinks out again.
fn logs<'a>(entries: impl Iterator<Item = &'a Logging> + Clone) -> Vec<(Sink, Option<Condition>)> {
    let usual = vec![Sink::Usual];
    let mut written = entries.clone().filter(|one| !one.sinks.is_empty());
    let in_force = written.by_ref().last().map_or(&usual, |one| &one.sinks);
    let mut told = BTreeMap::<Sink, Option<Condition>>::new();
    let (mut about, mut said) = (&usual, false);
    for one in entries {
        if !one.sinks.is_empty() {
            about = &one.sinks;
        }
        said = true;
        for sink in about.iter().filter(|sink| in_force.contains(sink)) {
            if one.disabled {
                told.remove(sink);
            } else {
                told.insert(*sink, one.filter.clone());
            }
        }
    }
    if said { told.into_iter().collect() } else { vec![(Sink::Usual, None)] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn telemetry(name: &str, reach: &str, scope: Value, mut rest: Value) -> Telemetry {
        let all = rest.as_object_mut().expect("an object");
        all.insert("name".to_owned(), json!(format!("shop/{name}")));
        all.insert("reach".to_owned(), reach.into());
        all.insert("scope".to_owned(), scope);
        all.entry("created").or_insert(json!(0));
        serde_json::from_value(rest).expect(name)
    }

    fn wide() -> Value {
        json!("waypoint")
    }

    #[test]
    fn closer_ones_change_what_wider_ones_say() {
        let mesh = json!({"tracing": [{"sampledPpm": 10_000, "tags": {"a": {"literal": "1"}}}],
            "metrics": [{"disabled": true}]});
        let own = json!({"tracing": [{"tags": {"b": {"header": ["x-b", null]}}}],
            "metrics": [{"metric": "requests", "disabled": false, "labels": {"source_app": "remove"}}]});
        let named = json!({"tracing": [{"sampledPpm": 1_000_000, "reporting": "off"}],
            "metrics": [{"labels": {"source_app": {"set": "x"}}}]});
        let all = [
            telemetry("named", "named", json!({"services": ["shop/web"]}), named),
            telemetry("mesh", "mesh", wide(), mesh),
            telemetry("own", "namespace", wide(), own),
        ];
        let web = Effective::of(Some(&ServiceName::new("shop", "web")), &all).expect("some apply");
        assert_eq!((web.sampled_ppm, web.reporting), (Some(1_000_000), Switch::Off));
        assert_eq!(web.tags, [("b".into(), TagValue::Header("x-b".into(), None))]);
        assert_eq!(web.headers, ["x-b".into()]);
        let label = |of: &OfMetric| of.labels.get("source_app").cloned();
        assert!(!web.metric(Metric::Requests).disabled && web.metric(Metric::Duration).disabled);
        assert_eq!(label(web.metric(Metric::Requests)), Some(LabelChange::Set("x".into())));
        let other = Effective::of(None, &all).expect("some apply");
        assert_eq!((other.sampled_ppm, other.reporting), (Some(10_000), Switch::On));
        assert_eq!(label(other.metric(Metric::Requests)), Some(LabelChange::Remove));
        assert_eq!(label(other.metric(Metric::Sent)), None);
        assert_eq!(Effective::of(None, &[]), None);
    }

    #[test]
    fn the_oldest_of_one_reach_counts() {
        let of = |name: &str, created: i64, ppm: u32| {
            let rest = json!({"created": created, "tracing": [{"sampledPpm": ppm}]});
            telemetry(name, "named", wide(), rest)
        };
        for (case, all, want) in [
            ("older", [of("a", 2, 1), of("b", 1, 2)], 2),
            ("of one age, the first by name", [of("b", 1, 2), of("a", 1, 1)], 1),
        ] {
            assert_eq!(Effective::of(None, &all).and_then(|one| one.sampled_ppm), Some(want), "{case}");
        }
    }

    #[test]
    fn those_that_are_nowhere_the_oldest_are_not_in_force() {
        let of = |name: &str, reach: &str, scope: Value, created: i64| {
            telemetry(name, reach, scope, json!({ "created": created }))
        };
        let (web, both) = (json!({"services": ["shop/web"]}), json!({"services": ["shop/db", "shop/web"]}));
        for (case, all, want) in [
            ("none", vec![], vec![]),
            (
                "the widest first",
                vec![
                    of("a", "named", web.clone(), 0),
                    of("b", "mesh", wide(), 0),
                    of("c", "namespace", wide(), 0),
                ],
                vec!["shop/b", "shop/c", "shop/a"],
            ),
            ("an older one", vec![of("a", "mesh", wide(), 2), of("b", "mesh", wide(), 1)], vec!["shop/b"]),
            (
                "an older one for a part of it",
                vec![of("a", "named", both.clone(), 2), of("b", "named", web.clone(), 1)],
                vec!["shop/a", "shop/b"],
            ),
            (
                "an older one for all of it",
                vec![of("a", "named", web, 2), of("b", "named", both, 1)],
                vec!["shop/b"],
            ),
        ] {
            let all: Vec<&Telemetry> = all.iter().collect();
            let names: Vec<String> = in_force(&all).iter().map(|one| one.name.to_string()).collect();
            assert_eq!(names, want, "{case}");
        }
    }

    #[test]
    fn where_lines_go() {
        let errors: Condition = "response.code >= 500".parse().expect("a condition");
        let entry = |sinks: &[Sink], disabled: bool, filter: Option<&Condition>| Logging {
            sinks: sinks.to_vec(),
            disabled,
            filter: filter.cloned(),
        };
        for (case, entries, want) in [
            ("nobody says", vec![], vec![(Sink::Usual, None)]),
            ("off", vec![entry(&[], true, None)], vec![]),
            (
                "off, and on again",
                vec![entry(&[], true, None), entry(&[], false, None)],
                vec![(Sink::Usual, None)],
            ),
            ("a filter", vec![entry(&[], false, Some(&errors))], vec![(Sink::Usual, Some(errors.clone()))]),
            (
                "a closer one has other sinks",
                vec![entry(&[Sink::Text], false, None), entry(&[Sink::Otlp, Sink::Json], false, None)],
                vec![(Sink::Json, None), (Sink::Otlp, None)],
            ),
            (
                "a closer one filters what a wider one names",
                vec![entry(&[Sink::Text], false, None), entry(&[], false, Some(&errors))],
                vec![(Sink::Text, Some(errors.clone()))],
            ),
            (
                "a closer one takes one of two out",
                vec![entry(&[Sink::Text, Sink::Otlp], false, None), entry(&[Sink::Text], true, None)],
                vec![],
            ),
        ] {
            assert_eq!(logs(entries.iter()), want, "{case}");
        }
    }
}
