//! What is told of each request, and of each connection of bytes: metrics under the names that Istio's dashboards use, and
//! a line of the access log.

mod flags;
mod labels;
mod line;
mod pair;
mod passage;
mod record;
mod series;
mod span;

pub(crate) use flags::Flag;
pub(crate) use passage::Passage;
pub(crate) use record::Record;
pub(crate) use series::Metrics;

use crate::trace::{Begun, Tracer};
use http::HeaderMap;
use labels::{PassageKey, RequestKey};
use pair::Pair;
use series::{All, Series};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};
use weft_core::balance::Chance;
use weft_runtime::access::AccessLog;

/// Series that no request has met for so long are looked up again when one does.
const IDLE: Duration = Duration::from_secs(60);

/// One worker's end of it: what it counts by itself is added to what all count from time to time.
pub(crate) struct Telemetry {
    all: Metrics,
    known: RefCell<HashMap<RequestKey, Series>>,
    pairs: RefCell<HashMap<PassageKey, Rc<Pair>>>,
    access: AccessLog,
    tracer: Option<Tracer>,
}

impl Telemetry {
    /// Nothing counted yet.
    pub(crate) fn new(all: Metrics, access: AccessLog, tracer: Option<Tracer>) -> Self {
        Self { all, known: RefCell::default(), pairs: RefCell::default(), access, tracer }
    }

    /// A request comes. Gives its span, if it is to have one, and makes its headers say so.
    pub(crate) fn begin_span(&self, headers: &mut HeaderMap, chance: &mut impl Chance) -> Option<Begun> {
        self.tracer.as_ref()?.begin(headers, chance)
    }

    /// A request is over.
    fn tell(&self, record: &Record) {
        let key = RequestKey::of(record);
        let mut known = self.known.borrow_mut();
        let series = known.entry(key).or_insert_with(|| self.all.series(record));
        series.count(&All {
            took: record.took(),
            request_bytes: record.request_bytes(),
            response_bytes: record.response_bytes(),
        });
        drop(known);
        self.access.add(|line| line::of_request(record, line));
        if let (Some(tracer), Some(begun)) = (&self.tracer, record.span) {
            tracer.end(span::of_request(record, begun));
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
        self.access.add(|line| line::of_passage(passage, line));
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
