//! What a DestinationRule may not say: the rules of its CRD, and those that Istio's admission adds for one object
//! alone.

use super::balancer::{
    Distribute, HashKey, LoadBalancer, LoadBalancerSettings, LocalityLoadBalancerSetting, Warmup,
};
use super::pool::{ConnectionPoolSettings, H2UpgradePolicy, HttpSettings, OutlierDetection, TcpSettings};
use super::{DestinationRuleSpec, PortTrafficPolicy, RetryBudget, Subset, TrafficPolicy, TunnelSettings};
use crate::check::{Check, Findings, one_of};
use crate::duration::IstioDuration;
use crate::istio::names::{NO_WILDCARD_HOST, export_to, is_wildcard_host, labels};
use crate::istio::percent::{NO_PERCENT, is_percent};
use crate::text::{
    is_header_name, is_header_value, is_host, is_label, is_label_key, is_label_value, is_token,
};
use std::time::Duration;

impl Check for DestinationRuleSpec {
    fn check(&self, found: &mut Findings) {
        found.require("host", is_wildcard_host(&self.host), NO_WILDCARD_HOST);
        found.field("trafficPolicy", &self.traffic_policy);
        found.field("subsets", &self.subsets[..]);
        found.unique("subsets", &self.subsets, |subset| Some(subset.name.clone()));
        export_to(found, &self.export_to);
        if let Some(all) = self.workload_selector.as_ref().and_then(|selector| selector.match_labels.as_ref())
        {
            found.at("workloadSelector", |found| labels(found, "matchLabels", all));
        }
    }
}

impl Check for Subset {
    fn check(&self, found: &mut Findings) {
        found.require("name", is_label(&self.name), "is no name of a subset: a-z, 0-9 and - are");
        labels(found, "labels", &self.labels);
        found.field("trafficPolicy", &self.traffic_policy);
    }
}

impl Check for TrafficPolicy {
    fn check(&self, found: &mut Findings) {
        found.field("loadBalancer", &self.load_balancer);
        found.field("connectionPool", &self.connection_pool);
        found.field("outlierDetection", &self.outlier_detection);
        found.field("tls", &self.tls);
        found.field("portLevelSettings", &self.port_level_settings[..]);
        found.unique("portLevelSettings", &self.port_level_settings, |one| Some(one.port));
        found.field("tunnel", &self.tunnel);
        found.field("retryBudget", &self.retry_budget);
    }
}

impl Check for PortTrafficPolicy {
    fn check(&self, found: &mut Findings) {
        found.field("loadBalancer", &self.load_balancer);
        found.field("connectionPool", &self.connection_pool);
        found.field("outlierDetection", &self.outlier_detection);
        found.field("tls", &self.tls);
    }
}

impl Check for LoadBalancerSettings {
    fn check(&self, found: &mut Findings) {
        if let Some(LoadBalancer::ConsistentHash(hash)) = &self.policy {
            found.at("consistentHash", |found| hash.key.check(found));
        }
        found.field("localityLbSetting", &self.locality_lb_setting);
        found.field("warmup", &self.warmup);
    }
}

impl Check for HashKey {
    fn check(&self, found: &mut Findings) {
        match self {
            Self::Header(name) => {
                // The host may be called by its name in HTTP/2.
                let known = is_header_name(name) || name == ":authority";
                found.require("httpHeaderName", known, "is no name of a header");
            }
            Self::Cookie(cookie) => found.at("httpCookie", |found| {
                found.require("name", is_token(&cookie.name), "is no name of a cookie");
                found.each("attributes", &cookie.attributes, |found, one| {
                    found.require("name", is_token(&one.name), "is no name of an attribute");
                    let value = one.value.as_deref().unwrap_or_default();
                    let fits = is_header_value(value) && !value.contains([';', ',']);
                    found.require("value", fits, "has a byte that no attribute of a cookie may have");
                });
            }),
            Self::SourceIp => {}
            Self::QueryParameter(name) => {
                found.require("httpQueryParameterName", !name.is_empty(), "is empty");
            }
        }
    }
}

impl Check for Warmup {
    fn check(&self, found: &mut Findings) {
        let percent = self.minimum_percent.is_none_or(is_percent);
        found.require("minimumPercent", percent, NO_PERCENT);
        let aggression = self.aggression.is_none_or(|aggression| aggression >= 1.0);
        found.require("aggression", aggression, "is less than one");
    }
}

impl Check for LocalityLoadBalancerSetting {
    fn check(&self, found: &mut Findings) {
        let set = [
            ("distribute", !self.distribute.is_empty()),
            ("failover", !self.failover.is_empty()),
            ("failoverPriority", !self.failover_priority.is_empty()),
        ];
        // Priorities by label may stand beside the regions of a failover.
        if let Err(reason) = one_of(&[set[0], ("failover", set[1].1 || set[2].1)]).at_most() {
            found.refuse(reason);
        }
        found.field("distribute", &self.distribute[..]);
        found.unique("distribute", &self.distribute, |one| Some(one.from.clone()));
        found.each("failover", &self.failover, |found, one| {
            found.require("from", !one.from.is_empty(), "is empty");
            found.require("to", one.from != one.to, "is the region itself");
            found.require("to", !one.to.is_empty(), "is empty");
        });
        found.unique("failover", &self.failover, |one| Some(one.from.clone()));
        found.each("failoverPriority", &self.failover_priority, |found, one| {
            let (key, value) = one.split_once('=').unwrap_or((one, ""));
            if !is_label_key(key) || !is_label_value(value) {
                found.refuse("is no label: a name is, and a name with = and a value");
            }
        });
    }
}

impl Check for Distribute {
    fn check(&self, found: &mut Findings) {
        found.require("from", !self.from.is_empty(), "is empty");
        let sum: u64 = self.to.values().map(|share| u64::from(*share)).sum();
        let whole = sum == 100 && self.to.values().all(|share| *share > 0);
        found.require("to", whole, "has shares that are not one hundred together, or are zero");
    }
}

/// The shortest time that Istio takes.
const SHORTEST: Duration = Duration::from_millis(1);

fn at_least_a_millisecond(found: &mut Findings, key: &str, duration: Option<IstioDuration>) {
    let long = duration.is_none_or(|duration| duration.get() >= SHORTEST);
    found.require(key, long, "is shorter than a millisecond");
}

impl Check for ConnectionPoolSettings {
    fn check(&self, found: &mut Findings) {
        found.field("tcp", &self.tcp);
        found.field("http", &self.http);
    }
}

impl Check for TcpSettings {
    fn check(&self, found: &mut Findings) {
        at_least_a_millisecond(found, "connectTimeout", self.connect_timeout);
        at_least_a_millisecond(found, "maxConnectionDuration", self.max_connection_duration);
        limit(found, "maxConnections", self.max_connections);
    }
}

impl Check for HttpSettings {
    fn check(&self, found: &mut Findings) {
        limit(found, "http1MaxPendingRequests", self.http1_max_pending_requests);
        limit(found, "http2MaxRequests", self.http2_max_requests);
        limit(found, "maxRetries", self.max_retries);
        let most = self.max_requests_per_connection.is_none_or(|most| most <= REQUESTS_PER_CONNECTION_MAX);
        found.require("maxRequestsPerConnection", most, "is larger than 536870912");
        limit(found, "maxConcurrentStreams", self.max_concurrent_streams);
        let upgrade = self.h2_upgrade_policy == Some(H2UpgradePolicy::Upgrade);
        let both = upgrade && self.use_client_protocol == Some(true);
        found.require("useClientProtocol", !both, "contradicts h2UpgradePolicy: UPGRADE");
    }
}

/// Most requests of a connection that Istio takes.
const REQUESTS_PER_CONNECTION_MAX: u32 = 1 << 29;

/// Istio's limits have 31 bits.
fn limit(found: &mut Findings, key: &str, limit: Option<u32>) {
    found.require(key, limit.is_none_or(|limit| i32::try_from(limit).is_ok()), "is larger than 2147483647");
}

impl Check for OutlierDetection {
    fn check(&self, found: &mut Findings) {
        at_least_a_millisecond(found, "interval", self.interval);
        at_least_a_millisecond(found, "baseEjectionTime", self.base_ejection_time);
        for (key, percent) in
            [("maxEjectionPercent", self.max_ejection_percent), ("minHealthPercent", self.min_health_percent)]
        {
            found.require(key, percent.is_none_or(|percent| percent <= 100), NO_PERCENT);
        }
        let apart = self.split_external_local_origin_errors == Some(true);
        let counted = apart || self.consecutive_local_origin_failures.is_none_or(|failures| failures == 0);
        let reason = "counts nothing without splitExternalLocalOriginErrors";
        found.require("consecutiveLocalOriginFailures", counted, reason);
    }
}

impl Check for TunnelSettings {
    fn check(&self, found: &mut Findings) {
        let protocol = self.protocol.as_deref().is_none_or(|protocol| matches!(protocol, "CONNECT" | "POST"));
        found.require("protocol", protocol, "is no way to tunnel: CONNECT and POST are");
        found.require("targetHost", is_host(&self.target_host), "is no host");
    }
}

impl Check for RetryBudget {
    fn check(&self, found: &mut Findings) {
        found.require("percent", self.percent.is_none_or(is_percent), NO_PERCENT);
    }
}
