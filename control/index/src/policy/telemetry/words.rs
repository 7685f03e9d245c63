//! What a Telemetry says, in a waypoint's words. What a waypoint cannot do is refused by name: nobody is told half of what was
//! asked for.

use super::Said;
use crate::config::{Provider, Providers};
use std::collections::BTreeMap;
use std::sync::Arc;
use weft_control_api::istio::telemetry::logging::AccessLogging;
use weft_control_api::istio::telemetry::metrics::{
    IstioMetric, Metric as Which, Metrics, MetricsOverrides, TagOperation,
};
use weft_control_api::istio::telemetry::tracing::{CustomTag, Tracing as WrittenTracing};
use weft_control_api::istio::telemetry::{ProviderRef, TelemetrySpec, WorkloadMode};
use weft_control_api::problem::Note;
use weft_core::labels;
use weft_l7::condition;
use weft_l7::telemetry::{LabelChange, Logging, Metric, MetricOverride, Sink, Switch, TagValue, Tracing};

/// All of it.
pub(super) fn read(spec: &TelemetrySpec, providers: &Providers, notes: &mut Vec<Note>) -> Said {
    let mut reader = Reader { providers, notes };
    let tracing = spec.tracing.iter().enumerate();
    let logging = spec.access_logging.iter().enumerate();
    let metrics = spec.metrics.iter().enumerate();
    Said {
        tracing: tracing
            .filter_map(|(at, one)| reader.tracing(&format!("spec.tracing[{at}]"), one))
            .collect(),
        logging: logging
            .filter_map(|(at, one)| reader.logging(&format!("spec.accessLogging[{at}]"), one))
            .collect(),
        metrics: metrics.flat_map(|(at, one)| reader.metrics(&format!("spec.metrics[{at}]"), one)).collect(),
    }
}

struct Reader<'a> {
    providers: &'a Providers,
    notes: &'a mut Vec<Note>,
}

impl Reader<'_> {
    fn refuse(&mut self, field: String, reason: impl Into<String>) {
        self.notes.push(Note::error(field, reason.into()));
    }

    /// Whether an entry is about the side on which waypoints stand.
    fn is_ours(&mut self, at: &str, mode: WorkloadMode) -> bool {
        let ours = mode != WorkloadMode::Client;
        if !ours {
            let reason = "is CLIENT: waypoints stand on the side of servers, and the entry has no effect";
            self.notes.push(Note::warning(format!("{at}.match.mode"), reason));
        }
        ours
    }

    /// What providers stand for, of those that make sense here.
    fn named(&mut self, at: &str, list: &[ProviderRef], of: &[Provider]) -> Vec<Provider> {
        let mut found = Vec::new();
        for (number, one) in list.iter().enumerate() {
            match self.providers.named(&one.name).find(|provider| of.contains(provider)) {
                Some(provider) => found.push(provider),
                None => {
                    let known = self.providers.names(of);
                    self.refuse(
                        format!("{at}.providers[{number}].name"),
                        format!(
                            "{:?} is no provider that is known here ({known} are): name it in WEFT_TELEMETRY_PROVIDERS of \
                             the control plane",
                            one.name
                        ),
                    );
                }
            }
        }
        found
    }

    fn tracing(&mut self, at: &str, one: &WrittenTracing) -> Option<Tracing> {
        // There is one collector of spans, so it need not be told which.
        self.named(at, &one.providers, &[Provider::Tracing]);
        if one.enable_istio_tags == Some(true) {
            self.refuse(
                format!("{at}.enableIstioTags"),
                "is true, and Weft's spans have none of Istio's own tags",
            );
        }
        let mut tags = BTreeMap::new();
        for (name, tag) in &one.custom_tags {
            match tag_value(tag) {
                Ok(value) => drop(tags.insert(Arc::from(name.as_str()), value)),
                Err((part, reason)) => self.refuse(format!("{at}.customTags.{name}.{part}"), reason),
            }
        }
        let switch = |off: bool| if off { Switch::Off } else { Switch::On };
        let mode = one.selector.unwrap_or_default().mode;
        self.is_ours(at, mode).then(|| Tracing {
            sampled_ppm: one.random_sampling_percentage.map(|percent| (percent * 10_000.0).round() as u32),
            reporting: one.disable_span_reporting.map(switch),
            propagation: one.disable_context_propagation.map(switch),
            tags,
        })
    }

    fn logging(&mut self, at: &str, one: &AccessLogging) -> Option<Logging> {
        let providers = self.named(at, &one.providers, &[Provider::Text, Provider::Json, Provider::Otlp]);
        let expression = one.filter.as_ref().map(|filter| &filter.expression).filter(|text| !text.is_empty());
        let filter = expression.and_then(|text| match text.parse() {
            Ok(condition) => Some(condition),
            Err(bad) => {
                let bad: condition::BadCondition = bad;
                self.refuse(format!("{at}.filter.expression"), bad.to_string());
                None
            }
        });
        let mode = one.selector.unwrap_or_default().mode;
        self.is_ours(at, mode).then(|| Logging {
            sinks: providers.into_iter().filter_map(sink).collect(),
            disabled: one.disabled.unwrap_or(false),
            filter,
        })
    }

    fn metrics(&mut self, at: &str, one: &Metrics) -> Vec<MetricOverride> {
        self.named(at, &one.providers, &[Provider::Prometheus]);
        if one.reporting_interval.is_some() {
            let reason = "has no effect: streams are counted every second";
            self.notes.push(Note::warning(format!("{at}.reportingInterval"), reason));
        }
        let all = one.overrides.iter().enumerate();
        all.filter_map(|(number, one)| self.change(&format!("{at}.overrides[{number}]"), one)).collect()
    }

    fn change(&mut self, at: &str, one: &MetricsOverrides) -> Option<MetricOverride> {
        let (which, mode) = match &one.selector {
            Some(selector) => (selector.metric.as_ref(), selector.mode),
            None => (None, WorkloadMode::default()),
        };
        let metric = match which {
            None => Ok(None),
            Some(Which::Standard(standard)) => self.standard(at, *standard, one),
            Some(Which::Custom(name)) => {
                self.refuse(format!("{at}.match.customMetric"), format!("{name} is no metric of Weft's"));
                Err(Nothing)
            }
        };
        let mut changes = BTreeMap::new();
        for (name, tag) in &one.tag_overrides {
            if !is_label(name) {
                self.refuse(
                    format!("{at}.tagOverrides.{name}"),
                    "is no label of Weft's metrics: none can be added, and there is none to take away",
                );
                continue;
            }
            let change = match (tag.operation, tag.value.as_deref()) {
                (TagOperation::Remove, _) => Ok(LabelChange::Remove),
                (TagOperation::Upsert, Some(value)) => {
                    condition::quoted(value).map(|text| LabelChange::Set(text.into())).ok_or(value)
                }
                (TagOperation::Upsert, None) => Err(""),
            };
            match change {
                Ok(change) => drop(changes.insert(Arc::from(name.as_str()), change)),
                Err(value) => {
                    let reason = format!(
                        "{value:?} is no text in quotes: other expressions would make series without bound, and are \
                         not supported"
                    );
                    self.refuse(format!("{at}.tagOverrides.{name}.value"), reason);
                }
            }
        }
        if !self.is_ours(at, mode) {
            return None;
        }
        Some(MetricOverride { metric: metric.ok()?, disabled: one.disabled, labels: changes })
    }

    /// One of Weft's metrics; nothing for all of them.
    fn standard(
        &mut self,
        at: &str,
        metric: IstioMetric,
        one: &MetricsOverrides,
    ) -> Result<Option<Metric>, Nothing> {
        Ok(Some(match metric {
            IstioMetric::AllMetrics => return Ok(None),
            IstioMetric::RequestCount => Metric::Requests,
            IstioMetric::RequestDuration => Metric::Duration,
            IstioMetric::RequestSize => Metric::RequestBytes,
            IstioMetric::ResponseSize => Metric::ResponseBytes,
            IstioMetric::TcpOpenedConnections => Metric::Opened,
            IstioMetric::TcpClosedConnections => Metric::Closed,
            IstioMetric::TcpSentBytes => Metric::Sent,
            IstioMetric::TcpReceivedBytes => Metric::Received,
            IstioMetric::GrpcRequestMessages | IstioMetric::GrpcResponseMessages => {
                if one.disabled != Some(true) {
                    self.refuse(
                        format!("{at}.match.metric"),
                        "is not counted: messages of gRPC are not looked at",
                    );
                }
                return Err(Nothing);
            }
        }))
    }
}

/// There is no such metric.
struct Nothing;

fn sink(provider: Provider) -> Option<Sink> {
    match provider {
        Provider::Text => Some(Sink::Text),
        Provider::Json => Some(Sink::Json),
        Provider::Otlp => Some(Sink::Otlp),
        Provider::Tracing | Provider::Prometheus => None,
    }
}

/// The error is the part of the tag, and what is wrong with it.
fn tag_value(tag: &CustomTag) -> Result<TagValue, (&'static str, &'static str)> {
    match tag {
        CustomTag::Literal(text) => Ok(TagValue::Literal(text.value.as_str().into())),
        CustomTag::Header(source) => {
            let name = source.name.to_ascii_lowercase();
            Ok(TagValue::Header(name.into(), source.default_value.as_deref().map(Arc::from)))
        }
        CustomTag::Environment(_) => {
            Err(("environment", "is not supported: a waypoint's environment is not for spans; use a literal"))
        }
        CustomTag::Formatter(_) => Err(("formatter", "is not supported: use a literal or a header")),
    }
}

fn is_label(name: &str) -> bool {
    let all = [&labels::OF_ENDS[..], &labels::OF_REQUESTS, &labels::OF_CONNECTIONS];
    all.into_iter().flatten().any(|known| *known == name)
}
