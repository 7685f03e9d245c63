//! A request's span, whatever form it goes out in.

use std::time::{Duration, SystemTime};

/// A span that has begun.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Begun {
    trace: u128,
    id: u64,
    parent: Option<u64>,
    at: SystemTime,
}

/// A whole one.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    /// The trace that it is of.
    pub(crate) trace: u128,
    /// Its own number.
    pub(crate) id: u64,
    /// The span that it is below.
    pub(crate) parent: Option<u64>,
    /// What was asked, in few words of which there are not too many.
    pub(crate) name: String,
    /// When it began.
    pub(crate) at: SystemTime,
    /// How long it took.
    pub(crate) took: Duration,
    /// Whether it failed on the side of the server.
    pub(crate) outcome: Outcome,
    /// What is known of it, under the names of OpenTelemetry's conventions for HTTP.
    pub(crate) tags: Vec<(&'static str, Tag)>,
}

/// How it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Somebody answered.
    Answered,
    /// With an error of the server's side, or nobody did.
    Failed,
}

/// What stands behind a name.
#[derive(Debug, Clone)]
pub(crate) enum Tag {
    Text(String),
    Number(u64),
}

impl Begun {
    pub(super) fn new(trace: u128, id: u64, parent: Option<u64>) -> Self {
        Self { trace, id, parent, at: SystemTime::now() }
    }

    /// It is over.
    pub(crate) fn end(
        self,
        name: String,
        took: Duration,
        outcome: Outcome,
        tags: Vec<(&'static str, Tag)>,
    ) -> Span {
        let Self { trace, id, parent, at } = self;
        Span { trace, id, parent, name, at, took, outcome, tags }
    }
}
