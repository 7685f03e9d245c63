//! The rules of a policy for waypoints, in the words of `weft-l7`. What a waypoint cannot judge yet is an error: the
//! policy then denies what it names.

use super::list::{List, Reader, Sense};
use crate::config::IndexConfig;
use crate::name::Name;
use weft_control_api::authorization_policy as api;
use weft_control_api::problem::Note;
use weft_core::policy::Action;
use weft_l7::policy::path::PathPattern;
use weft_l7::policy::{Operation, Rule, Source};

const NOT_YET: &str = "is not supported by waypoints yet: the policy denies";

pub(super) fn rules(
    spec: &api::AuthorizationPolicySpec,
    name: &Name,
    config: &IndexConfig,
    notes: &mut Vec<Note>,
) -> Vec<Rule> {
    // Its action plays no part in how its lists are read.
    let mut reader = Reader { action: Action::Deny, policy: name, config, notes };
    let all = spec.rules.iter().flatten().enumerate();
    all.map(|(index, rule)| one_rule(rule, &format!("spec.rules[{index}]"), &mut reader)).collect()
}

fn one_rule(rule: &api::Rule, path: &str, reader: &mut Reader<'_>) -> Rule {
    for (index, _) in rule.when.iter().flatten().enumerate() {
        reader.error(format!("{path}.when[{index}]"), NOT_YET);
    }
    for (field, empty) in [
        ("from", rule.from.as_ref().is_some_and(Vec::is_empty)),
        ("to", rule.to.as_ref().is_some_and(Vec::is_empty)),
    ] {
        if empty {
            reader.error(format!("{path}.{field}"), "is an empty list; leave it out to match anything");
        }
    }
    let from = rule.from.as_ref().map(|from| {
        let all = from.iter().enumerate();
        all.map(|(index, one)| source(one, &format!("{path}.from[{index}].source"), reader)).collect()
    });
    let to = rule.to.as_ref().map(|to| {
        let all = to.iter().enumerate();
        all.map(|(index, one)| operation(one, &format!("{path}.to[{index}].operation"), reader)).collect()
    });
    Rule { from, to }
}

fn source(from: &api::From, path: &str, reader: &mut Reader<'_>) -> Source {
    let Some(source) = from.source.as_ref().filter(|source| !source.says_nothing()) else {
        reader.error(path, "says nothing; leave `from` out to match anything");
        return Source::default();
    };
    reader.check_beside(source, path);
    for (field, written) in [
        ("requestPrincipals", source.request_principals.is_some()),
        ("notRequestPrincipals", source.not_request_principals.is_some()),
    ] {
        if written {
            reader.error(format!("{path}.{field}"), NOT_YET);
        }
    }
    let any = |name: &str, texts| List { texts, field: format!("{path}.{name}"), sense: Sense::AnyOf };
    let none = |name: &str, texts| List { texts, field: format!("{path}.{name}"), sense: Sense::NoneOf };
    Source {
        principals: reader.principals(any("principals", source.principals.as_ref())),
        not_principals: reader.principals(none("notPrincipals", source.not_principals.as_ref())),
        namespaces: reader.strings(any("namespaces", source.namespaces.as_ref())),
        not_namespaces: reader.strings(none("notNamespaces", source.not_namespaces.as_ref())),
        service_accounts: reader.accounts(any("serviceAccounts", source.service_accounts.as_ref())),
        not_service_accounts: reader
            .accounts(none("notServiceAccounts", source.not_service_accounts.as_ref())),
        ip_blocks: reader.blocks(any("ipBlocks", source.ip_blocks.as_ref())),
        not_ip_blocks: reader.blocks(none("notIpBlocks", source.not_ip_blocks.as_ref())),
        remote_ip_blocks: reader.blocks(any("remoteIpBlocks", source.remote_ip_blocks.as_ref())),
        not_remote_ip_blocks: reader.blocks(none("notRemoteIpBlocks", source.not_remote_ip_blocks.as_ref())),
    }
}

fn operation(to: &api::To, path: &str, reader: &mut Reader<'_>) -> Operation {
    let Some(operation) = to.operation.as_ref().filter(|one| !one.says_nothing()) else {
        reader.error(path, "says nothing; leave `to` out to match anything");
        return Operation::default();
    };
    let any = |name: &str, texts| List { texts, field: format!("{path}.{name}"), sense: Sense::AnyOf };
    let none = |name: &str, texts| List { texts, field: format!("{path}.{name}"), sense: Sense::NoneOf };
    Operation {
        hosts: reader.strings(any("hosts", operation.hosts.as_ref())),
        not_hosts: reader.strings(none("notHosts", operation.not_hosts.as_ref())),
        ports: reader.ports(any("ports", operation.ports.as_ref())),
        not_ports: reader.ports(none("notPorts", operation.not_ports.as_ref())),
        methods: reader.strings(any("methods", operation.methods.as_ref())),
        not_methods: reader.strings(none("notMethods", operation.not_methods.as_ref())),
        paths: paths(any("paths", operation.paths.as_ref()), reader),
        not_paths: paths(none("notPaths", operation.not_paths.as_ref()), reader),
    }
}

fn paths(list: List<'_>, reader: &mut Reader<'_>) -> Vec<PathPattern> {
    reader.read(list, |_, text| PathPattern::new(text).map(|one| vec![one]).map_err(|bad| bad.to_string()))
}
