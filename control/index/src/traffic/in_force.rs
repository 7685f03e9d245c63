//! Which DestinationRules are in force for a Service: those of its own namespace and, if that has none, those of the root
//! namespaces. Whoever else writes one says nothing of it, or any namespace could break another's Services. (Istio,
//! "Cross-namespace configuration sharing". Its sidecars look in the client's namespace first; a waypoint serves the clients
//! of all namespaces.)

use crate::config::IndexConfig;
use crate::facts::created;
use crate::name::Name;
use std::borrow::Cow;
use weft_control_api::istio::destination_rule::{DestinationRule, DestinationRuleSpec, Subset};
use weft_control_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use weft_control_api::problem::Note;

/// The rules in force for a Service, the oldest first. As in Istio they are one together: the subsets of all, and the oldest
/// policy.
pub(super) struct InForce<'a> {
    first: One<'a>,
    later: Vec<One<'a>>,
}

type One<'a> = (&'a Name, &'a DestinationRule);

impl<'a> InForce<'a> {
    /// Of the rules that name a Service; `None` if none is in force.
    pub(super) fn of(
        naming: impl Iterator<Item = One<'a>>,
        config: &IndexConfig,
        service: &Name,
    ) -> Option<Self> {
        let may = |(name, _): &One<'a>| is_own(name, service) || config.is_root(&name.namespace);
        let (own, roots): (Vec<One<'a>>, Vec<_>) =
            naming.filter(may).partition(|(name, _)| is_own(name, service));
        let mut rules = if own.is_empty() { roots } else { own };
        rules.sort_by_key(|(name, rule)| (created(&rule.metadata), (*name).clone()));
        let mut rules = rules.into_iter();
        Some(Self { first: rules.next()?, later: rules.collect() })
    }

    /// What they say together.
    pub(super) fn spec(&self) -> Cow<'a, DestinationRuleSpec> {
        let mut spec = Cow::Borrowed(&self.first.1.spec);
        for (_, rule) in &self.later {
            let spec = spec.to_mut();
            if spec.traffic_policy.is_none() {
                spec.traffic_policy.clone_from(&rule.spec.traffic_policy);
            }
            let new = |subset: &&Subset| spec.subsets.iter().all(|known| known.name != subset.name);
            let new: Vec<Subset> = rule.spec.subsets.iter().filter(new).cloned().collect();
            spec.subsets.extend(new);
        }
        spec
    }

    /// The one whose `trafficPolicy` it is, if any has one: what its annotations say is said of that.
    pub(super) fn of_policy(&self) -> Option<&'a ObjectMeta> {
        let (_, rule) = self.all().find(|(_, rule)| rule.spec.traffic_policy.is_some())?;
        Some(&rule.metadata)
    }

    /// The one whose subset of a name it is.
    pub(super) fn of_subset(&self, subset: &str) -> Option<&'a ObjectMeta> {
        let has = |rule: &DestinationRule| rule.spec.subsets.iter().any(|one| one.name == subset);
        let (_, rule) = self.all().find(|(_, rule)| has(rule))?;
        Some(&rule.metadata)
    }

    /// Their names.
    pub(super) fn names(&self) -> impl Iterator<Item = &'a Name> {
        self.all().map(|(name, _)| name)
    }

    fn all(&self) -> impl Iterator<Item = One<'a>> {
        [self.first].into_iter().chain(self.later.iter().copied())
    }

    /// What one of them says in vain, because an older one says it already.
    pub(super) fn in_vain(&self, name: &Name) -> Vec<Note> {
        let before = |(older, _): &&One<'a>| *older != name;
        let all: Vec<One<'a>> = self.all().collect();
        let older: Vec<One<'a>> = all.iter().take_while(before).copied().collect();
        let Some((_, rule)) = all.get(older.len()) else {
            return Vec::new();
        };
        let mut notes = Vec::new();
        let policy = older.iter().find(|(_, older)| older.spec.traffic_policy.is_some());
        if let Some((first, _)) = policy.filter(|_| rule.spec.traffic_policy.is_some()) {
            let why = format!(
                "DestinationRule {first}, which is older, has one for the same host: this one has no effect"
            );
            notes.push(Note::warning("spec.trafficPolicy", why));
        }
        for (number, subset) in rule.spec.subsets.iter().enumerate() {
            let has = |(_, older): &&One<'a>| older.spec.subsets.iter().any(|one| one.name == subset.name);
            if let Some((first, _)) = older.iter().find(has) {
                let why = format!(
                    "DestinationRule {first}, which is older, has a subset {} of the same host: this one has no effect",
                    subset.name
                );
                notes.push(Note::warning(format!("spec.subsets[{number}]"), why));
            }
        }
        notes
    }

    /// Why a rule that names the Service is none of them.
    pub(super) fn passed_over(
        in_force: Option<&Self>,
        name: &Name,
        config: &IndexConfig,
        service: &Name,
    ) -> Option<String> {
        if !is_own(name, service) && !config.is_root(&name.namespace) {
            let roots: Vec<&str> = config.root_namespaces.iter().map(|root| &**root).collect();
            return Some(format!(
                "Service {service} is ruled by DestinationRules of its own namespace, or of a root namespace ({}): this one \
                 has no effect",
                roots.join(", ")
            ));
        }
        let in_force = in_force.filter(|in_force| in_force.names().all(|one| one != name))?;
        let first = in_force.first.0;
        Some(format!(
            "DestinationRule {first} is of the namespace of Service {service} itself, and comes before those of root \
             namespaces: this one has no effect"
        ))
    }
}

fn is_own(rule: &Name, service: &Name) -> bool {
    rule.namespace == service.namespace
}
