//! Finds a request's rule. What it costs does not grow with the number of rules: each entry stands under the one thing
//! that fewest requests share with it, and only what stands where the request looks is compared whole.

mod index;

use crate::matches::{RequestMatch, Subject};
use crate::rule::Rule;
use crate::traffic::HttpRoutes;
use index::Index;
use std::sync::Arc;

/// Rules of HTTP, ready for requests.
#[derive(Debug, Default)]
pub struct RouteTable {
    entries: Vec<(RequestMatch, Arc<Rule>)>,
    index: Index,
}

/// More rules than there are numbers, or an entry without a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("entry {entry} names rule {rule}, which is not there")]
pub struct NoSuchRule {
    /// The entry's place.
    pub entry: usize,
    /// The rule's.
    pub rule: usize,
}

impl RouteTable {
    /// Sorts the entries.
    ///
    /// # Errors
    /// If one names a rule that is not there.
    pub fn new(routes: HttpRoutes) -> Result<Self, NoSuchRule> {
        let mut entries = Vec::new();
        for (place, entry) in routes.entries.into_iter().enumerate() {
            let rule = routes.rules.get(entry.rule).cloned();
            let rule = rule.ok_or(NoSuchRule { entry: place, rule: entry.rule })?;
            u32::try_from(place).map_err(|_| NoSuchRule { entry: place, rule: entry.rule })?;
            entries.push((entry.when, rule));
        }
        let index = Index::new((0..).zip(entries.iter().map(|(when, _)| when)));
        Ok(Self { entries, index })
    }

    /// The rule that takes the request: of all entries that hold, the first. `None` if none does.
    pub fn find(&self, subject: &impl Subject) -> Option<&Arc<Rule>> {
        self.find_entry(subject).map(|(_, rule)| rule)
    }

    /// All entries, in the order in which requests meet them.
    pub fn entries(&self) -> &[(RequestMatch, Arc<Rule>)] {
        &self.entries
    }

    /// The rule that takes the request, and by which of its matches.
    pub fn find_entry(&self, subject: &impl Subject) -> Option<&(RequestMatch, Arc<Rule>)> {
        let mut best = None;
        self.index.each_list(subject, |list| self.look_through(list, subject, &mut best));
        best.map(|number: u32| &self.entries[number as usize])
    }

    /// Numbers rise within a list, so the first that holds is its best, and what is not better than the best so far
    /// need not be looked at.
    fn look_through(&self, list: &[u32], subject: &impl Subject, best: &mut Option<u32>) {
        let better = list.iter().take_while(|number| best.is_none_or(|best| **number < best));
        let found = better.copied().find(|number| self.entries[*number as usize].0.holds(subject));
        *best = found.or(*best);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matches::tests::{Request, request};
    use crate::rule::{Action, Respond, RuleOrigin};
    use crate::traffic::Entry;

    fn table(matches: &[&str]) -> RouteTable {
        let rule = |number: usize| Rule {
            origin: RuleOrigin {
                kind: "HTTPRoute".into(),
                namespace: "shop".into(),
                route: "web".into(),
                rule: number.to_string().into(),
            },
            action: Action::Respond(Respond { status: 200, body: Vec::new() }),
            request_headers: Default::default(),
            response_headers: Default::default(),
            cors: None,
            fault: None,
        };
        let entries = matches.iter().enumerate().map(|(rule, text)| Entry {
            when: serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}")),
            rule,
        });
        let rules = (0..matches.len()).map(|number| Arc::new(rule(number))).collect();
        RouteTable::new(HttpRoutes { entries: entries.collect(), rules }).expect("a rule for each")
    }

    fn found(matches: &[&str], request: &Request) -> Option<String> {
        table(matches).find(request).map(|rule| rule.origin.rule.to_string())
    }

    #[test]
    fn the_first_that_holds_wins_wherever_it_stands() {
        let exact = r#"{"path": {"text": {"exact": "/reviews/7"}}}"#;
        let within = r#"{"path": {"within": "/reviews"}}"#;
        let within_slash = r#"{"path": {"within": "/reviews/"}}"#;
        let root = r#"{"path": {"within": "/"}}"#;
        let header = r#"{"headers": [{"name": "x-list", "value": {"exact": "a,b"}}]}"#;
        let pattern = r#"{"path": {"text": {"pattern": "/reviews/.*"}}}"#;
        let none = r#"{"path": {"text": {"exact": "/other"}}}"#;
        let all = [exact, within, within_slash, root, header, pattern, "{}"];
        for first in all {
            for second in all {
                assert_eq!(
                    found(&[none, first, second], &request()).as_deref(),
                    Some("1"),
                    "{first} {second}"
                );
            }
        }
        assert_eq!(found(&[none], &request()), None);
        assert_eq!(found(&[], &request()), None);
    }

    #[test]
    fn what_stands_under_a_key_is_compared_whole() {
        let post = r#"{"path": {"within": "/reviews"}, "method": {"exact": "POST"}}"#;
        let get = r#"{"path": {"within": "/reviews"}, "method": {"exact": "GET"}}"#;
        assert_eq!(found(&[post, get], &request()).as_deref(), Some("1"));
    }

    #[test]
    fn what_is_within_several_slashes() {
        for (within, path) in [("//", "/"), ("/a//", "/a/"), ("/a//", "/a//b")] {
            let when = format!(r#"{{"path": {{"within": "{within}"}}}}"#);
            let request = Request { path, ..request() };
            assert_eq!(found(&[&when], &request).as_deref(), Some("0"), "{path} within {within}");
        }
    }

    /// Against the plain loop, with matches and requests by the thousand.
    #[test]
    fn as_if_one_had_looked_at_each() {
        let paths = ["/", "/a", "/a/", "/a/b", "/b", "/b/a/a"];
        let mut seed = 7u64;
        let mut below = |bound: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize % bound
        };
        for _ in 0..200 {
            let texts: Vec<String> = (0..12)
                .map(|_| {
                    let path = paths[below(paths.len())];
                    match below(7) {
                        0 => format!(r#"{{"path": {{"text": {{"exact": "{path}"}}}}}}"#),
                        1 => format!(r#"{{"path": {{"within": "{path}"}}}}"#),
                        2 => format!(r#"{{"path": {{"text": {{"prefix": "{path}"}}}}}}"#),
                        3 => format!(r#"{{"headers": [{{"name": "x", "value": {{"exact": "{}"}}}}]}}"#, below(2)),
                        4 => format!(r#"{{"authority": {{"exact": "{}"}}}}"#, ["reviews:9080", "x"][below(2)]),
                        5 => format!(
                            r#"{{"path": {{"text": {{"prefix": "{path}"}}}}, "headers": [{{"name": "x", "value": {{"exact": "1"}}}}]}}"#
                        ),
                        _ => format!(
                            r#"{{"path": {{"within": "{path}"}}, "headers": [{{"name": "x", "value": "present"}}]}}"#
                        ),
                    }
                })
                .collect();
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let table = table(&texts);
            for path in paths {
                let (no, yes): (&[u8], &[u8]) = (b"0", b"1");
                for headers in [vec![], vec![("x", no)], vec![("x", yes)], vec![("x", yes), ("x", yes)]] {
                    let request = Request { path, headers, ..Request::default() };
                    let plain = table.entries.iter().find(|(when, _)| when.holds(&request));
                    let found = table.find(&request).map(|rule| &rule.origin.rule);
                    assert_eq!(found, plain.map(|(_, rule)| &rule.origin.rule), "{path} {texts:?}");
                }
            }
        }
    }
}
