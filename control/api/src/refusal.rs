//! What is still known of an object that was refused: its key, why, and for a policy what it would have
//! applied to, so that it can deny there.

use crate::kind::ObjectKey;
use crate::problem::Note;
use crate::selector::PolicyTargetReference;
use serde_json::Value;
use std::collections::BTreeMap;

/// An object that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Its key.
    pub key: ObjectKey,
    /// Why; never empty.
    pub notes: Vec<Note>,
    /// For a policy: what it would have applied to.
    pub scope: RefusedScope,
    /// For a policy: it was only to be tried.
    pub dry_run: bool,
}

/// What a refused policy would have applied to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefusedScope {
    /// Pods by their labels; all of the namespace if there is none.
    Labels(BTreeMap<String, String>),
    /// That cannot be read: its whole namespace.
    Namespace,
    /// Services or Gateways, whose waypoints would have enforced it. Not empty.
    Targets(Vec<PolicyTargetReference>),
}

/// The annotation that makes a policy a trial.
pub const DRY_RUN_ANNOTATION: &str = "istio.io/dry-run";

/// Reads what a refused policy would have applied to.
pub fn refused_scope(value: &Value) -> RefusedScope {
    let Some(spec) = value.get("spec").filter(|spec| !spec.is_null()) else {
        return RefusedScope::Labels(BTreeMap::new());
    };
    let Some(spec) = spec.as_object() else {
        return RefusedScope::Namespace;
    };
    let written = |name: &str| spec.get(name).filter(|value| !value.is_null());
    match (written("selector"), written("targetRefs").or(written("targetRef"))) {
        (Some(selector), _) => labels(selector).map_or(RefusedScope::Namespace, RefusedScope::Labels),
        (None, Some(targets)) => match read_targets(targets) {
            Some(targets) if !targets.is_empty() => RefusedScope::Targets(targets),
            Some(_) | None => RefusedScope::Namespace,
        },
        // None is written, or it is misspelt; the widest reading of both is the namespace.
        (None, None) => RefusedScope::Namespace,
    }
}

fn read_targets(targets: &Value) -> Option<Vec<PolicyTargetReference>> {
    let read = |one: &Value| serde_json::from_value(one.clone()).ok();
    match targets {
        Value::Array(targets) => targets.iter().map(read).collect(),
        one => read(one).map(|one| vec![one]),
    }
}

fn labels(selector: &Value) -> Option<BTreeMap<String, String>> {
    let selector = selector.as_object()?;
    if selector.keys().any(|key| key != "matchLabels") {
        return None;
    }
    let Some(labels) = selector.get("matchLabels") else {
        return Some(BTreeMap::new());
    };
    let labels = labels.as_object()?.iter();
    labels.map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

/// Reads whether a refused policy was only to be tried.
pub fn refused_dry_run(value: &Value) -> bool {
    let annotations = value.get("metadata").and_then(|metadata| metadata.get("annotations"));
    let text = annotations.and_then(|all| all.get(DRY_RUN_ANNOTATION)).and_then(Value::as_str);
    text.and_then(parse_bool) == Some(true)
}

/// Reads a truth value as Kubernetes' annotations write it.
pub fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_refused_policy_denies_where_it_would_have_applied() {
        let app = || RefusedScope::Labels([("app".to_owned(), "web".to_owned())].into());
        let service = || {
            let target = PolicyTargetReference {
                kind: "Service".into(),
                name: "web".into(),
                ..PolicyTargetReference::default()
            };
            RefusedScope::Targets(vec![target])
        };
        for (case, value, want) in [
            ("no spec", json!({}), RefusedScope::Labels(BTreeMap::new())),
            ("spec is a text", json!({"spec": "x"}), RefusedScope::Namespace),
            ("selector", json!({"spec": {"selector": {"matchLabels": {"app": "web"}}, "x": 1}}), app()),
            (
                "bad selector",
                json!({"spec": {"selector": {"matchLabels": {"app": 1}}}}),
                RefusedScope::Namespace,
            ),
            ("odd selector", json!({"spec": {"selector": {"labels": {}}}}), RefusedScope::Namespace),
            ("misspelt selector", json!({"spec": {"selektor": {}}}), RefusedScope::Namespace),
            (
                "target",
                json!({"spec": {"targetRefs": [{"kind": "Service", "name": "web"}], "x": 1}}),
                service(),
            ),
            ("one target", json!({"spec": {"targetRef": {"kind": "Service", "name": "web"}}}), service()),
            ("no targets", json!({"spec": {"targetRefs": []}}), RefusedScope::Namespace),
            ("odd target", json!({"spec": {"targetRefs": [{"kind": "Service"}]}}), RefusedScope::Namespace),
        ] {
            assert_eq!(refused_scope(&value), want, "{case}");
        }
    }
}
