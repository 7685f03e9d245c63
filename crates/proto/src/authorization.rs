//! `istio.security.Authorization` and the core's [`Policy`].
//!
//! A policy that cannot be understood denies; so reading one never fails, and what is wrong with it is part
//! of the value.

use crate::field::{BadValue, arc, choice, ip, ip_bytes, port, text};
use crate::generated::istio::security as pb;
use crate::generated::weft;
use ipnet::IpNet;
use pb::string_match::MatchType;
use prost::Message;
use std::net::IpAddr;
use std::sync::Arc;
use weft_core::names::PolicyName;
use weft_core::policy::{
    Action, Clause, Enforcement, Match, Policy, PolicyScope, Rule, Ruleset, ServiceAccountMatch, StringMatch,
};

/// The name of the extension by which a writer says that a policy cannot be understood.
const UNUSABLE: &str = "weft.dev/unusable";
const UNUSABLE_TYPE: &str = "type.googleapis.com/weft.v1.Unusable";

/// Why a policy cannot be understood.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("not a message of this type: {0}")]
    Message(#[source] prost::DecodeError),
    #[error("it holds a field that this version does not know")]
    UnknownField,
    #[error("it calls itself {0}")]
    OtherName(PolicyName),
    #[error("its name is not <namespace>/<name>")]
    Name,
    #[error("{0} holds an extension")]
    Extension(&'static str),
    #[error("{field} {value}")]
    Field { field: &'static str, value: BadValue },
}

/// A policy as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// The policy; it denies if it was not understood.
    pub policy: Policy,
    /// What its writer has to be told. `None` also where the writer itself says that it is unusable.
    pub complaint: Option<Arc<str>>,
}

/// Reads the bytes of an `istio.security.Authorization` that discovery calls `name`.
///
/// Whatever is not understood makes it a [`Ruleset::Unusable`], in the scope that it has, or for the whole
/// mesh if not even that can be read. `dry_run` counts only for a policy that is understood: one that is not
/// might say otherwise in what we cannot read.
pub fn decode_authorization(name: &str, bytes: &[u8]) -> Read {
    let parsed = PolicyName::parse(name);
    let known = parsed.is_some();
    let key = parsed.unwrap_or_else(|| PolicyName::new("", name));
    let message = match pb::Authorization::decode(bytes) {
        Ok(message) => message,
        Err(error) => return refuse(key, PolicyScope::Global, &Unusable::Message(error)),
    };
    let scope = match scope(message.scope) {
        Ok(scope) => scope,
        Err(why) => return refuse(key, PolicyScope::Global, &why),
    };
    if !known {
        // Its namespace is unknown, so a narrower scope would not hold it.
        return refuse(key, PolicyScope::Global, &Unusable::Name);
    }
    let own = PolicyName::new(&*message.namespace, &*message.name);
    if own != key {
        return refuse(key, scope, &Unusable::OtherName(own));
    }
    if !is_all_of(&message, bytes) {
        return refuse(key, scope, &Unusable::UnknownField);
    }
    if let Some(why) = written_unusable(&message) {
        let enforcement = enforcement(&message);
        let ruleset = Ruleset::Unusable(why);
        let policy = Policy { name: key, scope, action: Action::Deny, enforcement, ruleset };
        return Read { policy, complaint: None };
    }
    match understand(message) {
        Ok((action, enforcement, rules)) => {
            let ruleset = Ruleset::Rules(rules);
            Read { policy: Policy { name: key, scope, action, enforcement, ruleset }, complaint: None }
        }
        Err(why) => refuse(key, scope, &why),
    }
}

/// True if the message holds all that the bytes say. What was not understood is gone from it, so writing it again
/// needs other bytes. Their order may differ, since writers put fields in different orders; their number alone would
/// say too little, since a list that was not packed is written with more.
fn is_all_of(message: &pb::Authorization, bytes: &[u8]) -> bool {
    let count = |bytes: &[u8]| {
        let mut counts = [0u32; 256];
        bytes.iter().for_each(|byte| counts[usize::from(*byte)] += 1);
        counts
    };
    message.encoded_len() == bytes.len() && count(&message.encode_to_vec()) == count(bytes)
}

fn refuse(name: PolicyName, scope: PolicyScope, why: &Unusable) -> Read {
    let why: Arc<str> = why.to_string().into();
    let ruleset = Ruleset::Unusable(why.clone());
    let policy = Policy { name, scope, action: Action::Deny, enforcement: Enforcement::Enforced, ruleset };
    Read { policy, complaint: Some(why) }
}

fn field(field: &'static str) -> impl Fn(BadValue) -> Unusable + Copy {
    move |value| Unusable::Field { field, value }
}

fn scope(number: i32) -> Result<PolicyScope, Unusable> {
    Ok(match choice(number).map_err(field("scope"))? {
        pb::Scope::Global => PolicyScope::Global,
        pb::Scope::Namespace => PolicyScope::Namespace,
        pb::Scope::WorkloadSelector => PolicyScope::Selector,
    })
}

fn understand(message: pb::Authorization) -> Result<(Action, Enforcement, Vec<Rule>), Unusable> {
    if !message.extensions.is_empty() {
        return Err(Unusable::Extension("the policy"));
    }
    let action = match choice(message.action).map_err(field("action"))? {
        pb::Action::Allow => Action::Allow,
        pb::Action::Deny => Action::Deny,
    };
    let enforcement = enforcement(&message);
    let clause = |clause: pb::Clause| {
        Ok(Clause { matches: clause.matches.into_iter().map(one_match).collect::<Result<_, _>>()? })
    };
    let rule = |rule: pb::Rule| {
        Ok(Rule { clauses: rule.clauses.into_iter().map(clause).collect::<Result<_, _>>()? })
    };
    Ok((action, enforcement, message.rules.into_iter().map(rule).collect::<Result<_, _>>()?))
}

fn enforcement(message: &pb::Authorization) -> Enforcement {
    if message.dry_run { Enforcement::DryRun } else { Enforcement::Enforced }
}

/// The writer's own word that the policy cannot be understood.
fn written_unusable(message: &pb::Authorization) -> Option<Arc<str>> {
    let extension = message.extensions.iter().find(|extension| extension.name == UNUSABLE)?;
    let config = extension.config.as_ref().map_or(&[][..], |config| &config.value);
    // Even if its reason cannot be read: that it is unusable has been said.
    Some(weft::Unusable::decode(config).unwrap_or_default().reason.into())
}

fn one_match(from: pb::Match) -> Result<Match, Unusable> {
    if !from.extensions.is_empty() {
        return Err(Unusable::Extension("a match"));
    }
    let nets = |name, nets: Vec<pb::Address>| all(name, nets, |one: pb::Address| net(&one));
    let ports = |name, ports: Vec<u32>| all(name, ports, port);
    Ok(Match {
        namespaces: all("namespaces", from.namespaces, string_match)?,
        not_namespaces: all("not_namespaces", from.not_namespaces, string_match)?,
        service_accounts: all("service_accounts", from.service_accounts, service_account)?,
        not_service_accounts: all("not_service_accounts", from.not_service_accounts, service_account)?,
        principals: all("principals", from.principals, string_match)?,
        not_principals: all("not_principals", from.not_principals, string_match)?,
        source_ips: nets("source_ips", from.source_ips)?,
        not_source_ips: nets("not_source_ips", from.not_source_ips)?,
        destination_ips: nets("destination_ips", from.destination_ips)?,
        not_destination_ips: nets("not_destination_ips", from.not_destination_ips)?,
        destination_ports: ports("destination_ports", from.destination_ports)?,
        not_destination_ports: ports("not_destination_ports", from.not_destination_ports)?,
    })
}

fn all<T, U>(
    name: &'static str,
    from: Vec<T>,
    read: impl Fn(T) -> Result<U, BadValue>,
) -> Result<Vec<U>, Unusable> {
    from.into_iter().map(read).collect::<Result<_, _>>().map_err(field(name))
}

fn string_match(from: pb::StringMatch) -> Result<StringMatch, BadValue> {
    Ok(match from.match_type.ok_or(BadValue::Missing)? {
        MatchType::Exact(text) => StringMatch::Exact(arc(text)),
        MatchType::Prefix(text) => StringMatch::Prefix(arc(text)),
        MatchType::Suffix(text) => StringMatch::Suffix(arc(text)),
        MatchType::Presence(()) => StringMatch::Presence,
    })
}

fn service_account(from: pb::ServiceAccountMatch) -> Result<ServiceAccountMatch, BadValue> {
    if from.namespace.is_empty() || from.service_account.is_empty() {
        return Err(BadValue::Missing);
    }
    Ok(ServiceAccountMatch { namespace: arc(from.namespace), service_account: arc(from.service_account) })
}

/// Bits that an IPv4 address has before it when it is written as an IPv6 one.
const MAPPED_BITS: u32 = 96;

fn net(from: &pb::Address) -> Result<IpNet, BadValue> {
    let ip: IpAddr = ip(&from.address)?;
    let bad = || BadValue::PrefixLength(from.length);
    let mapped = ip.is_ipv4() && from.address.len() == 16;
    let length = if mapped { from.length.checked_sub(MAPPED_BITS).ok_or_else(bad)? } else { from.length };
    let length = u8::try_from(length).map_err(|_| bad())?;
    IpNet::new(ip, length).map_err(|_| bad())
}

/// The bytes of an `istio.security.Authorization`. Equal values have equal bytes.
///
/// A policy that cannot be understood is written as one that denies everything, with the reason beside it:
/// readers that do not know Weft deny too.
pub fn encode_authorization(policy: &Policy) -> Vec<u8> {
    let (action, rules, extensions) = match &policy.ruleset {
        Ruleset::Rules(rules) => (policy.action, rules.iter().map(encode_rule).collect(), Vec::new()),
        Ruleset::Unusable(why) => (Action::Deny, vec![pb::Rule::default()], vec![encode_unusable(why)]),
    };
    pb::Authorization {
        name: text(&policy.name.name),
        namespace: text(&policy.name.namespace),
        scope: match policy.scope {
            PolicyScope::Global => pb::Scope::Global,
            PolicyScope::Namespace => pb::Scope::Namespace,
            PolicyScope::Selector => pb::Scope::WorkloadSelector,
        }
        .into(),
        action: match action {
            Action::Allow => pb::Action::Allow,
            Action::Deny => pb::Action::Deny,
        }
        .into(),
        dry_run: policy.enforcement == Enforcement::DryRun,
        rules,
        extensions,
    }
    .encode_to_vec()
}

fn encode_unusable(why: &Arc<str>) -> pb::Extension {
    let value = weft::Unusable { reason: text(why) }.encode_to_vec();
    let config = prost_types::Any { type_url: UNUSABLE_TYPE.to_owned(), value };
    pb::Extension { name: UNUSABLE.to_owned(), config: Some(config) }
}

fn encode_rule(rule: &Rule) -> pb::Rule {
    let clause = |clause: &Clause| pb::Clause { matches: clause.matches.iter().map(encode_match).collect() };
    pb::Rule { clauses: rule.clauses.iter().map(clause).collect() }
}

fn encode_match(from: &Match) -> pb::Match {
    pb::Match {
        namespaces: each(&from.namespaces, encode_string_match),
        not_namespaces: each(&from.not_namespaces, encode_string_match),
        service_accounts: each(&from.service_accounts, encode_service_account),
        not_service_accounts: each(&from.not_service_accounts, encode_service_account),
        principals: each(&from.principals, encode_string_match),
        not_principals: each(&from.not_principals, encode_string_match),
        source_ips: each(&from.source_ips, encode_net),
        not_source_ips: each(&from.not_source_ips, encode_net),
        destination_ips: each(&from.destination_ips, encode_net),
        not_destination_ips: each(&from.not_destination_ips, encode_net),
        destination_ports: each(&from.destination_ports, |port| (*port).into()),
        not_destination_ports: each(&from.not_destination_ports, |port| (*port).into()),
        extensions: Vec::new(),
    }
}

fn each<T, U>(from: &[T], write: impl Fn(&T) -> U) -> Vec<U> {
    from.iter().map(write).collect()
}

fn encode_string_match(from: &StringMatch) -> pb::StringMatch {
    let match_type = match from {
        StringMatch::Exact(want) => MatchType::Exact(text(want)),
        StringMatch::Prefix(want) => MatchType::Prefix(text(want)),
        StringMatch::Suffix(want) => MatchType::Suffix(text(want)),
        StringMatch::Presence => MatchType::Presence(()),
    };
    pb::StringMatch { match_type: Some(match_type) }
}

fn encode_service_account(from: &ServiceAccountMatch) -> pb::ServiceAccountMatch {
    pb::ServiceAccountMatch { namespace: text(&from.namespace), service_account: text(&from.service_account) }
}

fn encode_net(from: &IpNet) -> pb::Address {
    pb::Address { address: ip_bytes(from.addr()), length: from.prefix_len().into() }
}
