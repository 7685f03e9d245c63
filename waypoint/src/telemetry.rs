//! What is told of each request, and of each connection of bytes: metrics under the names that Istio's dashboards use, and
//! lines of the access log; and what Telemetries change of it.

mod facts;
mod flags;
mod labels;
mod line;
mod logs;
mod pair;
mod passage;
mod record;
mod series;
mod span;

pub(crate) use flags::Flag;
pub(crate) use logs::LogLine;
pub(crate) use passage::Passage;
pub(crate) use record::Record;
pub(crate) use series::Metrics;

use crate::export::Outbox;
use crate::trace::{Begun, Span, Tracer};
use http::HeaderMap;
use labels::{PassageKey, RequestKey};
use pair::Pair;
use series::{All, Series};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use weft_core::balance::Chance;
use weft_l7::condition::Facts;
use weft_l7::telemetry::Sink;
use weft_l7::telemetry::effective::Effective;
use weft_runtime::access::{AccessFormat, AccessLog, Pairs};

/// Series that no request has met for so long are looked up again when one does.
const IDLE: Duration = Duration::from_secs(60);

/// The metric of lines that go to a collector, and what it says.
pub(crate) const LINES: (&str, &str) = (
    "weft_waypoint_log_lines_total",
    "Lines for a collector by what became of them: exported, or dropped because too many waited or the collector took none.",
);

/// One worker's end of it: what it counts by itself is added to what all count from time to time.
pub(crate) struct Telemetry {
    all: Metrics,
    known: RefCell<HashMap<RequestKey, Series>>,
    pairs: RefCell<HashMap<PassageKey, Rc<Pair>>>,
    access: AccessLog,
    logs: Option<Outbox<LogLine>>,
    is_warned: Cell<bool>,
    tracer: Option<Tracer>,
    /// The worker waits no longer for what is under way.
    is_cut: Cell<bool>,
}

/// What a line of the access log is made of.
trait Noted: Facts {
    fn fill(&self, line: &mut (impl Pairs + ?Sized));

    /// The trace, and the span in it.
    fn place(&self) -> Option<(u128, u64)>;
}

impl Noted for Record {
    fn fill(&self, line: &mut (impl Pairs + ?Sized)) {
        line::of_request(self, line);
    }

    fn place(&self) -> Option<(u128, u64)> {
        self.span.as_ref().map(Begun::place)
    }
}

impl Noted for Passage {
    fn fill(&self, line: &mut (impl Pairs + ?Sized)) {
        line::of_passage(self, line);
    }

    fn place(&self) -> Option<(u128, u64)> {
        None
    }
}

impl Telemetry {
    /// Nothing counted yet.
    pub(crate) fn new(
        all: Metrics,
        access: AccessLog,
        logs: Option<Outbox<LogLine>>,
        tracer: Option<Tracer>,
    ) -> Self {
        let (known, pairs) = (RefCell::default(), RefCell::default());
        let (is_warned, is_cut) = (Cell::new(false), Cell::new(false));
        Self { all, known, pairs, access, logs, is_warned, tracer, is_cut }
    }

    /// The worker waits no longer: what is still under way ends with it, and says so.
    pub(crate) fn cut(&self) {
        self.is_cut.set(true);
    }

    fn is_cut(&self) -> bool {
        self.is_cut.get()
    }

    /// A request comes. Gives its span, if it is to have one, and makes its headers say so.
    fn begin_span(
        &self,
        told: Option<&Effective>,
        headers: &mut HeaderMap,
        chance: &mut impl Chance,
    ) -> Option<Begun> {
        self.tracer.as_ref()?.begin(told, headers, chance)
    }

    /// A span is whole.
    fn end_span(&self, span: Span) {
        if let Some(tracer) = &self.tracer {
            tracer.end(span);
        }
    }

    /// A request is over.
    fn tell(&self, record: &Record) {
        let key = RequestKey::of(record);
        let mut known = self.known.borrow_mut();
        let series = known.entry(key).or_insert_with(|| self.all.series(record));
        let all = All {
            took: record.took(),
            request_bytes: record.request_bytes(),
            response_bytes: record.response_bytes(),
        };
        series.count(&all);
        if let Some((trace, _)) = record.place() {
            series.exemplify(&self.all, record, &all, trace);
        }
        drop(known);
        self.log(record.told(), record);
        if let Some(begun) = record.span {
            self.end_span(span::of_request(record, begun));
        }
    }

    /// Writes a line, or several, where Telemetries say.
    fn log(&self, told: Option<&Arc<Effective>>, one: &impl Noted) {
        let Some(told) = told else {
            return self.access.add(|line| one.fill(line));
        };
        for (sink, filter) in &told.logs {
            if filter.as_ref().is_some_and(|filter| !filter.holds(one)) {
                continue;
            }
            match (sink, &self.logs) {
                (Sink::Text, _) => self.access.add_as(AccessFormat::Text, |line| one.fill(line)),
                (Sink::Json, _) => self.access.add_as(AccessFormat::Json, |line| one.fill(line)),
                (Sink::Otlp, Some(logs)) => {
                    let mut line = LogLine::new(one.place());
                    one.fill(&mut line);
                    logs.put(line);
                }
                (Sink::Usual, _) => self.access.add(|line| one.fill(line)),
                (Sink::Otlp, None) => {
                    if !self.is_warned.replace(true) {
                        tracing::warn!(
                            "a Telemetry sends lines to a collector, and WEFT_ACCESS_LOG_ENDPOINT names none: they go where \
                             WEFT_ACCESS_LOG says"
                        );
                    }
                    self.access.add(|line| one.fill(line));
                }
            }
        }
    }

    /// The counters for a connection of bytes.
    fn pair(&self, passage: &Passage) -> Rc<Pair> {
        let mut pairs = self.pairs.borrow_mut();
        let made = || Rc::new(self.all.connections.pair(passage));
        pairs.entry(PassageKey::of(passage)).or_insert_with(made).clone()
    }

    /// A connection of bytes is over.
    fn tell_passage(&self, passage: &Passage) {
        self.log(passage.told(), passage);
    }

    /// Adds what was counted, and writes the lines that wait.
    pub(crate) fn flush(&self) {
        let now = Instant::now();
        self.known.borrow_mut().retain(|_, series| series.flush(now) < IDLE);
        // They count at once; what no connection uses is looked up again when one does.
        self.pairs.borrow_mut().retain(|_, pair| Rc::strong_count(pair) > 1);
        self.access.flush();
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        self.flush();
    }
}
