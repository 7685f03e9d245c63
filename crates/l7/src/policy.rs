//! L7 authorisation: what `AuthorizationPolicy` says of requests at a waypoint, and the one function that decides them.
//!
//! What follows from matches is core's own rule ([`weft_core::policy::judge`]), the same as for connections. What a
//! waypoint does not implement of a policy makes it unusable, and so denies.

pub mod host;
pub mod path;

use crate::path::other_reading;
use host::Towards;
use ipnet::IpNet;
use path::PathPattern;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::sync::Arc;
use weft_core::identity::Identity;
use weft_core::names::{PolicyName, ServiceName};
use weft_core::policy::{
    Action, Enforcement, Header, Judgement, Says, ServiceAccountMatch, StringMatch, Verdict, holds, judge,
};

/// One policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Policy {
    /// Its key.
    #[serde(with = "crate::wire::policy_name")]
    pub name: PolicyName,
    /// What it applies to.
    pub scope: PolicyScope,
    /// What a match means.
    #[serde(with = "ActionWord")]
    pub action: Action,
    /// Whether it counts, or is only reported.
    #[serde(with = "EnforcementWord")]
    pub enforcement: Enforcement,
    /// What it matches.
    pub ruleset: Ruleset,
}

/// What a policy applies to, of all that goes through the waypoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum PolicyScope {
    /// All of it: the policy's `targetRefs` name the waypoint's Gateway or its class.
    Waypoint,
    /// Requests to one of these services (`targetRefs` of Service and ServiceEntry).
    Services(#[serde(with = "service_names")] Vec<ServiceName>),
}

/// The rules, or why there are none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Ruleset {
    /// Any of these may match. An empty list never does.
    Rules(Vec<Rule>),
    /// Could not be understood; denies everything in scope and says so.
    Unusable(Arc<str>),
}

/// Both have to match. A list that is there needs one match, so an empty one has none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// Who asks. None: whoever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Vec<Source>>,
    /// What for. None: whatever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Vec<Operation>>,
}

/// Who asks: every field that is set has to hold, some entry of a positive list, no entry of a `not` list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[expect(missing_docs, reason = "the fields are those of Istio's AuthorizationPolicy `source`")]
pub struct Source {
    #[serde(with = "crate::wire::string_matches", skip_serializing_if = "Vec::is_empty")]
    pub principals: Vec<StringMatch>,
    #[serde(with = "crate::wire::string_matches", skip_serializing_if = "Vec::is_empty")]
    pub not_principals: Vec<StringMatch>,
    #[serde(with = "crate::wire::string_matches", skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<StringMatch>,
    #[serde(with = "crate::wire::string_matches", skip_serializing_if = "Vec::is_empty")]
    pub not_namespaces: Vec<StringMatch>,
    #[serde(with = "crate::wire::service_accounts", skip_serializing_if = "Vec::is_empty")]
    pub service_accounts: Vec<ServiceAccountMatch>,
    #[serde(with = "crate::wire::service_accounts", skip_serializing_if = "Vec::is_empty")]
    pub not_service_accounts: Vec<ServiceAccountMatch>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ip_blocks: Vec<IpNet>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_ip_blocks: Vec<IpNet>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remote_ip_blocks: Vec<IpNet>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_remote_ip_blocks: Vec<IpNet>,
}

/// What for: as with [`Source`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[expect(missing_docs, reason = "the fields are those of Istio's AuthorizationPolicy `operation`")]
pub struct Operation {
    #[serde(with = "crate::wire::string_matches", skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<StringMatch>,
    #[serde(with = "crate::wire::string_matches", skip_serializing_if = "Vec::is_empty")]
    pub not_hosts: Vec<StringMatch>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<u16>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_ports: Vec<u16>,
    #[serde(with = "crate::wire::string_matches", skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<StringMatch>,
    #[serde(with = "crate::wire::string_matches", skip_serializing_if = "Vec::is_empty")]
    pub not_methods: Vec<StringMatch>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<PathPattern>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_paths: Vec<PathPattern>,
}

/// A client whose identity is proven, with the text that policies compare: made once for a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    identity: Identity,
    principal: Arc<str>,
}

impl Peer {
    /// Of an identity.
    pub fn new(identity: Identity) -> Self {
        let principal = identity.principal().to_string().into();
        Self { identity, principal }
    }
}

/// What is known of a request when it is judged.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Who asks, if proven.
    pub peer: Option<&'a Peer>,
    /// Where the connection comes from (`ipBlocks`).
    pub source_ip: IpAddr,
    /// Where the request comes from, if whoever is trusted to tell has told (`remoteIpBlocks`); else the same.
    pub remote_ip: IpAddr,
    /// The port asked for.
    pub port: u16,
    /// The host asked for, with the port if the client names one.
    pub authority: &'a str,
    /// The method.
    pub method: &'a str,
    /// The path in its one form ([`crate::path::normalise`]), without the query.
    pub path: &'a str,
}

/// What is known of a connection whose bytes are not read.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionAsk<'a> {
    /// Who asks, if proven.
    pub peer: Option<&'a Peer>,
    /// Where it comes from.
    pub source_ip: IpAddr,
    /// The port asked for.
    pub port: u16,
}

/// The policies that apply to what is asked of a service, or of something that is none. Made once for a snapshot, because
/// looking at all of a waypoint's policies costs every request.
#[derive(Debug, Clone, Default)]
pub struct Applying(Vec<Arc<Policy>>);

impl Applying {
    /// Of all of the waypoint's policies, those for `service`.
    pub fn to(service: Option<&ServiceName>, policies: &[Arc<Policy>]) -> Self {
        Self(policies.iter().filter(|policy| policy.scope.has(service)).cloned().collect())
    }

    /// Which they are.
    pub fn policies(&self) -> impl Iterator<Item = &Arc<Policy>> {
        self.0.iter()
    }
}

/// Decides a request. Where servers disagree on what its path means, every meaning has to be allowed; the verdict is then
/// that of the first one that is not, else of the path as it stands. O(r) for r rules, and twice that for such a path.
pub fn decide(policies: &Applying, request: &Request<'_>) -> Judgement {
    let first = of_reading(policies, request);
    match other_reading(request.path).filter(|_| !policies.0.is_empty()) {
        None => first,
        Some(path) => stricter(first, of_reading(policies, &Request { path: &path, ..*request })),
    }
}

/// Decides a connection of which nothing is known but its ends: no request is read on it. What a policy says of hosts,
/// methods and paths can neither be seen nor be done without, so it counts in whatever way lets less through: what allows
/// by it does not allow, and what denies by it denies. Else a client that hides its request from the waypoint would get
/// around a DENY of a path.
pub fn decide_connection(policies: &Applying, connection: &ConnectionAsk<'_>) -> Judgement {
    judge(&policies.0, |policy| policy.header(), |policy| policy.says_of(connection))
}

fn of_reading(policies: &Applying, request: &Request<'_>) -> Judgement {
    judge(&policies.0, |policy| policy.header(), |policy| policy.says(request))
}

fn stricter(first: Judgement, second: Judgement) -> Judgement {
    let denies = |verdict: &Verdict| matches!(verdict, Verdict::Denied(_));
    let pick = |a: Verdict, b: Verdict| if denies(&b) && !denies(&a) { b } else { a };
    let with_dry = |one: &Judgement| one.dry_run.clone().unwrap_or_else(|| one.verdict.clone());
    let dry_run = pick(with_dry(&first), with_dry(&second));
    let verdict = pick(first.verdict, second.verdict);
    Judgement { dry_run: Some(dry_run).filter(|dry| *dry != verdict), verdict }
}

impl Policy {
    fn header(&self) -> Header<'_> {
        Header { name: &self.name, action: self.action, enforcement: self.enforcement }
    }

    fn says(&self, request: &Request<'_>) -> Says<'_> {
        let towards = self.towards();
        match &self.ruleset {
            Ruleset::Unusable(why) => Says::Unusable(why),
            Ruleset::Rules(rules) if rules.iter().any(|rule| rule.matches(request, towards)) => Says::Matches,
            Ruleset::Rules(_) => Says::Nothing,
        }
    }
}

impl Policy {
    fn says_of(&self, connection: &ConnectionAsk<'_>) -> Says<'_> {
        let towards = self.towards();
        let matches = |rule: &Rule| rule.matches_connection(connection, towards);
        match &self.ruleset {
            Ruleset::Unusable(why) => Says::Unusable(why),
            Ruleset::Rules(rules) if rules.iter().any(matches) => Says::Matches,
            Ruleset::Rules(_) => Says::Nothing,
        }
    }

    fn towards(&self) -> Towards {
        match self.action {
            Action::Allow => Towards::Allowing,
            Action::Deny => Towards::Denying,
        }
    }
}

impl PolicyScope {
    fn has(&self, service: Option<&ServiceName>) -> bool {
        match self {
            Self::Waypoint => true,
            Self::Services(services) => service.is_some_and(|service| services.contains(service)),
        }
    }
}

impl Rule {
    fn matches(&self, request: &Request<'_>, towards: Towards) -> bool {
        self.from.as_ref().is_none_or(|from| from.iter().any(|source| source.matches(request)))
            && self.to.as_ref().is_none_or(|to| to.iter().any(|one| one.matches(request, towards)))
    }
}

impl Rule {
    fn matches_connection(&self, connection: &ConnectionAsk<'_>, towards: Towards) -> bool {
        let ConnectionAsk { peer, source_ip, port } = *connection;
        // Only what `Source` looks at.
        let request =
            Request { peer, source_ip, remote_ip: source_ip, port, authority: "", method: "", path: "" };
        self.from.as_ref().is_none_or(|from| from.iter().any(|source| source.matches(&request)))
            && self.to.as_ref().is_none_or(|to| to.iter().any(|one| one.matches_port(port, towards)))
    }
}

impl Source {
    fn matches(&self, request: &Request<'_>) -> bool {
        let peer = request.peer;
        let principal = |want: &StringMatch| peer.is_some_and(|peer| want.matches(&peer.principal));
        let namespace = |want: &StringMatch| peer.is_some_and(|peer| want.matches(peer.identity.namespace()));
        let account = |want: &ServiceAccountMatch| peer.is_some_and(|peer| want.matches(&peer.identity));
        holds(&self.principals, &self.not_principals, principal)
            && holds(&self.namespaces, &self.not_namespaces, namespace)
            && holds(&self.service_accounts, &self.not_service_accounts, account)
            && holds(&self.ip_blocks, &self.not_ip_blocks, |net| net.contains(&request.source_ip))
            && holds(&self.remote_ip_blocks, &self.not_remote_ip_blocks, |net| {
                net.contains(&request.remote_ip)
            })
    }
}

impl Operation {
    fn matches(&self, request: &Request<'_>, towards: Towards) -> bool {
        host::holds(&self.hosts, &self.not_hosts, request.authority, towards)
            && holds(&self.ports, &self.not_ports, |port| *port == request.port)
            && holds(&self.methods, &self.not_methods, |method| method.matches(request.method))
            && holds(&self.paths, &self.not_paths, |path| path.matches(request.path))
    }
}

impl Operation {
    fn matches_port(&self, port: u16, towards: Towards) -> bool {
        let Self { hosts, not_hosts, ports, not_ports, methods, not_methods, paths, not_paths } = self;
        let of_requests = [hosts, not_hosts, methods, not_methods].into_iter().any(|list| !list.is_empty())
            || !paths.is_empty()
            || !not_paths.is_empty();
        holds(ports, not_ports, |own| *own == port) && (towards == Towards::Denying || !of_requests)
    }
}

/// How core's words are written; core's own types do not serialise.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Action", rename_all = "camelCase")]
enum ActionWord {
    Allow,
    Deny,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Enforcement", rename_all = "camelCase")]
enum EnforcementWord {
    Enforced,
    DryRun,
}

/// Names of services as `<namespace>/<hostname>`.
mod service_names {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};
    use weft_core::names::ServiceName;

    pub(super) fn serialize<S: Serializer>(list: &[ServiceName], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(list.iter().map(ToString::to_string))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<ServiceName>, D::Error> {
        let read = |text: &String| {
            ServiceName::parse(text)
                .ok_or_else(|| D::Error::custom(format!("{text:?} is no name of a service")))
        };
        Vec::<String>::deserialize(from)?.iter().map(read).collect()
    }
}

#[cfg(test)]
mod tests;
