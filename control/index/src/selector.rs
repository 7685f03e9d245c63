//! Label selectors, and an index that finds the selectors that a set of labels meets.

use crate::name::Name;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use weft_control_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// Labels of an object.
pub(crate) type Labels = BTreeMap<String, String>;

/// What labels have to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Selector {
    equals: Labels,
    expressions: Vec<Expression>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Expression {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Missing(String),
}

impl Selector {
    pub(crate) fn labels(equals: Labels) -> Self {
        Self { equals, expressions: Vec::new() }
    }

    /// Reads Kubernetes' form. The error is the position and name of an operator that does not exist.
    pub(crate) fn read(selector: &LabelSelector) -> Result<Self, (usize, String)> {
        let read = |(index, one): (usize, &_)| {
            let weft_control_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelectorRequirement {
                key,
                operator,
                values,
            } = one;
            let values = || values.clone().unwrap_or_default();
            Ok(match operator.as_str() {
                "In" => Expression::In(key.clone(), values()),
                "NotIn" => Expression::NotIn(key.clone(), values()),
                "Exists" => Expression::Exists(key.clone()),
                "DoesNotExist" => Expression::Missing(key.clone()),
                other => return Err((index, other.to_owned())),
            })
        };
        let expressions = selector.match_expressions.iter().flatten().enumerate().map(read);
        let expressions = expressions.collect::<Result<_, _>>()?;
        Ok(Self { equals: selector.match_labels.clone().unwrap_or_default(), expressions })
    }

    pub(crate) fn matches(&self, labels: &Labels) -> bool {
        self.equals.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.expressions.iter().all(|expression| match expression {
                Expression::In(key, values) => labels.get(key).is_some_and(|value| values.contains(value)),
                Expression::NotIn(key, values) => {
                    !labels.get(key).is_some_and(|value| values.contains(value))
                }
                Expression::Exists(key) => labels.contains_key(key),
                Expression::Missing(key) => !labels.contains_key(key),
            })
    }

    /// The labels that have to be equal; any of them narrows a search.
    pub(crate) fn equals(&self) -> &Labels {
        &self.equals
    }
}

/// Where a selector looks for pods.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Within {
    Namespace(Arc<str>),
    Mesh,
}

/// Selectors by one of their labels.
#[derive(Debug, Default)]
pub(crate) struct SelectorIndex {
    all: HashMap<Name, (Within, Selector)>,
    scopes: HashMap<Within, Scope>,
}

#[derive(Debug, Default)]
struct Scope {
    by_label: HashMap<String, HashMap<String, BTreeSet<Name>>>,
    /// Selectors that ask for no equal label: they are tried one by one.
    others: BTreeSet<Name>,
}

impl SelectorIndex {
    pub(crate) fn insert(&mut self, name: &Name, within: Within, selector: Selector) {
        self.remove(name);
        let scope = self.scopes.entry(within.clone()).or_default();
        match selector.equals.iter().next() {
            Some((key, value)) => {
                let values = scope.by_label.entry(key.clone()).or_default();
                values.entry(value.clone()).or_default().insert(name.clone());
            }
            None => {
                scope.others.insert(name.clone());
            }
        }
        self.all.insert(name.clone(), (within, selector));
    }

    pub(crate) fn remove(&mut self, name: &Name) -> Option<(Within, Selector)> {
        let (within, selector) = self.all.remove(name)?;
        if let Some(scope) = self.scopes.get_mut(&within) {
            match selector.equals.iter().next() {
                Some((key, value)) => scope.remove(key, value, name),
                None => {
                    scope.others.remove(name);
                }
            }
            if scope.by_label.is_empty() && scope.others.is_empty() {
                self.scopes.remove(&within);
            }
        }
        Some((within, selector))
    }

    pub(crate) fn get(&self, name: &Name) -> Option<&(Within, Selector)> {
        self.all.get(name)
    }

    /// The selectors that these labels meet, in the order of their names; those that look at the whole mesh too.
    pub(crate) fn matching(&self, namespace: &Arc<str>, labels: &Labels) -> BTreeSet<Name> {
        let scopes = [Within::Namespace(namespace.clone()), Within::Mesh];
        let scopes = scopes.iter().filter_map(|within| self.scopes.get(within));
        let candidates = scopes.flat_map(|scope| {
            let labelled = labels.iter().filter_map(|(key, value)| scope.by_label.get(key)?.get(value));
            labelled.flatten().chain(&scope.others)
        });
        let meets = |name: &&Name| self.all.get(*name).is_some_and(|(_, one)| one.matches(labels));
        candidates.filter(meets).cloned().collect()
    }
}

impl Scope {
    fn remove(&mut self, key: &str, value: &str, name: &Name) {
        let Some(values) = self.by_label.get_mut(key) else {
            return;
        };
        if let Some(names) = values.get_mut(value) {
            names.remove(name);
            if names.is_empty() {
                values.remove(value);
            }
        }
        if values.is_empty() {
            self.by_label.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weft_control_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelectorRequirement;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn expressions_follow_kubernetes() {
        let selector = |operator: &str, values: &[&str]| {
            let values = Some(values.iter().map(|value| (*value).to_owned()).collect());
            let one = LabelSelectorRequirement { key: "app".into(), operator: operator.into(), values };
            Selector::read(&LabelSelector { match_expressions: Some(vec![one]), match_labels: None })
        };
        let (web, none) = (labels(&[("app", "web")]), labels(&[]));
        for (case, operator, values, on_web, on_none) in [
            ("in", "In", &["web", "db"][..], true, false),
            ("not in", "NotIn", &["web"], false, true),
            ("exists", "Exists", &[], true, false),
            ("does not exist", "DoesNotExist", &[], false, true),
        ] {
            let selector = selector(operator, values).unwrap();
            assert_eq!((selector.matches(&web), selector.matches(&none)), (on_web, on_none), "{case}");
        }
        assert_eq!(selector("Equals", &[]), Err((0, "Equals".to_owned())));
    }

    #[test]
    fn the_index_finds_what_matches_and_forgets_what_is_removed() {
        let mut index = SelectorIndex::default();
        let name = |name: &str| Name::new("shop", name);
        let shop = || Within::Namespace("shop".into());
        index.insert(&name("web"), shop(), Selector::labels(labels(&[("app", "web")])));
        index.insert(&name("v1"), shop(), Selector::labels(labels(&[("app", "web"), ("version", "v1")])));
        index.insert(&name("all"), shop(), Selector::default());
        index.insert(&name("mesh"), Within::Mesh, Selector::labels(labels(&[("app", "web")])));
        let found = |index: &SelectorIndex, namespace: &str, pairs: &[(&str, &str)]| -> Vec<String> {
            let found = index.matching(&namespace.into(), &labels(pairs));
            found.iter().map(|name| name.name.to_string()).collect()
        };
        assert_eq!(found(&index, "shop", &[("app", "web")]), ["all", "mesh", "web"]);
        assert_eq!(found(&index, "shop", &[("app", "web"), ("version", "v1")]), ["all", "mesh", "v1", "web"]);
        assert_eq!(found(&index, "bank", &[("app", "web")]), ["mesh"]);
        for name in ["web", "v1", "all", "mesh"] {
            index.remove(&Name::new("shop", name));
        }
        assert!(index.all.is_empty() && index.scopes.is_empty());
    }
}
