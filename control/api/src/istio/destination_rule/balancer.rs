//! How endpoints are chosen.

use crate::check::one_of;
use crate::duration::IstioDuration;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How endpoints are chosen.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "LoadBalancerFields", into = "LoadBalancerFields")]
pub struct LoadBalancerSettings {
    /// By which rule; the mesh's default if there is none.
    pub policy: Option<LoadBalancer>,
    /// By their place; as the mesh says if there is none.
    pub locality_lb_setting: Option<LocalityLoadBalancerSetting>,
    /// How new endpoints get their share little by little; at once if there is none.
    pub warmup: Option<Warmup>,
    /// For how long new endpoints get less (deprecated).
    pub warmup_duration_secs: Option<IstioDuration>,
}

/// By which rule endpoints are chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoadBalancer {
    /// By one that looks at no request.
    Simple(SimpleLb),
    /// By something of the request, so that the same goes to the same endpoint.
    ConsistentHash(ConsistentHash),
}

/// A rule that looks at no request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SimpleLb {
    /// The mesh's default.
    Unspecified,
    /// The same as the next (deprecated).
    LeastConn,
    /// The one of two with fewer requests.
    LeastRequest,
    /// Any.
    Random,
    /// The address that the client meant.
    Passthrough,
    /// One after the other.
    RoundRobin,
}

/// A rule by which the same goes to the same endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "ConsistentHashFields", into = "ConsistentHashFields")]
pub struct ConsistentHash {
    /// What is looked at.
    pub key: HashKey,
    /// How it is turned into an endpoint; by a ring if there is none.
    pub algorithm: Option<HashAlgorithm>,
    /// Places on the ring (deprecated); 1024 if there is none.
    pub minimum_ring_size: Option<u64>,
}

/// What of a request is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashKey {
    /// A header, by its name.
    Header(String),
    /// A cookie, which is set if it is not there.
    Cookie(HttpCookie),
    /// The client's address.
    SourceIp,
    /// A query parameter, by its name.
    QueryParameter(String),
}

/// A cookie.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpCookie {
    /// Its name.
    pub name: String,
    /// The path that it is set for; any if there is none.
    pub path: Option<String>,
    /// How long it lives: for the session if zero. If there is none, it is never set.
    pub ttl: Option<IstioDuration>,
    /// What else is said of it when it is set.
    #[serde(default)]
    pub attributes: Vec<CookieAttribute>,
}

/// What is said of a cookie, such as `SameSite=Lax` or `Secure`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CookieAttribute {
    /// Its name.
    pub name: String,
    /// Its value, if it has one.
    pub value: Option<String>,
}

/// How a hash is turned into an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HashAlgorithm {
    /// By a ring of at least so many places; 1024 if there is none.
    RingHash(Option<u64>),
    /// By Maglev's table of so many places, a prime; 65537 if there is none.
    Maglev(Option<u64>),
}

/// How new endpoints get their share.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Warmup {
    /// For how long they get less.
    pub duration: IstioDuration,
    /// How many of a hundred they get at first; ten if there is none.
    pub minimum_percent: Option<f64>,
    /// How fast it grows, at least one: evenly if one or none, later first and then faster if more.
    pub aggression: Option<f64>,
}

/// How endpoints are chosen by their place (`region/zone/subzone`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LocalityLoadBalancerSetting {
    /// Shares by place.
    #[serde(default)]
    pub distribute: Vec<Distribute>,
    /// Where traffic of a region goes if it has no healthy endpoint.
    #[serde(default)]
    pub failover: Vec<Failover>,
    /// Labels, the most important first: endpoints that share more of them with the client go first.
    #[serde(default)]
    pub failover_priority: Vec<String>,
    /// Whether any of this holds; as the mesh says if there is none.
    pub enabled: Option<bool>,
}

/// Where traffic of one place goes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Distribute {
    /// The place of clients, which may end in `*`.
    #[serde(default)]
    pub from: String,
    /// Places of endpoints, and how many of a hundred each gets.
    #[serde(default)]
    pub to: BTreeMap<String, u32>,
}

/// Where traffic of a region goes if it has no healthy endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Failover {
    /// The region.
    #[serde(default)]
    pub from: String,
    /// Another one.
    #[serde(default)]
    pub to: String,
}

/// As it is written.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LoadBalancerFields {
    simple: Option<SimpleLb>,
    consistent_hash: Option<ConsistentHash>,
    locality_lb_setting: Option<LocalityLoadBalancerSetting>,
    warmup: Option<Warmup>,
    warmup_duration_secs: Option<IstioDuration>,
}

/// As it is written.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ConsistentHashFields {
    http_header_name: Option<String>,
    http_cookie: Option<HttpCookie>,
    use_source_ip: Option<bool>,
    http_query_parameter_name: Option<String>,
    ring_hash: Option<RingHashFields>,
    maglev: Option<MaglevFields>,
    minimum_ring_size: Option<u64>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RingHashFields {
    minimum_ring_size: Option<u64>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct MaglevFields {
    table_size: Option<u64>,
}

impl TryFrom<LoadBalancerFields> for LoadBalancerSettings {
    type Error = String;

    fn try_from(fields: LoadBalancerFields) -> Result<Self, String> {
        let LoadBalancerFields { simple, consistent_hash, locality_lb_setting, warmup, warmup_duration_secs } =
            fields;
        one_of(&[("simple", simple.is_some()), ("consistentHash", consistent_hash.is_some())]).at_most()?;
        one_of(&[("warmup", warmup.is_some()), ("warmupDurationSecs", warmup_duration_secs.is_some())])
            .at_most()?;
        let policy = simple.map(LoadBalancer::Simple).or(consistent_hash.map(LoadBalancer::ConsistentHash));
        Ok(Self { policy, locality_lb_setting, warmup, warmup_duration_secs })
    }
}

impl From<LoadBalancerSettings> for LoadBalancerFields {
    fn from(settings: LoadBalancerSettings) -> Self {
        let LoadBalancerSettings { policy, locality_lb_setting, warmup, warmup_duration_secs } = settings;
        let (simple, consistent_hash) = match policy {
            None => (None, None),
            Some(LoadBalancer::Simple(simple)) => (Some(simple), None),
            Some(LoadBalancer::ConsistentHash(hash)) => (None, Some(hash)),
        };
        Self { simple, consistent_hash, locality_lb_setting, warmup, warmup_duration_secs }
    }
}

impl TryFrom<ConsistentHashFields> for ConsistentHash {
    type Error = String;

    fn try_from(fields: ConsistentHashFields) -> Result<Self, String> {
        let source_ip = fields.use_source_ip == Some(true);
        let key = [
            ("httpHeaderName", fields.http_header_name.is_some()),
            ("httpCookie", fields.http_cookie.is_some()),
            ("useSourceIp", source_ip),
            ("httpQueryParameterName", fields.http_query_parameter_name.is_some()),
        ];
        one_of(&key).exactly()?;
        let algorithm = [("ringHash", fields.ring_hash.is_some()), ("maglev", fields.maglev.is_some())];
        one_of(&algorithm).at_most()?;
        let key = fields.http_header_name.map(HashKey::Header);
        let key = key.or(fields.http_cookie.map(HashKey::Cookie)).or(source_ip.then_some(HashKey::SourceIp));
        let key = key.or(fields.http_query_parameter_name.map(HashKey::QueryParameter));
        let ring = fields.ring_hash.map(|ring| HashAlgorithm::RingHash(ring.minimum_ring_size));
        let algorithm = ring.or(fields.maglev.map(|maglev| HashAlgorithm::Maglev(maglev.table_size)));
        Ok(Self { key: key.ok_or("is empty")?, algorithm, minimum_ring_size: fields.minimum_ring_size })
    }
}

impl From<ConsistentHash> for ConsistentHashFields {
    fn from(ConsistentHash { key, algorithm, minimum_ring_size }: ConsistentHash) -> Self {
        let fields = Self { minimum_ring_size, ..Self::default() };
        let fields = match key {
            HashKey::Header(name) => Self { http_header_name: Some(name), ..fields },
            HashKey::Cookie(cookie) => Self { http_cookie: Some(cookie), ..fields },
            HashKey::SourceIp => Self { use_source_ip: Some(true), ..fields },
            HashKey::QueryParameter(name) => Self { http_query_parameter_name: Some(name), ..fields },
        };
        match algorithm {
            None => fields,
            Some(HashAlgorithm::RingHash(minimum_ring_size)) => {
                Self { ring_hash: Some(RingHashFields { minimum_ring_size }), ..fields }
            }
            Some(HashAlgorithm::Maglev(table_size)) => {
                Self { maglev: Some(MaglevFields { table_size }), ..fields }
            }
        }
    }
}
