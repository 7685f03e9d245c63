//! Names that several resources write: hosts, labels, namespaces to export to.

use crate::check::Findings;
use crate::text::{is_host, is_label, is_label_key, is_label_value};
use std::collections::BTreeMap;

/// A host that may begin with a star: `*`, `*.a.example`, `*-v1.a.example`.
pub(crate) fn is_wildcard_host(text: &str) -> bool {
    match text.strip_prefix('*') {
        None => is_host(text),
        Some("") => true,
        // The star stands for a whole label, or for the beginning of one.
        Some(rest) => is_host(rest.strip_prefix(['.', '-']).unwrap_or(rest)),
    }
}

/// Why a text is no such host.
pub(crate) const NO_WILDCARD_HOST: &str = "is no host: a name is, and * at its beginning";
/// Why a text is no host.
pub(crate) const NO_HOST: &str = "is no host: a service's name or a host name is";

/// Checks namespaces to which something is exported: `.` is its own, `*` are all, `~` is none.
pub(crate) fn export_to(found: &mut Findings, namespaces: &[String]) {
    found.unique("exportTo", namespaces, |one| Some(one.clone()));
    found.each("exportTo", namespaces, |found, one| {
        if !matches!(&**one, "." | "*" | "~") && !is_label(one) {
            found.refuse("is no namespace: a name, . and * are");
        }
    });
    let alone = namespaces.len() <= 1 || !namespaces.iter().any(|one| matches!(&**one, "*" | "~"));
    found.require("exportTo", alone, "has * or ~ and more, which contradict each other");
}

/// Checks labels.
pub(crate) fn labels(found: &mut Findings, key: &str, labels: &BTreeMap<String, String>) {
    for (name, value) in labels {
        let reason = match (is_label_key(name), is_label_value(value)) {
            (true, true) => continue,
            (false, _) => format!("{name:?} is no name of a label"),
            (true, false) => format!("{value:?} is no value of a label"),
        };
        found.at(key, |found| found.refuse(reason));
    }
}

/// Checks Gateways by their names: `name`, `namespace/name`, or the word `mesh`.
pub(crate) fn gateways(found: &mut Findings, gateways: &[String]) {
    found.each("gateways", gateways, |found, gateway| {
        let (namespace, name) = gateway.split_once('/').unwrap_or((".", gateway));
        if !(namespace == "." || is_label(namespace)) || !is_host(name) {
            found.refuse("is no Gateway: mesh, a name, and a namespace with / before it are");
        }
    });
}
