//! A request's span, whatever form it goes out in.

use super::context::Context;
use crate::export::otlp::Tag;
use http::HeaderMap;
use std::borrow::Cow;
use std::time::{Duration, SystemTime};

/// A span that has begun.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Begun {
    trace: u128,
    id: u64,
    parent: Option<u64>,
    at: SystemTime,
    kind: Kind,
    told: Told,
}

/// Whose side of a request it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Of whoever answers.
    Server,
    /// Of whoever asks.
    Client,
}

/// Whether backends are told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// The headers of their requests say so.
    Backends,
    /// They are left as they came.
    Nobody,
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
    /// Whose side it is.
    pub(crate) kind: Kind,
    /// What was asked, in few words of which there are not too many.
    pub(crate) name: String,
    /// When it began.
    pub(crate) at: SystemTime,
    /// How long it took.
    pub(crate) took: Duration,
    /// Whether it failed on the side of the server.
    pub(crate) outcome: Outcome,
    /// What is known of it, under the names of OpenTelemetry's conventions for HTTP.
    pub(crate) tags: Tags,
}

/// Names, and what stands behind them.
pub(crate) type Tags = Vec<(Cow<'static, str>, Tag)>;

/// How it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Somebody answered.
    Answered,
    /// With an error of the server's side, or nobody did.
    Failed,
}

impl Outcome {
    /// By a status of HTTP; zero for none.
    pub(crate) fn of(status: u16) -> Self {
        if (100..500).contains(&status) { Self::Answered } else { Self::Failed }
    }
}

impl Begun {
    /// A request has come.
    pub(super) fn new(trace: u128, id: u64, parent: Option<u64>, told: Told) -> Self {
        Self { trace, id, parent, at: SystemTime::now(), kind: Kind::Server, told }
    }

    /// It is asked of a backend now, in a span of its own below this one, of which the request's headers tell.
    pub(crate) fn ask(&self, id: u64, headers: &mut HeaderMap) -> Self {
        let Self { trace, told, .. } = *self;
        if told == Told::Backends {
            Context { trace, parent: Some(self.id), sampled: Some(true) }.write(headers, id, true);
        }
        Self { trace, id, parent: Some(self.id), at: SystemTime::now(), kind: Kind::Client, told }
    }

    /// The trace, and this span in it.
    pub(crate) fn place(&self) -> (u128, u64) {
        (self.trace, self.id)
    }

    /// It is over.
    pub(crate) fn end(self, name: String, took: Duration, outcome: Outcome, tags: Tags) -> Span {
        let Self { trace, id, parent, at, kind, told: _ } = self;
        Span { trace, id, parent, kind, name, at, took, outcome, tags }
    }
}
