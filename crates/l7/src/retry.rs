//! Whether a request is tried again, when, and where.

pub mod budget;
pub mod conditions;

use crate::grpc;
use crate::resilience::{Backoff, Jitter, Retry, RetryCondition, RetryOn};
use http::{HeaderMap, HeaderName, header};
use std::time::Duration;
use weft_core::balance::Chance;

/// What became of a try.
#[derive(Debug, Clone, Copy)]
pub enum Outcome<'a> {
    /// There is the head of a response.
    Response {
        /// Its status.
        status: u16,
        /// Its headers.
        headers: &'a HeaderMap,
    },
    /// There is none.
    Failed(Failure),
}

/// Why there is no response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Failure {
    /// There was no connection to the backend, or not in time.
    Connect,
    /// HTTP/2's REFUSED_STREAM (RFC 9113 §8.7): the backend has done nothing with it.
    Refused,
    /// The backend broke off.
    Reset,
    /// It did not answer within the time of one try.
    Timeout,
    /// This side had no room for it: a limit of the pool, or of the waypoint's own load.
    Overload,
}

/// A try and where the request stands.
#[derive(Debug, Clone, Copy)]
pub struct Attempt<'a> {
    /// What became of it.
    pub outcome: Outcome<'a>,
    /// Which it was: 0 is the first.
    pub number: u32,
    /// How much of the request has been sent.
    pub sent: Sent,
    /// Whether the client has been sent anything of a response.
    pub told: Told,
    /// What is left until the request's own deadline. None: no deadline.
    pub left: Option<Duration>,
}

/// How much of a request has been sent to the backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// Nothing.
    Nothing,
    /// Something, and all of it can be sent again.
    Kept,
    /// Something, and a part of its body is gone: it was larger than what is kept.
    Gone,
}

/// Whether the client has been sent anything of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// No.
    Nothing,
    /// Yes: it cannot be taken back.
    Something,
}

/// Once more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Again<P> {
    /// After this.
    pub after: Duration,
    /// To whom.
    pub to: To,
    /// The room that the try takes up until it is over.
    pub permit: P,
}

/// Whom the next try goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    /// Anybody, by the balancer alone.
    Anybody,
    /// First those that have not failed this request.
    OthersFirst,
}

/// Why it is not tried again. The client gets what there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stop {
    /// Nothing went wrong that another try is wanted for.
    Final,
    /// It has been tried as often as it may be.
    Enough,
    /// The client has been sent something of the response.
    Told,
    /// A part of its body is gone.
    BodyGone,
    /// The deadline is sooner than the next try.
    Deadline,
    /// The backend asks for a longer pause than is made here.
    Later,
    /// Too many requests are tries already (the budget).
    Budget,
    /// Too many tries are going on.
    TooMany,
}

/// Decides. `room` is asked last, once everything else is for another try, so that it is not spent in vain.
///
/// # Errors
/// Why not.
pub fn decide<P>(
    retry: &Retry,
    attempt: &Attempt<'_>,
    room: impl FnOnce() -> Result<P, Stop>,
    chance: &mut impl Chance,
) -> Result<Again<P>, Stop> {
    if !is_wanted(&retry.on, attempt) {
        return Err(Stop::Final);
    }
    if attempt.number >= retry.retries {
        return Err(Stop::Enough);
    }
    if attempt.told == Told::Something {
        return Err(Stop::Told);
    }
    if attempt.sent == Sent::Gone {
        return Err(Stop::BodyGone);
    }
    let asked = asked_for(attempt);
    if asked > RETRY_AFTER_MAX {
        return Err(Stop::Later);
    }
    let after = pause(&retry.backoff, attempt.number, chance).max(asked);
    if attempt.left.is_some_and(|left| after >= left) {
        return Err(Stop::Deadline);
    }
    let to = if retry.elsewhere_first { To::OthersFirst } else { To::Anybody };
    Ok(Again { after, to, permit: room()? })
}

/// Whether any condition holds.
fn is_wanted(on: &RetryOn, attempt: &Attempt<'_>) -> bool {
    let holds = |condition: &RetryCondition| match attempt.outcome {
        Outcome::Response { status, headers } => response_holds(*condition, on, status, headers),
        Outcome::Failed(failure) => failure_holds(*condition, failure, attempt.sent),
    };
    let grpc_holds = || match attempt.outcome {
        Outcome::Response { headers, .. } => {
            grpc::status(headers).is_some_and(|status| on.grpc.contains(&status))
        }
        Outcome::Failed(_) => false,
    };
    // Whoever refused for its load says so by this header; more tries are for it alone to ask for.
    if let Outcome::Response { headers, .. } = attempt.outcome
        && headers.contains_key(&RATE_LIMITED)
    {
        return on.conditions.contains(&RetryCondition::EnvoyRatelimited);
    }
    on.conditions.iter().any(holds) || grpc_holds()
}

/// What Envoy's rate limiting marks its responses by.
const RATE_LIMITED: HeaderName = HeaderName::from_static("x-envoy-ratelimited");

fn response_holds(condition: RetryCondition, on: &RetryOn, status: u16, headers: &HeaderMap) -> bool {
    match condition {
        RetryCondition::ServerError => status >= 500,
        RetryCondition::GatewayError => matches!(status, 502..=504),
        RetryCondition::Conflict => status == 409,
        RetryCondition::RetriableStatusCodes => on.statuses.contains(&status),
        RetryCondition::RetriableHeaders => on.headers.iter().any(|name| headers.contains_key(&**name)),
        RetryCondition::Reset
        | RetryCondition::ResetBeforeRequest
        | RetryCondition::ConnectFailure
        | RetryCondition::RefusedStream
        | RetryCondition::EnvoyRatelimited => false,
    }
}

fn failure_holds(condition: RetryCondition, failure: Failure, sent: Sent) -> bool {
    // A limit of this side's own is not the backend's failure; another try would only add to it.
    if failure == Failure::Overload {
        return condition == RetryCondition::EnvoyRatelimited;
    }
    match condition {
        // No response at all is each of these (Envoy, `x-envoy-retry-on`).
        RetryCondition::ServerError | RetryCondition::GatewayError | RetryCondition::Reset => true,
        RetryCondition::ResetBeforeRequest => sent == Sent::Nothing,
        RetryCondition::ConnectFailure => failure == Failure::Connect,
        RetryCondition::RefusedStream => failure == Failure::Refused,
        RetryCondition::Conflict
        | RetryCondition::RetriableStatusCodes
        | RetryCondition::RetriableHeaders
        | RetryCondition::EnvoyRatelimited => false,
    }
}

/// The pause before the next try, by the policy alone.
fn pause(backoff: &Backoff, number: u32, chance: &mut impl Chance) -> Duration {
    let doubled = 2_u32.checked_pow(number).unwrap_or(u32::MAX);
    let step = backoff.base.saturating_mul(doubled).min(backoff.max);
    let mut part = |of: Duration| {
        let nanos = u64::try_from(of.as_nanos()).unwrap_or(u64::MAX).saturating_add(1);
        Duration::from_nanos(chance.below(nanos))
    };
    match backoff.jitter {
        Jitter::Part => part(step),
        Jitter::More => step.saturating_add(part(step / MORE_OF)),
    }
}

/// [`Jitter::More`] is at most this part of the pause more.
const MORE_OF: u32 = 4;

/// The longest pause that is made because a response names it (`Retry-After`, RFC 9110 §10.2.3). Who asks for more is not
/// asked again: the request, and perhaps its body, would be kept all the while, and the client knows better whether it waits.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(10);

/// The pause that a response asks for; none if it asks for none.
fn asked_for(attempt: &Attempt<'_>) -> Duration {
    match attempt.outcome {
        Outcome::Response { headers, .. } => retry_after(headers).unwrap_or_default(),
        Outcome::Failed(_) => Duration::ZERO,
    }
}

/// A date counts as more than anybody waits: what is near is named in seconds.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => text.ends_with("GMT").then_some(Duration::MAX),
    }
}

#[cfg(test)]
mod tests;
