//! Where a request looks for what may take it: under what it has, its path, the beginnings of its path, its headers, its
//! host. An entry stands under one such thing, the one that fewest other entries want too.

use crate::matches::{PathMatch, RequestMatch, Subject};
use crate::text::TextMatch;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// What a request has to have for an entry to hold.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    /// This path.
    Path(Arc<str>),
    /// A path within this one, which has no slash at its end.
    Within(Arc<str>),
    /// A path that begins so.
    Start(Arc<str>),
    /// A header of this name with this value.
    Header(Arc<str>, Arc<str>),
    /// This host.
    Authority(Arc<str>),
}

/// Numbers of entries; they rise within a list.
#[derive(Debug, Default)]
pub(super) struct Index {
    by_path: HashMap<Arc<str>, Vec<u32>>,
    by_within: HashMap<Arc<str>, Vec<u32>>,
    /// By the length of the beginning: a request looks once for each length.
    by_start: BTreeMap<usize, HashMap<Arc<str>, Vec<u32>>>,
    /// Under the header's name, then its value.
    by_header: HashMap<Arc<str>, HashMap<Arc<str>, Vec<u32>>>,
    by_authority: HashMap<Arc<str>, Vec<u32>>,
    /// The rest, which every request looks at.
    others: Vec<u32>,
}

impl Index {
    /// Of entries that have these numbers.
    pub(super) fn new<'a>(entries: impl Iterator<Item = (u32, &'a RequestMatch)>) -> Self {
        let all: Vec<(u32, Vec<Key>)> = entries.map(|(number, when)| (number, keys(when))).collect();
        let mut wanted: HashMap<&Key, usize> = HashMap::new();
        for key in all.iter().flat_map(|(_, keys)| keys) {
            *wanted.entry(key).or_default() += 1;
        }
        let mut index = Self::default();
        for (number, keys) in &all {
            index.list(keys.iter().min_by_key(|key| wanted[key])).push(*number);
        }
        index
    }

    fn list(&mut self, key: Option<&Key>) -> &mut Vec<u32> {
        match key.cloned() {
            Some(Key::Path(path)) => self.by_path.entry(path).or_default(),
            Some(Key::Within(path)) => self.by_within.entry(path).or_default(),
            Some(Key::Start(start)) => {
                self.by_start.entry(start.len()).or_default().entry(start).or_default()
            }
            Some(Key::Header(name, value)) => {
                self.by_header.entry(name).or_default().entry(value).or_default()
            }
            Some(Key::Authority(host)) => self.by_authority.entry(host).or_default(),
            None => &mut self.others,
        }
    }

    /// Calls `look` with each list that may hold an entry for the request.
    pub(super) fn each_list(&self, subject: &impl Subject, mut look: impl FnMut(&[u32])) {
        look(&self.others);
        let path = subject.path();
        let mut look_up = |map: &HashMap<Arc<str>, Vec<u32>>, key: &str| {
            if let Some(list) = map.get(key) {
                look(list);
            }
        };
        if !self.by_path.is_empty() {
            look_up(&self.by_path, path);
        }
        if !self.by_within.is_empty() {
            prefixes(path).for_each(|prefix| look_up(&self.by_within, prefix));
        }
        for (length, starts) in self.by_start.range(..=path.len()) {
            // A beginning that ends within a character is nobody's.
            if let Some(start) = path.get(..*length) {
                look_up(starts, start);
            }
        }
        if !self.by_authority.is_empty() {
            look_up(&self.by_authority, subject.authority());
        }
        for (name, by_value) in &self.by_header {
            let mut values = subject.header(name);
            // What is no text equals none.
            let text = |bytes| std::str::from_utf8(bytes).ok();
            match (values.next(), values.next()) {
                (None, _) => {}
                (Some(one), None) => text(one).into_iter().for_each(|one| look_up(by_value, one)),
                (Some(_), Some(_)) => {
                    let all = subject.header(name).collect::<Vec<_>>().join(&b',');
                    text(&all).into_iter().for_each(|all| look_up(by_value, all));
                }
            }
        }
    }
}

/// Everything that an entry may stand under; what says most, as a rule, comes first.
fn keys(when: &RequestMatch) -> Vec<Key> {
    let path = match &when.path {
        Some(PathMatch::Text(TextMatch::Exact(path))) => Some(Key::Path(path.clone())),
        // All paths are within the root, and begin like it.
        Some(PathMatch::Within(prefix) | PathMatch::Text(TextMatch::Prefix(prefix)))
            if matches!(&**prefix, "" | "/") =>
        {
            None
        }
        // `/a/` is within `/a//`, of which only the last slash means nothing, and is looked up under neither.
        Some(PathMatch::Within(prefix)) => {
            let bare = prefix.strip_suffix('/').map_or_else(|| prefix.clone(), Arc::from);
            (!bare.ends_with('/')).then_some(Key::Within(bare))
        }
        Some(PathMatch::Text(TextMatch::Prefix(start))) => Some(Key::Start(start.clone())),
        Some(PathMatch::Text(_)) | None => None,
    };
    let headers = when.headers.iter().filter_map(|header| match &header.value {
        TextMatch::Exact(value) if !header.not => Some(Key::Header(header.name.clone(), value.clone())),
        _ => None,
    });
    let authority = match &when.authority {
        Some(TextMatch::Exact(host)) => Some(Key::Authority(host.clone())),
        _ => None,
    };
    path.into_iter().chain(headers).chain(authority).collect()
}

/// The path itself and everything that it is within, but for the root.
fn prefixes(path: &str) -> impl Iterator<Item = &str> {
    let borders = path.match_indices('/').map(|(at, _)| at).filter(|at| *at > 0);
    borders.chain(Some(path.len()).filter(|length| !path[..*length].ends_with('/'))).map(|end| &path[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matches::tests::Request;

    #[test]
    fn everything_that_a_path_is_within() {
        for (path, want) in [
            ("/", vec![]),
            ("/a", vec!["/a"]),
            ("/a/", vec!["/a"]),
            ("/a/b", vec!["/a", "/a/b"]),
            ("/a/b/", vec!["/a", "/a/b"]),
            ("//a", vec!["/", "//a"]),
        ] {
            assert_eq!(prefixes(path).collect::<Vec<_>>(), want, "{path}");
        }
    }

    /// However many rules there are, a request is compared with few of them.
    #[test]
    fn a_request_looks_at_few_of_many() {
        let exact = |number: usize| format!(r#"{{"path": {{"text": {{"exact": "/{number}"}}}}}}"#);
        let start = |number: usize| format!(r#"{{"path": {{"text": {{"prefix": "/team-{number}/"}}}}}}"#);
        let within = |number: usize| format!(r#"{{"path": {{"within": "/team-{number}"}}}}"#);
        let header = |number: usize| {
            let path = r#""path": {"text": {"prefix": "/api/"}}"#;
            format!(r#"{{{path}, "headers": [{{"name": "x-team", "value": {{"exact": "{number}"}}}}]}}"#)
        };
        let host = |number: usize| format!(r#"{{"authority": {{"exact": "team-{number}"}}}}"#);
        let kinds: [(&str, &dyn Fn(usize) -> String); 5] =
            [("exact", &exact), ("start", &start), ("within", &within), ("header", &header), ("host", &host)];
        for (kind, make) in kinds {
            let all: Vec<RequestMatch> =
                (0..1000).map(|number| serde_json::from_str(&make(number)).expect("a match")).collect();
            let index = Index::new((0..).zip(&all));
            let headers = vec![("x-team", &b"7"[..])];
            let request = Request { path: "/api/7", headers, ..Request::default() };
            let mut compared = 0;
            index.each_list(&request, |list| compared += list.len());
            assert!(compared <= 1, "{kind}: {compared}");
        }
    }
}
