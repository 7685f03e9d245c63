//! When an endpoint is left alone for its failures, and when it comes back (Envoy's outlier detection). One watch is for all
//! cores: each counts what it sees in the endpoint's [`Fare`], and who finds a cause asks the watch.

mod fare;

pub use fare::Fare;

use crate::destination::{FailureShare, Outlier, SuccessRate};
use crate::share::Share;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use weft_core::names::WorkloadUid;

/// What a request says of its endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A response of this status.
    Status(u16),
    /// None: no connection, a connection that broke, or no answer in time.
    Local,
}

/// An endpoint whose state has changed. Balancers are told of all of them ([`crate::balance::Balance::leave_alone`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Which.
    pub endpoint: WorkloadUid,
    /// What it is now.
    pub now: State,
}

/// Whether an endpoint is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It is, for so long.
    Ejected(Cause, Duration),
    /// It is not any more.
    Back,
}

/// Why an endpoint is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Server errors one after the other.
    Consecutive5xx,
    /// 502, 503 or 504 one after the other.
    ConsecutiveGateway,
    /// Failures of connections one after the other.
    ConsecutiveLocal,
    /// It succeeds much less often than the others.
    SuccessRate,
    /// It fails too often.
    FailureShare,
}

/// The endpoints of a service and how they fare.
#[derive(Debug)]
pub struct Watch {
    words: Outlier,
    endpoints: HashMap<WorkloadUid, Endpoint>,
    ejected: usize,
    next_look: Instant,
}

#[derive(Debug, Default)]
struct Endpoint {
    fare: Arc<Fare>,
    /// Between the last two looks.
    successes: u32,
    failures: u32,
    ejected_until: Option<Instant>,
    /// How often it has been ejected, less one for each interval that it was not.
    times: u32,
    healthy: bool,
}

impl Watch {
    /// Nobody yet.
    pub fn new(words: Outlier, now: Instant) -> Self {
        let next_look = now + words.interval;
        Self { words, endpoints: HashMap::new(), ejected: 0, next_look }
    }

    /// These are the endpoints now, and whether discovery has them as healthy. What is known of those that stay goes on.
    pub fn update(&mut self, endpoints: impl IntoIterator<Item = (WorkloadUid, bool)>) {
        let mut before = std::mem::take(&mut self.endpoints);
        for (id, healthy) in endpoints {
            let known = before.remove(&id).unwrap_or_default();
            self.endpoints.insert(id, Endpoint { healthy, ..known });
        }
        self.ejected = self.endpoints.values().filter(|one| one.ejected_until.is_some()).count();
    }

    /// How an endpoint fares; `None` if it is none.
    pub fn fare(&self, id: &WorkloadUid) -> Option<&Arc<Fare>> {
        self.endpoints.get(id).map(|endpoint| &endpoint.fare)
    }

    /// Who is left alone, in no order. O(n).
    pub fn ejected(&self) -> impl Iterator<Item = &WorkloadUid> {
        self.endpoints.iter().filter(|(_, one)| one.ejected_until.is_some()).map(|(id, _)| id)
    }

    /// When [`Watch::tick`] is next worth calling.
    pub fn next_look(&self) -> Instant {
        self.next_look
    }

    /// Once in an interval: who comes back, and who is left alone for its shares. O(n).
    pub fn tick(&mut self, now: Instant) -> Vec<Change> {
        if now < self.next_look {
            return Vec::new();
        }
        // Intervals that nobody looked in are not made up for.
        self.next_look = now + self.words.interval;
        for endpoint in self.endpoints.values_mut() {
            (endpoint.successes, endpoint.failures) = endpoint.fare.take_counts();
        }
        let mut changes = self.bring_back(now);
        for (id, cause) in self.outliers() {
            changes.extend(self.eject(&id, cause, now));
        }
        changes
    }

    fn bring_back(&mut self, now: Instant) -> Vec<Change> {
        let mut back = Vec::new();
        for (id, endpoint) in &mut self.endpoints {
            match endpoint.ejected_until {
                Some(until) if until <= now => {
                    endpoint.ejected_until = None;
                    endpoint.fare.forget_rows();
                    back.push(Change { endpoint: id.clone(), now: State::Back });
                }
                Some(_) => {}
                None => endpoint.times = endpoint.times.saturating_sub(1),
            }
        }
        self.ejected -= back.len();
        back.sort_by(|a, b| a.endpoint.cmp(&b.endpoint));
        back
    }

    /// Whose shares stand out, worst first, so that what is allowed goes to those who deserve it most.
    fn outliers(&self) -> Vec<(WorkloadUid, Cause)> {
        let mut found = Vec::new();
        let mut add = |stand_out: Vec<(&WorkloadUid, &Endpoint)>, cause| {
            found.extend(stand_out.into_iter().map(|(id, one)| (id.clone(), one.rate(), cause)));
        };
        if let Some(words) = &self.words.success_rate {
            add(self.unsuccessful(words), Cause::SuccessRate);
        }
        if let Some(words) = &self.words.failure_share {
            add(self.failing(words), Cause::FailureShare);
        }
        found.sort_by(|(a, x, _), (b, y, _)| x.total_cmp(y).then_with(|| a.cmp(b)));
        found.into_iter().map(|(id, _, cause)| (id, cause)).collect()
    }

    /// Who succeeds less often than the mean less so many standard deviations.
    fn unsuccessful(&self, words: &SuccessRate) -> Vec<(&WorkloadUid, &Endpoint)> {
        let mut rated = self.rated(words.requests_min, words.endpoints_min);
        let count = rated.len() as f64;
        let mean = rated.iter().map(|(_, one)| one.rate()).sum::<f64>() / count;
        let variance = rated.iter().map(|(_, one)| (one.rate() - mean).powi(2)).sum::<f64>() / count;
        let threshold = mean - variance.sqrt() * f64::from(words.deviations_thousandths) / 1e3;
        rated.retain(|(_, one)| one.rate() < threshold);
        rated
    }

    fn failing(&self, words: &FailureShare) -> Vec<(&WorkloadUid, &Endpoint)> {
        let mut rated = self.rated(words.requests_min, words.endpoints_min);
        rated.retain(|(_, one)| {
            u64::from(one.failures) * 1_000_000 > one.requests() * u64::from(u32::from(words.above))
        });
        rated
    }

    /// Endpoints that are in use and have had so many requests within the interval; none, unless they are enough for it to
    /// mean anything.
    fn rated(&self, requests_min: u32, endpoints_min: u32) -> Vec<(&WorkloadUid, &Endpoint)> {
        let counts =
            |one: &Endpoint| one.ejected_until.is_none() && one.requests() >= u64::from(requests_min.max(1));
        let rated: Vec<_> = self.endpoints.iter().filter(|(_, one)| counts(one)).collect();
        if rated.len() < endpoints_min as usize { Vec::new() } else { rated }
    }

    /// Leaves an endpoint alone, unless it is already, is none, or too many are. O(n).
    pub fn eject(&mut self, id: &WorkloadUid, cause: Cause, now: Instant) -> Option<Change> {
        // What was on its way when it was ejected changes nothing.
        if self.endpoints.get(id)?.ejected_until.is_some() || !self.may_eject() {
            return None;
        }
        let endpoint = self.endpoints.get_mut(id)?;
        // Each time it takes longer: base, twice base, and so on.
        let most = self.words.max.max(self.words.base);
        let duration = self.words.base.saturating_mul(endpoint.times.saturating_add(1)).min(most);
        if endpoint.times.saturating_add(1) <= times_max(&self.words) {
            endpoint.times += 1;
        }
        endpoint.ejected_until = Some(now + duration);
        endpoint.fare.forget_rows();
        self.ejected += 1;
        Some(Change { endpoint: id.clone(), now: State::Ejected(cause, duration) })
    }

    /// Whether one more may be: within the allowed part, which of few endpoints may be none (as in Envoy, unless it is told
    /// to leave one alone in any case, for which Istio has no word), and while enough are healthy.
    fn may_eject(&self) -> bool {
        let healthy =
            self.endpoints.values().filter(|one| one.healthy && one.ejected_until.is_none()).count();
        let part = |of: Share| u128::from(u32::from(of)) * self.endpoints.len() as u128;
        let millionths = |count: usize| count as u128 * 1_000_000;
        millionths(self.ejected + 1) <= part(self.words.ejected_max)
            && millionths(healthy) >= part(self.words.healthy_min)
    }
}

impl Endpoint {
    /// Between the last two looks.
    fn requests(&self) -> u64 {
        u64::from(self.successes) + u64::from(self.failures)
    }

    /// The part of its requests that succeeded. It has had some.
    fn rate(&self) -> f64 {
        f64::from(self.successes) / self.requests() as f64
    }
}

/// Beyond this many times the duration does not grow, so counting on would only make forgetting take longer.
fn times_max(words: &Outlier) -> u32 {
    let times = words.max.as_nanos().div_ceil(words.base.as_nanos().max(1));
    u32::try_from(times).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests;
