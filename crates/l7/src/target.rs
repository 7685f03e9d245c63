//! Where requests go.

use serde::{Deserialize, Serialize};
use std::sync::Arc;
use weft_core::names::ServiceName;

/// Where requests go.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Target {
    /// To an endpoint of a service.
    Service(ServiceTarget),
    /// Nowhere: the route names what is not there or may not be used. The request's share of the weight gets a 500
    /// (Gateway API, `HTTPBackendRef`), or UNAVAILABLE (`GRPCBackendRef`), and this is why.
    Nowhere(Arc<str>),
}

/// A port of a service, and perhaps only some of its endpoints.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceTarget {
    /// The service.
    #[serde(with = "crate::wire::service_name")]
    pub service: ServiceName,
    /// Its port, as clients name it.
    pub port: u16,
    /// The subset of its endpoints (Istio's `DestinationRule`), if not all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subset: Option<Arc<str>>,
}

/// One of several targets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Weighted<T> {
    /// Its share, relative to the others.
    pub weight: u32,
    /// What it is.
    pub to: T,
}

/// Chooses by weight, in one pass. `None` if there is nothing, or nothing with a weight.
pub fn choose<'a, T>(
    among: &'a [Weighted<T>],
    chance: &mut impl weft_core::balance::Chance,
) -> Option<&'a T> {
    match among {
        // The common case needs no die.
        [one] => (one.weight > 0).then_some(&one.to),
        several => {
            let total: u64 = several.iter().map(|one| u64::from(one.weight)).sum();
            let mut left = if total == 0 { return None } else { chance.below(total) };
            several.iter().find_map(|one| match left.checked_sub(u64::from(one.weight)) {
                Some(rest) => {
                    left = rest;
                    None
                }
                None => Some(&one.to),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_weight() {
        let among = |weights: &[u32]| -> Vec<Weighted<usize>> {
            weights.iter().enumerate().map(|(to, weight)| Weighted { weight: *weight, to }).collect()
        };
        for (weights, want) in
            [(&[90, 10][..], vec![90, 10]), (&[0, 1, 0, 3], vec![0, 1, 0, 3]), (&[7], vec![7])]
        {
            let among = among(weights);
            let mut counts = vec![0; weights.len()];
            for roll in 0..u64::from(weights.iter().sum::<u32>()) {
                counts[*choose(&among, &mut |_| roll).expect("one of them")] += 1;
            }
            assert_eq!(counts, want, "{weights:?}");
        }
        for none in [&[][..], &[0], &[0, 0]] {
            assert_eq!(choose(&among(none), &mut |_| 0), None, "{none:?}");
        }
    }
}
