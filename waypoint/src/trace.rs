//! Spans: which requests have one, and what it says.

mod context;
mod otlp;
mod span;
mod zipkin;

pub(crate) use span::{Begun, Outcome, Span, Tags};

use crate::config::{Protocol, Tracing};
use crate::export::{self, Exporter, Outbox, Signal};
use context::Context;
use http::HeaderMap;
use span::Told;
use weft_core::balance::Chance;
use weft_l7::telemetry::Switch;
use weft_l7::telemetry::effective::Effective;
use weft_runtime::metrics::{MetricError, Metrics};

/// A worker's end: decides and hands over. Clones hand to the same exporter.
#[derive(Clone)]
pub(crate) struct Tracer {
    outbox: Outbox<Span>,
    /// Of a million requests that come without a decision so many are sampled.
    sampled_ppm: u32,
}

impl Signal for Span {
    const WORD: &'static str = "spans";
    const SETTING: &'static str = "WEFT_TRACING_ENDPOINT";

    fn path(protocol: Protocol) -> &'static str {
        match protocol {
            Protocol::OtlpGrpc => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Protocol::OtlpHttp => "/v1/traces",
            Protocol::Zipkin => "/api/v2/spans",
        }
    }

    fn encode(protocol: Protocol, service: &str, batch: Vec<Self>) -> Vec<u8> {
        match protocol {
            Protocol::OtlpGrpc | Protocol::OtlpHttp => otlp::encode(service, batch),
            Protocol::Zipkin => zipkin::encode(service, &batch),
        }
    }
}

impl Tracer {
    /// A tracer and its exporter; nothing if no collector is set.
    ///
    /// # Errors
    /// If the name of its metric is taken.
    pub(crate) fn new(
        settings: &Tracing,
        service: String,
        metrics: &Metrics,
    ) -> Result<Option<(Self, Exporter<Span>)>, MetricError> {
        let help = "Spans by what became of them: exported, or dropped because too many waited or the collector took none.";
        let way = export::way(&settings.export, service, metrics, ("weft_waypoint_spans_total", help))?;
        let sampled_ppm = settings.sampling.0;
        Ok(way.map(|(outbox, exporter)| (Self { outbox, sampled_ppm }, exporter)))
    }

    /// A request comes: what it says of its trace is read, and made such that whoever gets it next is below this span.
    /// Gives the span if there is to be one.
    pub(crate) fn begin(
        &self,
        told: Option<&Effective>,
        headers: &mut HeaderMap,
        chance: &mut impl Chance,
    ) -> Option<Begun> {
        let read = Context::read(headers);
        let is_new = read.is_none();
        let mut any = || (chance.below(1 << 32) << 32 | chance.below(1 << 32)).max(1);
        let context =
            read.unwrap_or_else(|| Context::new(u128::from(any()) << 64 | u128::from(any()), headers));
        let span = any();
        let sampled_ppm = told.and_then(|told| told.sampled_ppm).unwrap_or(self.sampled_ppm);
        let sampled = context.sampled.unwrap_or_else(|| chance.below(1_000_000) < u64::from(sampled_ppm));
        let propagated = told.is_none_or(|told| told.propagation == Switch::On);
        let reported = sampled && told.is_none_or(|told| told.reporting == Switch::On);
        if propagated && (reported || is_new || context.sampled.is_none()) {
            // Whoever comes next goes by what was decided here; a span that nobody hears of is nobody's parent.
            let parent = if reported { None } else { context.parent };
            context.write(headers, parent.unwrap_or(span), sampled);
        }
        let told = if propagated { Told::Backends } else { Told::Nobody };
        reported.then(|| Begun::new(context.trace, span, context.parent, told))
    }

    /// A span is whole. If too many wait it is dropped, and counted.
    pub(crate) fn end(&self, span: Span) {
        self.outbox.put(span);
    }
}
