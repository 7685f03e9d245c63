//! AuthorizationPolicy: with `targetRefs` it is for waypoints, and decides requests; without, for node proxies, and
//! decides connections. As in Istio each of them leaves the other's alone.
//!
//! What a node proxy cannot see (requests) is handled so that more is denied, as Istio does it: an ALLOW
//! alternative that asks for such a field never matches, a DENY alternative matches on the rest alone.
//! AUDIT decides nothing anywhere; CUSTOM asks somebody whom no proxy can ask yet, and denies. All of it is noted.

use crate::config::IndexConfig;
use crate::name::Name;
use crate::policy::{PolicyFacts, Reach, RequestFacts, labels_of, unusable};
use crate::selector::{Labels, Selector, Within};
use weft_control_api::authorization_policy as api;
use weft_control_api::problem::{Note, Severity};
use weft_control_api::refusal::{DRY_RUN_ANNOTATION, parse_bool};
use weft_core::names::PolicyName;
use weft_core::policy::{Action, Clause, Enforcement, Match, Policy, Rule, Ruleset};

mod request;
pub(crate) mod target;
mod condition;
mod list;

use list::{List, Reader, Sense};

/// Reads an AuthorizationPolicy. An error among the notes makes it unusable, not absent.
pub(crate) fn read(
    policy: &api::AuthorizationPolicy,
    name: &Name,
    config: &IndexConfig,
    notes: &mut Vec<Note>,
) -> PolicyFacts {
    let spec = policy.spec.clone().unwrap_or_default();
    let enforcement = enforcement(policy, notes);
    if target::written(&spec).is_some() {
        return for_waypoints(&spec, enforcement, name, config, notes);
    }
    let reach = reach(labels_of(spec.selector.as_ref()), name, config);
    let action = action(&spec, notes);
    let rules = rules(&spec, action.unwrap_or(Action::Deny), name, config, notes);
    let error = notes.iter().find(|note| note.severity == Severity::Error);
    let told = reach.scope().and_then(|scope| match (error, action) {
        (Some(error), _) => Some(unusable(name, scope, enforcement, &error.text())),
        (None, None) => None,
        (None, Some(action)) => Some(Policy {
            name: PolicyName::new(name.namespace.clone(), name.name.clone()),
            scope,
            action,
            enforcement,
            ruleset: Ruleset::Rules(rules),
        }),
    });
    PolicyFacts { reach: if told.is_some() { reach } else { Reach::Nothing }, told, requests: None }
}

fn for_waypoints(
    spec: &api::AuthorizationPolicySpec,
    enforcement: Enforcement,
    name: &Name,
    config: &IndexConfig,
    notes: &mut Vec<Note>,
) -> PolicyFacts {
    let targets = target::read(spec, name, config, notes);
    let action = action(spec, notes);
    let rules = request::rules(spec, name, config, notes);
    let error = notes.iter().find(|note| note.severity == Severity::Error).map(Note::text);
    match error {
        Some(why) => {
            target::unusable(targets, labels_of(spec.selector.as_ref()), enforcement, &why, name, config)
        }
        None => PolicyFacts {
            reach: Reach::Nothing,
            told: None,
            requests: action.map(|action| RequestFacts {
                targets,
                action,
                enforcement,
                ruleset: weft_l7::policy::Ruleset::Rules(rules),
            }),
        },
    }
}

/// From a root namespace, a selector reaches the whole mesh. An empty selector is none.
pub(crate) fn reach(labels: Option<Labels>, name: &Name, config: &IndexConfig) -> Reach {
    let Some(labels) = labels.filter(|labels| !labels.is_empty()) else {
        return Reach::wide(name, config);
    };
    let within = match config.is_root(&name.namespace) {
        true => Within::Mesh,
        false => Within::Namespace(name.namespace.clone()),
    };
    Reach::Pods(within, Selector::labels(labels))
}

fn enforcement(policy: &api::AuthorizationPolicy, notes: &mut Vec<Note>) -> Enforcement {
    let annotations = policy.metadata.annotations.as_ref();
    let Some(text) = annotations.and_then(|annotations| annotations.get(DRY_RUN_ANNOTATION)) else {
        return Enforcement::Enforced;
    };
    match parse_bool(text) {
        Some(true) => Enforcement::DryRun,
        Some(false) => Enforcement::Enforced,
        None => {
            let reason = format!("{text:?} is neither true nor false: the policy is enforced");
            notes.push(Note::warning(format!("metadata.annotations.{DRY_RUN_ANNOTATION}"), reason));
            Enforcement::Enforced
        }
    }
}

/// `None` for an action that decides nothing.
fn action(spec: &api::AuthorizationPolicySpec, notes: &mut Vec<Note>) -> Option<Action> {
    if spec.provider.is_some() && spec.action != Some(api::Action::Custom) {
        notes.push(Note::error("spec.provider", "goes with action CUSTOM only"));
    }
    match spec.action {
        None | Some(api::Action::Allow) => Some(Action::Allow),
        Some(api::Action::Deny) => Some(Action::Deny),
        Some(api::Action::Audit) => {
            notes.push(Note::warning("spec.action", "AUDIT is not supported: the policy has no effect"));
            None
        }
        Some(api::Action::Custom) => {
            notes.push(Note::error("spec.action", "CUSTOM is not supported: the policy denies"));
            Some(Action::Deny)
        }
    }
}

fn rules(
    spec: &api::AuthorizationPolicySpec,
    action: Action,
    name: &Name,
    config: &IndexConfig,
    notes: &mut Vec<Note>,
) -> Vec<Rule> {
    let mut found = Vec::new();
    for (index, rule) in spec.rules.iter().flatten().enumerate() {
        let mut reader = Reader { action, policy: name, config, notes };
        found.extend(one_rule(rule, &format!("spec.rules[{index}]"), &mut reader));
    }
    found
}

/// `None` for a rule that never matches.
fn one_rule(rule: &api::Rule, path: &str, reader: &mut Reader<'_>) -> Option<Rule> {
    let mut clauses = Vec::new();
    if let Some(from) = &rule.from {
        let mut matches = Vec::new();
        for (index, one) in from.iter().enumerate() {
            matches.extend(source(one, &format!("{path}.from[{index}]"), reader));
        }
        clauses.push(alternatives(matches, from.is_empty(), format!("{path}.from"), reader));
    }
    if let Some(to) = &rule.to {
        let mut matches = Vec::new();
        for (index, one) in to.iter().enumerate() {
            matches.extend(operation(one, &format!("{path}.to[{index}]"), reader));
        }
        clauses.push(alternatives(matches, to.is_empty(), format!("{path}.to"), reader));
    }
    for (index, one) in rule.when.iter().flatten().enumerate() {
        let read = condition::read(one, &format!("{path}.when[{index}]"), reader);
        clauses.push(Clause { matches: read.into_iter().collect() });
    }
    clauses.iter().all(|clause| !clause.matches.is_empty()).then_some(Rule { clauses })
}

fn alternatives(matches: Vec<Match>, written_empty: bool, field: String, reader: &mut Reader<'_>) -> Clause {
    if written_empty {
        reader.error(field, "is an empty list; leave it out to match anything");
    }
    Clause { matches }
}

/// `None` for a source that never matches.
fn source(from: &api::From, path: &str, reader: &mut Reader<'_>) -> Option<Match> {
    let path = format!("{path}.source");
    let Some(source) = from.source.as_ref().filter(|source| !source.says_nothing()) else {
        reader.error(path, "says nothing; leave `from` out to match anything");
        return None;
    };
    let field = |name: &str| format!("{path}.{name}");
    reader.check_beside(source, &path);
    let unseen = [
        ("requestPrincipals", source.request_principals.is_some()),
        ("notRequestPrincipals", source.not_request_principals.is_some()),
        ("remoteIpBlocks", source.remote_ip_blocks.is_some()),
        ("notRemoteIpBlocks", source.not_remote_ip_blocks.is_some()),
    ];
    let judged = reader.can_judge(&path, &unseen);
    let any_of = |name: &str, texts| List { texts, field: field(name), sense: Sense::AnyOf };
    let none_of = |name: &str, texts| List { texts, field: field(name), sense: Sense::NoneOf };
    let matched = Match {
        principals: reader.principals(any_of("principals", source.principals.as_ref())),
        not_principals: reader.principals(none_of("notPrincipals", source.not_principals.as_ref())),
        namespaces: reader.strings(any_of("namespaces", source.namespaces.as_ref())),
        not_namespaces: reader.strings(none_of("notNamespaces", source.not_namespaces.as_ref())),
        service_accounts: reader.accounts(any_of("serviceAccounts", source.service_accounts.as_ref())),
        not_service_accounts: reader
            .accounts(none_of("notServiceAccounts", source.not_service_accounts.as_ref())),
        source_ips: reader.blocks(any_of("ipBlocks", source.ip_blocks.as_ref())),
        not_source_ips: reader.blocks(none_of("notIpBlocks", source.not_ip_blocks.as_ref())),
        ..Match::default()
    };
    judged.then_some(matched)
}

/// `None` for an operation that never matches.
fn operation(to: &api::To, path: &str, reader: &mut Reader<'_>) -> Option<Match> {
    let path = format!("{path}.operation");
    let Some(operation) = to.operation.as_ref().filter(|one| !one.says_nothing()) else {
        reader.error(path, "says nothing; leave `to` out to match anything");
        return None;
    };
    let unseen = [
        ("hosts", operation.hosts.is_some()),
        ("notHosts", operation.not_hosts.is_some()),
        ("methods", operation.methods.is_some()),
        ("notMethods", operation.not_methods.is_some()),
        ("paths", operation.paths.is_some()),
        ("notPaths", operation.not_paths.is_some()),
    ];
    let judged = reader.can_judge(&path, &unseen);
    let list = |name: &str, texts, sense| List { texts, field: format!("{path}.{name}"), sense };
    let matched = Match {
        destination_ports: reader.ports(list("ports", operation.ports.as_ref(), Sense::AnyOf)),
        not_destination_ports: reader.ports(list("notPorts", operation.not_ports.as_ref(), Sense::NoneOf)),
        ..Match::default()
    };
    judged.then_some(matched)
}
