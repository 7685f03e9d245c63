//! How requests are spread over a service's endpoints, and when an endpoint gets none: what Istio's `DestinationRule` and
//! Gateway API's backend policies say of a service.

use crate::resilience::RetryBudget;
use crate::share::Share;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What is said of a service as destination.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Destination {
    /// Where nothing closer is said.
    pub settings: Settings,
    /// Of one port; they stand instead of the others, whole (Istio's `portLevelSettings`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ports: BTreeMap<u16, Settings>,
    /// Parts of its endpoints.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub subsets: BTreeMap<Arc<str>, Subset>,
}

/// A part of a service's endpoints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Subset {
    /// Its endpoints carry these labels.
    pub labels: BTreeMap<Arc<str>, Arc<str>>,
    /// Who is asked where nobody carries them.
    #[serde(default, skip_serializing_if = "EmptySubset::is_nobody")]
    pub empty: EmptySubset,
    /// What is said of it, with what is said of the service filled in.
    pub settings: Settings,
    /// Of one port.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ports: BTreeMap<u16, Settings>,
}

/// Who is asked where a subset has no endpoints.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum EmptySubset {
    /// Nobody: 503, as in Istio.
    #[default]
    Nobody,
    /// All of the service.
    Everybody,
}

impl EmptySubset {
    /// Whether nobody is.
    pub fn is_nobody(&self) -> bool {
        *self == Self::Nobody
    }
}

impl Destination {
    /// What holds for a port of the service, or of a part of it. `None` if there is no such part.
    pub fn settings(&self, port: u16, subset: Option<&str>) -> Option<&Settings> {
        let (settings, ports) = match subset {
            None => (&self.settings, &self.ports),
            Some(name) => {
                let subset = self.subsets.get(name)?;
                (&subset.settings, &subset.ports)
            }
        };
        Some(ports.get(&port).unwrap_or(settings))
    }

    /// All that is said of its endpoints: of all of them, of ports, and of parts.
    pub fn all_settings(&self) -> impl Iterator<Item = &Settings> {
        let subsets = self.subsets.values();
        let of_subsets = subsets.flat_map(|one| one.ports.values().chain([&one.settings]));
        self.ports.values().chain([&self.settings]).chain(of_subsets)
    }

    /// The same, to be changed.
    pub fn all_settings_mut(&mut self) -> impl Iterator<Item = &mut Settings> {
        let subsets = self.subsets.values_mut();
        let of_subsets = subsets.flat_map(|one| one.ports.values_mut().chain([&mut one.settings]));
        self.ports.values_mut().chain([&mut self.settings]).chain(of_subsets)
    }
}

/// How endpoints of one kind are used.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Settings {
    /// Which endpoint is next.
    #[serde(default)]
    pub balancer: Balancer,
    /// A new endpoint gets less at first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm_up: Option<WarmUp>,
    /// Where endpoints should be.
    #[serde(default)]
    pub locality: Locality,
    /// How much at a time.
    #[serde(default)]
    pub limits: Limits,
    /// When an endpoint is left alone for a while.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outlier: Option<Outlier>,
    /// How many tries beyond the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_budget: Option<RetryBudget>,
    /// TLS of the application's own, within the tunnel or outside the mesh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<BackendTls>,
}

/// Which endpoint is next.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Balancer {
    /// Of two at random the one that has answered faster of late, with what waits there counted in (peak EWMA).
    #[default]
    PeakEwma,
    /// Of two at random the one with fewer requests in flight.
    LeastRequest,
    /// One after the other.
    RoundRobin,
    /// Any.
    Random,
    /// The address that the client asked for, if it is an endpoint's own; who asked for the service's address gets any
    /// endpoint, as without a waypoint.
    Passthrough,
    /// The same for the same key, on a ring of at least so many points.
    RingHash {
        /// What the key is of.
        key: HashKey,
        /// Points on the ring.
        points_min: u32,
    },
    /// The same for the same key, by Maglev's table.
    Maglev {
        /// What the key is of.
        key: HashKey,
        /// Entries of the table: a prime.
        entries: u32,
    },
}

/// What makes requests the same to a balancer that hashes. A request without it goes anywhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum HashKey {
    /// A header, in lower case.
    Header(Arc<str>),
    /// A cookie.
    Cookie {
        /// Its name.
        name: Arc<str>,
        /// Its path.
        path: Option<Arc<str>>,
        /// Where the cookie is not there it is set, and lives so long; zero is the browser's session. None: it is never
        /// set.
        #[serde(with = "crate::wire::millis::optional")]
        ttl: Option<Duration>,
        /// What else is said of it then, such as `SameSite=Lax`.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        attributes: Vec<Arc<str>>,
    },
    /// The client's address.
    Source,
    /// A parameter of the query.
    Query(Arc<str>),
}

/// A new endpoint gets less at first: `floor` of its share, growing to all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WarmUp {
    /// For so long.
    #[serde(with = "crate::wire::millis")]
    pub window: Duration,
    /// What it begins with.
    pub floor: Share,
    /// How the share grows, in thousandths: 1000 is evenly, more begins faster (Envoy's `aggression`).
    pub aggression_thousandths: u32,
}

/// Where endpoints should be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Locality {
    /// Near ones first: by the client's region, zone and subzone, or by these labels in this order.
    #[serde(default)]
    pub failover: Failover,
    /// Shares by where the client is: what is not named gets nothing. The first that fits counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub distribute: Vec<Distribute>,
    /// If fewer than this part of the endpoints are healthy, and those of farther places cannot make up for it, all are
    /// asked, healthy or not (Istio's `minHealthPercent`, Envoy's panic threshold). Never if it is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthy_min: Option<Share>,
}

/// Which endpoints come first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Failover {
    /// As the Service says itself.
    #[default]
    AsService,
    /// All alike.
    Off,
    /// Near ones; beyond the client's region, those of the region that is named for it.
    Near {
        /// From the first to the second.
        regions: Vec<(Arc<str>, Arc<str>)>,
    },
    /// Those that share more of these labels with the client, the first of them counting most.
    Labels(Vec<Arc<str>>),
}

/// Shares by where the client is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Distribute {
    /// `region/zone/subzone`, of which the end may be `*`.
    pub from: Arc<str>,
    /// To such a place this weight.
    pub to: BTreeMap<Arc<str>, u32>,
}

/// How much at a time. None is no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limits {
    /// Connections to the service's endpoints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<u32>,
    /// Requests that wait for a connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<u32>,
    /// Requests at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<u32>,
    /// Requests of one connection; then it is closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_connection: Option<u32>,
    /// Tries beyond the first at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// Streams of one HTTP/2 connection at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub streams_per_connection: Option<u32>,
    /// Until a connection stands.
    #[serde(default, with = "crate::wire::millis::optional", skip_serializing_if = "Option::is_none")]
    pub connect: Option<Duration>,
    /// A connection of HTTP without a request is closed after this.
    #[serde(default, with = "crate::wire::millis::optional", skip_serializing_if = "Option::is_none")]
    pub idle: Option<Duration>,
    /// A connection of bytes on which nothing goes either way is ended after this; zero is never.
    #[serde(default, with = "crate::wire::millis::optional", skip_serializing_if = "Option::is_none")]
    pub bytes_idle: Option<Duration>,
    /// A connection is closed after this: of HTTP once it has no request, of bytes at once.
    #[serde(default, with = "crate::wire::millis::optional", skip_serializing_if = "Option::is_none")]
    pub age: Option<Duration>,
    /// By which version of HTTP requests go out.
    #[serde(default)]
    pub upgrade: Upgrade,
    /// Keep-alive probes of TCP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_alive: Option<KeepAlive>,
}

/// By which version of HTTP requests go out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Upgrade {
    /// As the port says, else as they came.
    #[default]
    AsPortSays,
    /// By HTTP/2.
    Always,
    /// As they came, whatever the port says (Istio's `useClientProtocol`).
    AsItCame,
}

/// Keep-alive probes of TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeepAlive {
    /// Silence before the first.
    #[serde(default, with = "crate::wire::millis::optional")]
    pub idle: Option<Duration>,
    /// Between them.
    #[serde(default, with = "crate::wire::millis::optional")]
    pub interval: Option<Duration>,
    /// So many without an answer end the connection.
    pub probes: Option<u32>,
}

/// When an endpoint is left alone for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Outlier {
    /// Server errors one after the other; those that this side made up count unless `local` says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consecutive_5xx: Option<u32>,
    /// 502, 503 and 504 one after the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consecutive_gateway: Option<u32>,
    /// Failures of connections and timeouts are counted by themselves, one after the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consecutive_local: Option<u32>,
    /// It succeeds much less often than the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub success_rate: Option<SuccessRate>,
    /// It fails more often than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_share: Option<FailureShare>,
    /// How often shares are looked at, and whether an endpoint may come back.
    #[serde(with = "crate::wire::millis")]
    pub interval: Duration,
    /// How long it is left alone the first time, and how much longer each time after.
    #[serde(with = "crate::wire::millis")]
    pub base: Duration,
    /// How long at most.
    #[serde(with = "crate::wire::millis")]
    pub max: Duration,
    /// At most this part of the endpoints is left alone at a time, which of few endpoints may be none.
    pub ejected_max: Share,
    /// If fewer than this part are healthy, none is left alone (Istio's `minHealthPercent`).
    pub healthy_min: Share,
}

/// It succeeds less often than the mean of the others by so many standard deviations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SuccessRate {
    /// Endpoints with enough requests, for it to mean anything.
    pub endpoints_min: u32,
    /// Requests of an endpoint within the interval.
    pub requests_min: u32,
    /// Standard deviations, in thousandths.
    pub deviations_thousandths: u32,
}

/// It fails more often than this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FailureShare {
    /// Endpoints with enough requests.
    pub endpoints_min: u32,
    /// Requests of an endpoint within the interval.
    pub requests_min: u32,
    /// More than this part of them fail.
    pub above: Share,
}

/// TLS of the application's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BackendTls {
    /// The name that is asked for, and that the certificate has to have unless `subject_alt_names` says otherwise.
    pub server_name: Option<Arc<str>>,
    /// Names of which the certificate has to have one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subject_alt_names: Vec<Arc<str>>,
    /// Who vouches for it.
    pub trust: Trust,
    /// What this side shows of itself.
    #[serde(default, skip_serializing_if = "ClientIdentity::is_nobody")]
    pub client: ClientIdentity,
}

/// Who vouches for a backend's certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Trust {
    /// The authorities of the system.
    System,
    /// These, as PEM.
    Roots(Arc<str>),
    /// Nobody is asked (Istio's `insecureSkipVerify`).
    Unverified,
    /// What is needed for it is not there, for this reason. Nothing is sent then, least of all in plain text.
    Missing(Arc<str>),
}

/// What a waypoint shows of itself to a backend.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum ClientIdentity {
    /// Nothing.
    #[default]
    Nobody,
    /// A certificate.
    Certificate {
        /// The certificate and those between it and its authority, as PEM.
        chain: Arc<str>,
        /// Its key, as PEM.
        key: Arc<str>,
    },
    /// A certificate that was left out of what is kept on disk: discovery tells it again.
    Withheld,
}

impl ClientIdentity {
    /// Whether it is nothing.
    pub fn is_nobody(&self) -> bool {
        *self == Self::Nobody
    }
}

/// The key is nobody's to read.
impl fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nobody => "Nobody",
            Self::Certificate { .. } => "Certificate(…)",
            Self::Withheld => "Withheld",
        })
    }
}
