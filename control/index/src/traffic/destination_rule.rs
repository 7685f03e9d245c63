//! What a DestinationRule says, in the words of `weft-l7`.

use super::annotations;
use super::origination::{self, Around};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use weft_control_api::duration::IstioDuration;
use weft_control_api::istio::destination_rule::balancer::{
    ConsistentHash, HashAlgorithm, HashKey as WrittenKey, LoadBalancer, LoadBalancerSettings,
    LocalityLoadBalancerSetting, SimpleLb, Warmup,
};
use weft_control_api::istio::destination_rule::pool::{
    ConnectionPoolSettings, H2UpgradePolicy, OutlierDetection, TcpKeepalive,
};
use weft_control_api::istio::destination_rule::tls::ClientTlsSettings;
use weft_control_api::istio::destination_rule::{
    DestinationRule, DestinationRuleSpec, PortTrafficPolicy, RetryBudget as WrittenBudget,
    Subset as WrittenSubset, TrafficPolicy,
};
use weft_l7::destination::{
    Balancer, Destination, Distribute, EmptySubset, Failover, HashKey, KeepAlive, Limits, Locality, Outlier,
    Settings, Subset, Upgrade, WarmUp,
};
use weft_l7::resilience::RetryBudget;
use weft_l7::share::Share;

/// What the rule says of its host. Its TLS depends on what is around it.
pub(super) fn read(rule: &DestinationRule, around: &Around<'_>) -> Destination {
    let spec = &rule.spec;
    let own = spec.traffic_policy.clone().unwrap_or_default();
    let subset = |one: &WrittenSubset| {
        let policy = over(one.traffic_policy.clone().unwrap_or_default(), &own);
        let labels =
            one.labels.iter().map(|(key, value)| (key.as_str().into(), value.as_str().into())).collect();
        (
            Arc::from(one.name.as_str()),
            Subset {
                labels,
                empty: EmptySubset::default(),
                settings: settings(&policy, around),
                ports: ports(&policy, around),
            },
        )
    };
    let mut destination = Destination {
        settings: settings(&own, around),
        ports: ports(&own, around),
        subsets: spec.subsets.iter().map(subset).collect(),
    };
    annotations::lay_over(&rule.metadata, &mut destination);
    destination
}

/// Whether any part of it says when endpoints are left alone.
pub(super) fn has_outlier(spec: &DestinationRuleSpec) -> bool {
    let says = |policy: &TrafficPolicy| {
        let mut ports = policy.port_level_settings.iter();
        policy.outlier_detection.is_some() || ports.any(|port| port.outlier_detection.is_some())
    };
    let subsets = spec.subsets.iter().filter_map(|subset| subset.traffic_policy.as_ref());
    spec.traffic_policy.iter().chain(subsets).any(says)
}

/// The settings of TLS to endpoints that it asks for, and their fields.
pub(super) fn tls(spec: &DestinationRuleSpec) -> Vec<(String, &ClientTlsSettings)> {
    let own = spec.traffic_policy.iter().map(|policy| ("spec.trafficPolicy".to_owned(), policy));
    let of_subsets = spec.subsets.iter().enumerate().filter_map(|(number, subset)| {
        Some((format!("spec.subsets[{number}].trafficPolicy"), subset.traffic_policy.as_ref()?))
    });
    let mut found = Vec::new();
    for (at, policy) in own.chain(of_subsets) {
        found.extend(policy.tls.as_ref().map(|tls| (format!("{at}.tls"), tls)));
        let ports = policy.port_level_settings.iter().enumerate();
        found.extend(ports.filter_map(|(number, port)| {
            Some((format!("{at}.portLevelSettings[{number}].tls"), port.tls.as_ref()?))
        }));
    }
    found.retain(|(_, tls)| origination::is_begun(tls));
    found
}

/// A subset's policy, each part that it lacks being the host's.
fn over(subset: TrafficPolicy, host: &TrafficPolicy) -> TrafficPolicy {
    let host = host.clone();
    let own_ports = !subset.port_level_settings.is_empty();
    TrafficPolicy {
        load_balancer: subset.load_balancer.or(host.load_balancer),
        connection_pool: subset.connection_pool.or(host.connection_pool),
        outlier_detection: subset.outlier_detection.or(host.outlier_detection),
        tls: subset.tls.or(host.tls),
        port_level_settings: if own_ports { subset.port_level_settings } else { host.port_level_settings },
        tunnel: subset.tunnel.or(host.tunnel),
        proxy_protocol: subset.proxy_protocol.or(host.proxy_protocol),
        retry_budget: subset.retry_budget.or(host.retry_budget),
    }
}

fn ports(policy: &TrafficPolicy, around: &Around<'_>) -> BTreeMap<u16, Settings> {
    let one = |port: &PortTrafficPolicy| {
        // They stand instead of the others, whole (Istio, PortTrafficPolicy).
        let policy = TrafficPolicy {
            load_balancer: port.load_balancer.clone(),
            connection_pool: port.connection_pool,
            outlier_detection: port.outlier_detection,
            tls: port.tls.clone(),
            retry_budget: policy.retry_budget,
            ..TrafficPolicy::default()
        };
        (port.port.number.get(), settings(&policy, around))
    };
    policy.port_level_settings.iter().map(one).collect()
}

fn settings(policy: &TrafficPolicy, around: &Around<'_>) -> Settings {
    let balancing = policy.load_balancer.clone().unwrap_or_default();
    let outlier = policy.outlier_detection;
    Settings {
        balancer: balancer(&balancing),
        warm_up: warm_up(&balancing),
        locality: locality(balancing.locality_lb_setting.as_ref(), outlier.is_some()),
        limits: policy.connection_pool.as_ref().map(limits).unwrap_or_default(),
        outlier: outlier.as_ref().map(read_outlier),
        retry_budget: policy.retry_budget.as_ref().map(retry_budget),
        tls: policy.tls.as_ref().and_then(|tls| around.read(tls)),
    }
}

/// Places of a ring and entries of a table, where a rule does not say (Istio, ConsistentHashLB).
const RING_POINTS: u32 = 1024;
const MAGLEV_ENTRIES: u32 = 65_537;

fn balancer(written: &LoadBalancerSettings) -> Balancer {
    match &written.policy {
        None => Balancer::default(),
        Some(LoadBalancer::Simple(simple)) => match simple {
            SimpleLb::Unspecified => Balancer::default(),
            SimpleLb::LeastConn | SimpleLb::LeastRequest => Balancer::LeastRequest,
            SimpleLb::Random => Balancer::Random,
            SimpleLb::Passthrough => Balancer::Passthrough,
            SimpleLb::RoundRobin => Balancer::RoundRobin,
        },
        Some(LoadBalancer::ConsistentHash(hash)) => consistent(hash),
    }
}

fn consistent(hash: &ConsistentHash) -> Balancer {
    let key = match &hash.key {
        WrittenKey::Header(name) => HashKey::Header(name.to_ascii_lowercase().into()),
        WrittenKey::Cookie(cookie) => HashKey::Cookie {
            name: cookie.name.as_str().into(),
            path: cookie.path.as_deref().map(Arc::from),
            ttl: cookie.ttl.map(IstioDuration::get),
        },
        WrittenKey::SourceIp => HashKey::Source,
        WrittenKey::QueryParameter(name) => HashKey::Query(name.as_str().into()),
    };
    let number = |written: Option<u64>, usual: u32| {
        written.map_or(usual, |one| u32::try_from(one).unwrap_or(u32::MAX))
    };
    match hash.algorithm {
        Some(HashAlgorithm::Maglev(entries)) => {
            Balancer::Maglev { key, entries: number(entries, MAGLEV_ENTRIES) }
        }
        Some(HashAlgorithm::RingHash(points)) => {
            Balancer::RingHash { key, points_min: number(points.or(hash.minimum_ring_size), RING_POINTS) }
        }
        None => Balancer::RingHash { key, points_min: number(hash.minimum_ring_size, RING_POINTS) },
    }
}

/// What a new endpoint begins with, where a rule does not say.
const WARM_UP_FLOOR_PERCENT: f64 = 10.0;

fn warm_up(written: &LoadBalancerSettings) -> Option<WarmUp> {
    let floor = |percent: Option<f64>| percent_share(percent.unwrap_or(WARM_UP_FLOOR_PERCENT));
    match (written.warmup, written.warmup_duration_secs) {
        (Some(Warmup { duration, minimum_percent, aggression }), _) => Some(WarmUp {
            window: duration.get(),
            floor: floor(minimum_percent),
            aggression_thousandths: (aggression.unwrap_or(1.0) * 1000.0) as u32,
        }),
        (None, Some(window)) => {
            Some(WarmUp { window: window.get(), floor: floor(None), aggression_thousandths: 1000 })
        }
        (None, None) => None,
    }
}

fn percent_share(percent: f64) -> Share {
    // Within a million, so nothing is lost.
    Share::millionths((percent * 10_000.0).round().clamp(0.0, 1_000_000.0) as u32).unwrap_or(Share::ALL)
}

/// Istio looks at places only where it is told when an endpoint is unhealthy.
fn locality(written: Option<&LocalityLoadBalancerSetting>, has_outlier: bool) -> Locality {
    let Some(written) = written.filter(|written| written.enabled != Some(false)) else {
        let off = written.is_some_and(|written| written.enabled == Some(false));
        return Locality {
            failover: if off { Failover::Off } else { Failover::AsService },
            ..Locality::default()
        };
    };
    let distribute = |one: &weft_control_api::istio::destination_rule::balancer::Distribute| Distribute {
        from: one.from.as_str().into(),
        to: one.to.iter().map(|(place, share)| (place.as_str().into(), *share)).collect(),
    };
    let failover = if !has_outlier {
        Failover::AsService
    } else if !written.failover_priority.is_empty() {
        Failover::Labels(written.failover_priority.iter().map(|label| label.as_str().into()).collect())
    } else {
        let pairs = written.failover.iter().map(|one| (one.from.as_str().into(), one.to.as_str().into()));
        Failover::Near { regions: pairs.collect() }
    };
    Locality { failover, distribute: written.distribute.iter().map(distribute).collect(), healthy_min: None }
}

/// Zero and nothing are no limit.
fn some(number: Option<u32>) -> Option<u32> {
    number.filter(|number| *number > 0)
}

fn limits(pool: &ConnectionPoolSettings) -> Limits {
    let (tcp, http) = (pool.tcp.unwrap_or_default(), pool.http.unwrap_or_default());
    let keep_alive = |one: TcpKeepalive| KeepAlive {
        idle: one.time.map(IstioDuration::get),
        interval: one.interval.map(IstioDuration::get),
        probes: one.probes,
    };
    Limits {
        connections: some(tcp.max_connections),
        pending: some(http.http1_max_pending_requests),
        requests: some(http.http2_max_requests),
        requests_per_connection: some(http.max_requests_per_connection),
        retries: some(http.max_retries),
        streams_per_connection: some(http.max_concurrent_streams),
        connect: tcp.connect_timeout.map(IstioDuration::get),
        idle: http.idle_timeout.or(tcp.idle_timeout).map(IstioDuration::get).filter(|idle| !idle.is_zero()),
        age: tcp.max_connection_duration.map(IstioDuration::get),
        upgrade: match (http.use_client_protocol, http.h2_upgrade_policy) {
            (Some(true), _) | (_, Some(H2UpgradePolicy::DoNotUpgrade)) => Upgrade::Never,
            (_, Some(H2UpgradePolicy::Upgrade)) => Upgrade::Always,
            (_, Some(H2UpgradePolicy::Default) | None) => Upgrade::AsItCame,
        },
        keep_alive: tcp.tcp_keepalive.map(keep_alive),
    }
}

/// Istio's defaults (OutlierDetection).
const CONSECUTIVE: u32 = 5;
const INTERVAL: Duration = Duration::from_secs(10);
const EJECTION: Duration = Duration::from_secs(30);
const EJECTION_MAX: Duration = Duration::from_secs(300);
const EJECTED_PERCENT: u32 = 10;

fn read_outlier(one: &OutlierDetection) -> Outlier {
    let share = |percent: u32| Share::fraction(percent, 100).unwrap_or(Share::ALL);
    let split = one.split_external_local_origin_errors.unwrap_or(false);
    let base = one.base_ejection_time.map_or(EJECTION, IstioDuration::get);
    let old = one.consecutive_errors;
    Outlier {
        consecutive_5xx: some(Some(one.consecutive_5xx_errors.unwrap_or(CONSECUTIVE))),
        // What old manifests say counts gateway errors, as it did in Istio.
        consecutive_gateway: some(one.consecutive_gateway_errors.or(old)),
        consecutive_local: split
            .then(|| one.consecutive_local_origin_failures.unwrap_or(CONSECUTIVE))
            .filter(|one| *one > 0),
        success_rate: None,
        failure_share: None,
        interval: one.interval.map_or(INTERVAL, IstioDuration::get),
        base,
        max: base.max(EJECTION_MAX),
        ejected_max: share(one.max_ejection_percent.unwrap_or(EJECTED_PERCENT)),
        healthy_min: share(one.min_health_percent.unwrap_or(0)),
    }
}

/// Istio hands it to Envoy, whose defaults these are (CircuitBreakers.Thresholds.RetryBudget).
const BUDGET_PERCENT: f64 = 20.0;
const RETRIES_ALWAYS: u32 = 3;

fn retry_budget(one: &WrittenBudget) -> RetryBudget {
    RetryBudget::AtATime {
        share: percent_share(one.percent.unwrap_or(BUDGET_PERCENT)),
        always: one.min_retry_concurrency.unwrap_or(RETRIES_ALWAYS),
        interval: one.budget_interval.map(IstioDuration::get).filter(|interval| !interval.is_zero()),
    }
}
