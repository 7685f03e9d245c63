//! What Istio writes as `retryOn`: names of conditions, as Envoy has them, and statuses.

use crate::grpc;
use crate::resilience::{Backoff, Jitter, Retry, RetryCondition, RetryOn};
use std::sync::Arc;
use std::time::Duration;

/// Istio's conditions where a route says nothing of retries (its VirtualService reference, `HTTPRetry`).
pub const ISTIO_RETRY_ON: &str = "connect-failure,refused-stream,unavailable,cancelled";
/// Tries beyond the first there.
pub const ISTIO_RETRIES: u32 = 2;
/// What Envoy waits where nothing is said: 25 ms, doubled up to ten times that.
pub const DEFAULT_BACKOFF: Backoff =
    Backoff { base: Duration::from_millis(25), max: Duration::from_millis(250), jitter: Jitter::Part };

/// A word that is no condition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no condition for a retry: neither one of Envoy's names nor a status from 100 to 599")]
pub struct UnknownCondition(pub Arc<str>);

/// What Istio does where a route says nothing of retries.
pub fn istio_default() -> Retry {
    Retry {
        retries: ISTIO_RETRIES,
        // A test reads the constant.
        on: parse(ISTIO_RETRY_ON).unwrap_or_default(),
        backoff: DEFAULT_BACKOFF,
        try_head: None,
        elsewhere_first: true,
        other_localities: false,
    }
}

/// Reads names and statuses between commas.
///
/// # Errors
/// For the first word that is neither.
pub fn parse(text: &str) -> Result<RetryOn, UnknownCondition> {
    let mut on = RetryOn::default();
    for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        match meaning(word).ok_or_else(|| UnknownCondition(word.into()))? {
            Meaning::Condition(condition) => push(&mut on.conditions, condition),
            Meaning::Grpc(status) => push(&mut on.grpc, status),
            Meaning::Status(status) => {
                push(&mut on.statuses, status);
                // Istio adds it too: a status alone would mean nothing.
                push(&mut on.conditions, RetryCondition::RetriableStatusCodes);
            }
            Meaning::Nothing => {}
        }
    }
    Ok(on)
}

fn push<T: PartialEq>(list: &mut Vec<T>, one: T) {
    if !list.contains(&one) {
        list.push(one);
    }
}

enum Meaning {
    Condition(RetryCondition),
    Grpc(u32),
    Status(u16),
    /// It cannot happen here.
    Nothing,
}

fn meaning(word: &str) -> Option<Meaning> {
    let condition = match word {
        "5xx" => RetryCondition::ServerError,
        "gateway-error" => RetryCondition::GatewayError,
        "reset" => RetryCondition::Reset,
        "reset-before-request" => RetryCondition::ResetBeforeRequest,
        "connect-failure" => RetryCondition::ConnectFailure,
        "retriable-4xx" => RetryCondition::Conflict,
        "refused-stream" => RetryCondition::RefusedStream,
        "retriable-status-codes" => RetryCondition::RetriableStatusCodes,
        "retriable-headers" => RetryCondition::RetriableHeaders,
        "envoy-ratelimited" => RetryCondition::EnvoyRatelimited,
        // No backend is asked by HTTP/3.
        "http3-post-connect-failure" => return Some(Meaning::Nothing),
        "cancelled" | "deadline-exceeded" | "internal" | "resource-exhausted" | "unavailable" => {
            return grpc::number(word).map(Meaning::Grpc);
        }
        word => {
            let status = word.parse().ok().filter(|status| (100..600).contains(status));
            return status.map(Meaning::Status);
        }
    };
    Some(Meaning::Condition(condition))
}

#[cfg(test)]
mod tests {
    use super::*;
    use RetryCondition::{
        Conflict, ConnectFailure, EnvoyRatelimited, GatewayError, RefusedStream, Reset, ResetBeforeRequest,
        RetriableHeaders, RetriableStatusCodes, ServerError,
    };

    #[test]
    fn every_name() {
        for (text, conditions, statuses, grpc) in [
            ("", &[][..], &[][..], &[][..]),
            ("5xx", &[ServerError], &[], &[]),
            ("gateway-error,reset", &[GatewayError, Reset], &[], &[]),
            ("reset-before-request, connect-failure", &[ResetBeforeRequest, ConnectFailure], &[], &[]),
            ("retriable-4xx,refused-stream,", &[Conflict, RefusedStream], &[], &[]),
            ("envoy-ratelimited,retriable-headers", &[EnvoyRatelimited, RetriableHeaders], &[], &[]),
            ("http3-post-connect-failure", &[], &[], &[]),
            ("503,5xx,429", &[RetriableStatusCodes, ServerError], &[503, 429], &[]),
            ("retriable-status-codes,503,503", &[RetriableStatusCodes], &[503], &[]),
            ("cancelled,deadline-exceeded,internal", &[], &[], &[1, 4, 13]),
            ("resource-exhausted,unavailable", &[], &[], &[8, 14]),
            (ISTIO_RETRY_ON, &[ConnectFailure, RefusedStream], &[], &[14, 1]),
        ] {
            let want = RetryOn {
                conditions: conditions.to_vec(),
                statuses: statuses.to_vec(),
                grpc: grpc.to_vec(),
                headers: Vec::new(),
            };
            assert_eq!(parse(text), Ok(want), "{text:?}");
        }
        assert_eq!(Ok(istio_default().on), parse(ISTIO_RETRY_ON));
    }

    #[test]
    fn what_is_unknown_is_named() {
        for (text, word) in [
            ("5xx,4xx", "4xx"),
            ("reset,not-found", "not-found"),
            ("99", "99"),
            ("600", "600"),
            ("5XX", "5XX"),
        ] {
            let error = parse(text).expect_err(text);
            assert_eq!(&*error.0, word, "{text}");
            assert!(error.to_string().contains(word), "{error}");
        }
    }
}
