//! What a DestinationRule says, in the words of `weft-l7`.

use super::annotations::Annotations;
use super::in_force::InForce;
use super::origination::{self, Around};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use weft_control_api::duration::IstioDuration;
use weft_control_api::istio::destination_rule::balancer::{
    ConsistentHash, CookieAttribute, Distribute as WrittenDistribute, HashAlgorithm, HashKey as WrittenKey,
    LoadBalancer, LoadBalancerSettings, LocalityLoadBalancerSetting, SimpleLb, Warmup,
};
use weft_control_api::istio::destination_rule::pool::{
    ConnectionPoolSettings, H2UpgradePolicy, OutlierDetection, TcpKeepalive,
};
use weft_control_api::istio::destination_rule::tls::ClientTlsSettings;
use weft_control_api::istio::destination_rule::{
    DestinationRuleSpec, PortTrafficPolicy, RetryBudget as WrittenBudget, Subset as WrittenSubset,
    TrafficPolicy,
};
use weft_core::service::{LoadBalancing, LoadBalancingMode};
use weft_l7::destination::{
    Balancer, Destination, Distribute, Failover, HashKey, KeepAlive, Limits, Locality, Outlier, Settings,
    Subset, Upgrade, WarmUp,
};
use weft_l7::resilience::RetryBudget;
use weft_l7::share::Share;

/// What a rule is read beside.
pub(super) struct Beside<'a> {
    /// For its TLS.
    pub(super) around: Around<'a>,
    /// Which endpoints the Service itself prefers.
    pub(super) preference: &'a LoadBalancing,
}

/// What the rules in force say of their host.
pub(super) fn read(rules: &InForce<'_>, beside: &Beside<'_>) -> Destination {
    let spec = &*rules.spec();
    let own = spec.traffic_policy.clone().unwrap_or_default();
    let own_words = rules.of_policy().map(Annotations::of).unwrap_or_default();
    let of_ports = |policies: BTreeMap<u16, TrafficPolicy>, words: Annotations| {
        let one = |(port, policy): (u16, TrafficPolicy)| (port, words.lay_over(settings(&policy, beside)));
        policies.into_iter().map(one).collect()
    };
    let subset = |one: &WrittenSubset| {
        let policy = one.traffic_policy.clone().unwrap_or_default();
        let labels =
            one.labels.iter().map(|(key, value)| (key.as_str().into(), value.as_str().into())).collect();
        let words = rules.of_subset(&one.name).map(Annotations::of).unwrap_or_default();
        // What a subset inherits is said by the host's rule, which may be another one.
        let of_outliers = if says_outlier(&policy) { words } else { own_words };
        (
            Arc::from(one.name.as_str()),
            Subset {
                labels,
                empty: words.empty_subset,
                settings: of_outliers.lay_over(settings(&over(&policy, &own), beside)),
                ports: of_ports(by_port_of_subset(&policy, &own), of_outliers),
            },
        )
    };
    Destination {
        settings: own_words.lay_over(settings(&own, beside)),
        ports: of_ports(by_port(&own), own_words),
        subsets: spec.subsets.iter().map(subset).collect(),
    }
}

/// Whether any part of it says when endpoints are left alone.
pub(super) fn has_outlier(spec: &DestinationRuleSpec) -> bool {
    let subsets = spec.subsets.iter().filter_map(|subset| subset.traffic_policy.as_ref());
    spec.traffic_policy.iter().chain(subsets).any(says_outlier)
}

fn says_outlier(policy: &TrafficPolicy) -> bool {
    let mut ports = policy.port_level_settings.iter();
    policy.outlier_detection.is_some() || ports.any(|port| port.outlier_detection.is_some())
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

/// A subset's policy, each part that it lacks being the host's. What either says of ports is not among them.
fn over(subset: &TrafficPolicy, host: &TrafficPolicy) -> TrafficPolicy {
    let (subset, host) = (subset.clone(), host.clone());
    TrafficPolicy {
        load_balancer: subset.load_balancer.or(host.load_balancer),
        connection_pool: subset.connection_pool.or(host.connection_pool),
        outlier_detection: subset.outlier_detection.or(host.outlier_detection),
        tls: subset.tls.or(host.tls),
        port_level_settings: Vec::new(),
        tunnel: subset.tunnel.or(host.tunnel),
        proxy_protocol: subset.proxy_protocol.or(host.proxy_protocol),
        retry_budget: subset.retry_budget.or(host.retry_budget),
    }
}

/// What a policy says of its ports. It stands instead of the rest, whole (Istio, PortTrafficPolicy), but for what ports have no
/// field for.
fn by_port(policy: &TrafficPolicy) -> BTreeMap<u16, TrafficPolicy> {
    let one = |port: &PortTrafficPolicy| {
        let policy = TrafficPolicy {
            load_balancer: port.load_balancer.clone(),
            connection_pool: port.connection_pool,
            outlier_detection: port.outlier_detection,
            tls: port.tls.clone(),
            retry_budget: policy.retry_budget,
            ..TrafficPolicy::default()
        };
        (port.port.number.get(), policy)
    };
    policy.port_level_settings.iter().map(one).collect()
}

/// The same for a subset: what it says of a port itself, else what it says over what the host says of that port (Istio,
/// `Subset.trafficPolicy`).
fn by_port_of_subset(subset: &TrafficPolicy, host: &TrafficPolicy) -> BTreeMap<u16, TrafficPolicy> {
    let of_host = by_port(host).into_iter();
    let mut ports: BTreeMap<_, _> = of_host.map(|(port, policy)| (port, over(subset, &policy))).collect();
    let retry_budget = subset.retry_budget.or(host.retry_budget);
    let own = by_port(subset).into_iter();
    ports.extend(own.map(|(port, policy)| (port, TrafficPolicy { retry_budget, ..policy })));
    ports
}

fn settings(policy: &TrafficPolicy, beside: &Beside<'_>) -> Settings {
    let balancing = policy.load_balancer.clone().unwrap_or_default();
    let outlier = policy.outlier_detection;
    Settings {
        balancer: balancer(&balancing),
        warm_up: warm_up(&balancing),
        locality: locality(balancing.locality_lb_setting.as_ref(), outlier.as_ref(), beside.preference),
        limits: policy.connection_pool.as_ref().map(limits).unwrap_or_default(),
        outlier: outlier.as_ref().map(read_outlier),
        retry_budget: policy.retry_budget.as_ref().map(retry_budget),
        tls: policy.tls.as_ref().and_then(|tls| beside.around.read(tls)),
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
        // The host may be called by its name in HTTP/2.
        WrittenKey::Header(name) if name == ":authority" => HashKey::Header("host".into()),
        WrittenKey::Header(name) => HashKey::Header(name.to_ascii_lowercase().into()),
        WrittenKey::Cookie(cookie) => HashKey::Cookie {
            name: cookie.name.as_str().into(),
            path: cookie.path.as_deref().map(Arc::from),
            ttl: cookie.ttl.map(IstioDuration::get),
            attributes: cookie.attributes.iter().map(attribute).collect(),
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

/// As it stands in a `set-cookie`.
fn attribute(one: &CookieAttribute) -> Arc<str> {
    match one.value.as_deref().unwrap_or_default() {
        "" => one.name.as_str().into(),
        value => format!("{}={value}", one.name).into(),
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

/// Istio looks at places only where it is told when an endpoint is unhealthy. There it does so of itself (the mesh's own
/// `localityLbSetting` is on, if nobody has turned it off), unless the Service has a preference.
fn locality(
    written: Option<&LocalityLoadBalancerSetting>,
    outlier: Option<&OutlierDetection>,
    preference: &LoadBalancing,
) -> Locality {
    let distribute = |one: &WrittenDistribute| Distribute {
        from: one.from.as_str().into(),
        to: one.to.iter().map(|(place, share)| (place.as_str().into(), *share)).collect(),
    };
    let is_off = |written: &LocalityLoadBalancerSetting| written.enabled == Some(false);
    let (failover, shares) = match (written, outlier) {
        (Some(written), _) if is_off(written) => (Failover::Off, &[][..]),
        (Some(written), Some(_)) => (failover(written), &*written.distribute),
        (Some(written), None) => (Failover::AsService, &*written.distribute),
        (None, Some(_)) if preference.mode == LoadBalancingMode::Any => {
            (Failover::Near { regions: Vec::new() }, &[][..])
        }
        (None, _) => (Failover::AsService, &[][..]),
    };
    // Below it all are asked, healthy or not; Istio's default of zero is never below.
    let healthy_min = some(outlier.and_then(|one| one.min_health_percent));
    Locality {
        failover,
        distribute: shares.iter().map(distribute).collect(),
        healthy_min: healthy_min.map(percentage),
    }
}

fn failover(written: &LocalityLoadBalancerSetting) -> Failover {
    if !written.failover_priority.is_empty() {
        return Failover::Labels(
            written.failover_priority.iter().map(|label| label.as_str().into()).collect(),
        );
    }
    let pairs = written.failover.iter().map(|one| (one.from.as_str().into(), one.to.as_str().into()));
    Failover::Near { regions: pairs.collect() }
}

fn percentage(percent: u32) -> Share {
    Share::fraction(percent, 100).unwrap_or(Share::ALL)
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
        bytes_idle: tcp.idle_timeout.map(IstioDuration::get),
        age: tcp.max_connection_duration.map(IstioDuration::get),
        upgrade: match (http.use_client_protocol, http.h2_upgrade_policy) {
            // Then the other field counts for nothing (Istio, HTTPSettings).
            (Some(true), _) => Upgrade::AsItCame,
            (_, Some(H2UpgradePolicy::Upgrade)) => Upgrade::Always,
            (_, Some(H2UpgradePolicy::Default | H2UpgradePolicy::DoNotUpgrade) | None) => Upgrade::AsPortSays,
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
        ejected_max: percentage(one.max_ejection_percent.unwrap_or(EJECTED_PERCENT)),
        healthy_min: percentage(one.min_health_percent.unwrap_or(0)),
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn limits_of_time() {
        let seconds = |count| Some(Duration::from_secs(count));
        for (case, tcp, http, idle, bytes_idle) in [
            ("nothing", json!({}), json!({}), None, None),
            ("of TCP, for both", json!({"idleTimeout": "7s"}), json!({}), seconds(7), seconds(7)),
            ("of HTTP", json!({}), json!({"idleTimeout": "5s"}), seconds(5), None),
            (
                "each its own",
                json!({"idleTimeout": "7s"}),
                json!({"idleTimeout": "5s"}),
                seconds(5),
                seconds(7),
            ),
            ("never", json!({"idleTimeout": "0s"}), json!({}), None, seconds(0)),
        ] {
            let limits = read(json!({"tcp": tcp, "http": http}));
            assert_eq!((limits.idle, limits.bytes_idle), (idle, bytes_idle), "{case}");
        }
        assert_eq!(read(json!({"tcp": {"maxConnectionDuration": "9s"}})).age, seconds(9));
    }

    #[test]
    fn versions_of_http() {
        for (http, want) in [
            (json!({}), Upgrade::AsPortSays),
            (json!({"h2UpgradePolicy": "DEFAULT"}), Upgrade::AsPortSays),
            (json!({"h2UpgradePolicy": "DO_NOT_UPGRADE"}), Upgrade::AsPortSays),
            (json!({"h2UpgradePolicy": "UPGRADE"}), Upgrade::Always),
            (json!({"useClientProtocol": false, "h2UpgradePolicy": "UPGRADE"}), Upgrade::Always),
            (json!({"useClientProtocol": true}), Upgrade::AsItCame),
            (json!({"useClientProtocol": true, "h2UpgradePolicy": "UPGRADE"}), Upgrade::AsItCame),
        ] {
            assert_eq!(read(json!({"http": http.clone()})).upgrade, want, "{http}");
        }
    }

    fn read(pool: Value) -> Limits {
        limits(&serde_json::from_value(pool).expect("a connection pool"))
    }
}
