//! What an XBackendTrafficPolicy says: how much may be tried again at a service (GEP-3388).

use crate::name::Name;
use std::collections::BTreeSet;
use std::time::Duration;
use weft_control_api::gateway_api::backend_traffic_policy::{BackendTrafficPolicySpec, RetryConstraint};
use weft_l7::destination::Destination;
use weft_l7::resilience::RetryBudget;
use weft_l7::share::Share;

/// Where the policy does not say (`BudgetDetails`, `RequestRate`).
const BUDGET_PERCENT: u32 = 20;
const BUDGET_INTERVAL: Duration = Duration::from_secs(10);
const RATE_COUNT: u32 = 10;
const RATE_INTERVAL: Duration = Duration::from_secs(1);

/// The Services that it is for.
pub(super) fn services(spec: &BackendTrafficPolicySpec, namespace: &str) -> BTreeSet<Name> {
    let services = spec.target_refs.iter().filter(|one| one.group.is_empty() && one.kind == "Service");
    services.map(|one| Name::new(namespace, one.name.as_str())).collect()
}

/// Puts its budget in the place of every other one that is said of the service.
pub(super) fn lay_over(spec: &BackendTrafficPolicySpec, destination: &mut Destination) {
    let Some(constraint) = &spec.retry_constraint else {
        return;
    };
    let budget = read(constraint);
    destination.all_settings_mut().for_each(|settings| settings.retry_budget = Some(budget));
}

fn read(one: &RetryConstraint) -> RetryBudget {
    let percent = one.budget.and_then(|budget| budget.percent).unwrap_or(BUDGET_PERCENT);
    let rate = one.min_retry_rate;
    RetryBudget::Rate {
        share: Share::fraction(percent, 100).unwrap_or(Share::ALL),
        interval: one.budget.and_then(|one| one.interval).map_or(BUDGET_INTERVAL, |one| one.get()),
        always: rate.and_then(|rate| rate.count).unwrap_or(RATE_COUNT),
        always_interval: rate.and_then(|rate| rate.interval).map_or(RATE_INTERVAL, |one| one.get()),
    }
}
