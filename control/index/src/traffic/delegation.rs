//! VirtualServices that leave a part of their requests to others (`delegate`): what both say together, as Istio's documentation
//! has it. Only routes whose matches are a part of the root's are in force.

use super::virtual_service::MESH;
use crate::name::Name;
use std::collections::BTreeMap;
use weft_control_api::istio::string_match::{HeaderMatch, StringMatch};
use weft_control_api::istio::virtual_service::VirtualService;
use weft_control_api::istio::virtual_service::http::{Delegate, HttpRoute};
use weft_control_api::istio::virtual_service::http_match::HttpMatchRequest;

/// What a delegation comes to that has no effect: the field of the root, and why.
pub(super) type Lost = (String, String);

/// The VirtualService that a route leaves its requests to.
pub(super) fn delegate_of(root: &Name, delegate: &Delegate) -> Name {
    let namespace = delegate.namespace.as_deref().filter(|namespace| !namespace.is_empty());
    Name::new(namespace.unwrap_or(&root.namespace), delegate.name.as_deref().unwrap_or_default())
}

/// The delegates of a VirtualService.
pub(super) fn delegates<'a>(root: &'a Name, one: &'a VirtualService) -> impl Iterator<Item = Name> + 'a {
    let all = one.spec.http.iter().filter_map(|route| route.delegate.as_ref());
    all.map(|delegate| delegate_of(root, delegate))
}

/// What a route is called: by its name, else by its number.
pub(super) fn label(route: &HttpRoute, number: usize) -> String {
    route.name.clone().unwrap_or_else(|| number.to_string())
}

/// The VirtualService with what its delegates say in place of its delegations, and what has no effect.
pub(super) fn merged<'a>(
    root: &Name,
    one: &VirtualService,
    find: impl Fn(&Name) -> Option<&'a VirtualService>,
) -> (VirtualService, Vec<Lost>) {
    let (mut whole, mut lost) = (one.clone(), Vec::new());
    whole.spec.http.clear();
    for (number, route) in one.spec.http.iter().enumerate() {
        let own = label(route, number);
        let Some(delegate) = &route.delegate else {
            // Numbers stay what they are where it is written.
            whole.spec.http.push(HttpRoute { name: Some(own), ..route.clone() });
            continue;
        };
        let at = format!("spec.http[{number}].delegate");
        let name = delegate_of(root, delegate);
        let found = find(&name).filter(|found| found.spec.hosts.is_empty());
        let Some(found) = found else {
            let why = format!("there is no VirtualService {name} without hosts: the route has no effect");
            lost.push((at, why));
            continue;
        };
        if !is_exported(&name, found, root) {
            let why =
                format!("VirtualService {name} is not exported to this namespace: the route has no effect");
            lost.push((at, why));
            continue;
        }
        for (place, leaf) in found.spec.http.iter().enumerate() {
            let leaf_label = label(leaf, place);
            match both(route, leaf) {
                Some(mut merged) => {
                    qualify(&mut merged, &name);
                    merged.name = Some(format!("{own}-{leaf_label}"));
                    whole.spec.http.push(merged);
                }
                None => {
                    let why = format!(
                        "no match of route {leaf_label} of VirtualService {name} is a part of this route's: it has no effect"
                    );
                    lost.push((at.clone(), why));
                }
            }
        }
    }
    (whole, lost)
}

fn is_exported(name: &Name, one: &VirtualService, root: &Name) -> bool {
    let to = &one.spec.export_to;
    to.is_empty()
        || to.iter().any(|to| match to.as_str() {
            "*" => true,
            "." => name.namespace == root.namespace,
            to => *to == *root.namespace,
        })
}

/// Short names in a delegate are of its own namespace.
fn qualify(route: &mut HttpRoute, name: &Name) {
    let mirrors = route.mirrors.iter_mut().map(|one| &mut one.destination);
    let routes = route.route.iter_mut().map(|one| &mut one.destination);
    for destination in routes.chain(mirrors).chain(route.mirror.as_mut()) {
        if !destination.host.contains('.') {
            destination.host = format!("{}.{}", destination.host, name.namespace);
        }
    }
}

/// What the two say together; `None` if no match of the delegate's is a part of the root's.
fn both(root: &HttpRoute, leaf: &HttpRoute) -> Option<HttpRoute> {
    let matches = match (root.matches.as_slice(), leaf.matches.as_slice()) {
        ([], leaves) => leaves.to_vec(),
        (roots, []) => roots.to_vec(),
        (roots, leaves) => {
            let pairs = leaves.iter().flat_map(|leaf| roots.iter().map(move |root| (root, leaf)));
            let matches: Vec<_> = pairs.filter_map(|(root, leaf)| narrowed(root, leaf)).collect();
            if matches.is_empty() {
                return None;
            }
            matches
        }
    };
    let answers = leaf.redirect.is_some() || leaf.direct_response.is_some();
    let mirrored = leaf.mirror.is_some() || !leaf.mirrors.is_empty();
    let mirror = if mirrored { leaf } else { root };
    Some(HttpRoute {
        matches,
        delegate: None,
        rewrite: leaf.rewrite.clone().or_else(|| root.rewrite.clone()).filter(|_| !answers),
        timeout: leaf.timeout.or(root.timeout),
        retries: leaf.retries.clone().or_else(|| root.retries.clone()),
        fault: leaf.fault.clone().or_else(|| root.fault.clone()),
        mirror: mirror.mirror.clone(),
        mirror_percent: mirror.mirror_percent,
        mirror_percent_snake: mirror.mirror_percent_snake,
        mirror_percentage: mirror.mirror_percentage,
        mirrors: mirror.mirrors.clone(),
        cors_policy: leaf.cors_policy.clone().or_else(|| root.cors_policy.clone()),
        headers: leaf.headers.clone().or_else(|| root.headers.clone()),
        ..leaf.clone()
    })
}

/// A match of the delegate's with what the root's asks for besides; `None` if it is no part of that.
fn narrowed(root: &HttpMatchRequest, leaf: &HttpMatchRequest) -> Option<HttpMatchRequest> {
    let same_case = root.uri.is_none()
        || leaf.uri.is_none()
        || root.ignore_uri_case.unwrap_or(false) == leaf.ignore_uri_case.unwrap_or(false);
    let equal =
        |one: &Option<String>, other: &Option<String>| one.is_none() || other.is_none() || one == other;
    let port = root.port.is_none() || leaf.port.is_none() || root.port == leaf.port;
    let gateways = leaf.gateways.is_empty()
        || root.gateways.is_empty()
        || leaf.gateways.iter().all(|one| root.gateways.contains(one) || one == MESH);
    if !(same_case && port && gateways && equal(&root.source_namespace, &leaf.source_namespace)) {
        return None;
    }
    let uri = text(root.uri.as_ref(), leaf.uri.as_ref())?;
    let of_leaf = leaf.uri.is_some();
    Some(HttpMatchRequest {
        name: leaf.name.clone().or_else(|| root.name.clone()),
        uri,
        scheme: text(root.scheme.as_ref(), leaf.scheme.as_ref())?,
        method: text(root.method.as_ref(), leaf.method.as_ref())?,
        authority: text(root.authority.as_ref(), leaf.authority.as_ref())?,
        headers: named(&root.headers, &leaf.headers, is_part)?,
        // Less is more: what is asked to be away has to be the same.
        without_headers: named(&root.without_headers, &leaf.without_headers, |root, leaf| root == leaf)?,
        query_params: named(&root.query_params, &leaf.query_params, is_part)?,
        ignore_uri_case: if of_leaf { leaf.ignore_uri_case } else { root.ignore_uri_case },
        port: leaf.port.or(root.port),
        source_labels: {
            let mut labels = root.source_labels.clone();
            for (key, value) in &leaf.source_labels {
                if labels.insert(key.clone(), value.clone()).is_some_and(|own| own != *value) {
                    return None;
                }
            }
            labels
        },
        source_namespace: leaf.source_namespace.clone().or_else(|| root.source_namespace.clone()),
        gateways: if leaf.gateways.is_empty() { root.gateways.clone() } else { leaf.gateways.clone() },
        stat_prefix: leaf.stat_prefix.clone().or_else(|| root.stat_prefix.clone()),
    })
}

/// The closer one of two; `None` if the second one is no part of the first.
fn text(root: Option<&StringMatch>, leaf: Option<&StringMatch>) -> Option<Option<StringMatch>> {
    match (root, leaf) {
        (Some(root), Some(leaf)) => is_within(root, leaf).then(|| Some(leaf.clone())),
        (one, other) => Some(other.or(one).cloned()),
    }
}

/// Whether all that a match takes another one takes too. Of regular expressions nobody knows.
fn is_within(root: &StringMatch, leaf: &StringMatch) -> bool {
    match (root, leaf) {
        (StringMatch::Exact(root), StringMatch::Exact(leaf)) => root == leaf,
        (StringMatch::Prefix(root), StringMatch::Exact(leaf) | StringMatch::Prefix(leaf)) => {
            leaf.starts_with(root.as_str())
        }
        (StringMatch::Exact(_) | StringMatch::Regex(_), _) | (_, StringMatch::Regex(_)) => false,
    }
}

fn is_part(root: &HeaderMatch, leaf: &HeaderMatch) -> bool {
    match (root, leaf) {
        (HeaderMatch::Present, _) => true,
        (HeaderMatch::Value(_), HeaderMatch::Present) => false,
        (HeaderMatch::Value(root), HeaderMatch::Value(leaf)) => is_within(root, leaf),
    }
}

fn named(
    root: &BTreeMap<String, HeaderMatch>,
    leaf: &BTreeMap<String, HeaderMatch>,
    part: impl Fn(&HeaderMatch, &HeaderMatch) -> bool,
) -> Option<BTreeMap<String, HeaderMatch>> {
    let mut all = root.clone();
    for (name, value) in leaf {
        if let Some(own) = all.insert(name.clone(), value.clone())
            && !part(&own, value)
        {
            return None;
        }
    }
    Some(all)
}
