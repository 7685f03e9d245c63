//! Spans: which requests have one, what it says, and how it gets to a collector without a request waiting for it.

mod context;
mod export;
mod otlp;
mod span;
mod zipkin;

pub(crate) use export::Exporter;
pub(crate) use span::{Begun, Outcome, Span, Tag};

use crate::config::Tracing;
use context::Context;
use http::HeaderMap;
use prometheus::{IntCounter, IntCounterVec};
use tokio::sync::mpsc;
use weft_core::balance::Chance;
use weft_runtime::metrics::{MetricError, Metrics};

/// Spans that wait for the collector. A second's worth at a few thousand sampled requests a second, and a few megabytes.
const WAITING_MAX: usize = 8_192;

/// A worker's end: decides and hands over. Clones hand to the same exporter.
#[derive(Clone)]
pub(crate) struct Tracer {
    queue: mpsc::Sender<Span>,
    dropped: IntCounter,
    /// Of a million requests that come without a decision so many are sampled.
    sampled_ppm: u32,
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
    ) -> Result<Option<(Self, Exporter)>, MetricError> {
        let Some(collector) = &settings.collector else { return Ok(None) };
        let help = "Spans by what became of them: exported, or dropped because too many waited or the collector took none.";
        let spans: IntCounterVec = metrics.counters("weft_waypoint_spans_total", help, &["outcome"])?;
        let (tx, rx) = mpsc::channel(WAITING_MAX);
        let exporter = Exporter::new(collector.clone(), settings.protocol, service, rx, &spans);
        let dropped = spans.with_label_values(&["dropped"]);
        Ok(Some((Self { queue: tx, dropped, sampled_ppm: settings.sampling.0 }, exporter)))
    }

    /// A request comes: what it says of its trace is read, and made such that whoever gets it next is below this span.
    /// Gives the span if there is to be one.
    pub(crate) fn begin(&self, headers: &mut HeaderMap, chance: &mut impl Chance) -> Option<Begun> {
        let read = Context::read(headers);
        let is_new = read.is_none();
        let mut any = || (chance.below(1 << 32) << 32 | chance.below(1 << 32)).max(1);
        let context = read.unwrap_or_else(|| Context::new(u128::from(any()) << 64 | u128::from(any())));
        let span = any();
        let sampled =
            context.sampled.unwrap_or_else(|| chance.below(1_000_000) < u64::from(self.sampled_ppm));
        if sampled || is_new || context.sampled.is_none() {
            // Whoever comes next goes by what was decided here.
            context.write(headers, span, sampled);
        }
        sampled.then(|| Begun::new(context.trace, span, context.parent))
    }

    /// A span is whole. If too many wait it is dropped, and counted.
    pub(crate) fn end(&self, span: Span) {
        if self.queue.try_send(span).is_err() {
            self.dropped.inc();
        }
    }
}
