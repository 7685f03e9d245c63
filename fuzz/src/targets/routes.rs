//! What discovery tells a waypoint of a service's routes, and which of their rules takes a request.

use super::manifests;
use std::collections::BTreeMap;
use weft_control::directory::manifest::parse_manifests;
use weft_control_index::Index;
use weft_control_index::config::IndexConfig;
use weft_l7::matches::{NamedMatch, PathMatch, RequestMatch, Subject};
use weft_l7::path::normalise;
use weft_l7::service::{Found, ServiceTraffic};
use weft_l7::table::RouteTable;
use weft_l7::text::TextMatch;
use weft_l7::traffic::Traffic;

/// So many entries of a table are asked for.
const ENTRIES_MAX: usize = 16;

pub(super) const WORDS: &[&str] = &[
    "{},",
    "\"http\":",
    "\"tls\":",
    "\"tcp\":",
    "\"when\":{}",
    "\"path\":{\"within\":\"/a/\"}",
    "{\"exact\":\"/a\"}",
    "{\"prefix\":\"/\"}",
    "{\"pattern\":\"(a|b)*\"}",
    "\"present\"",
    "\"not\":true",
    "\"headers\":[",
    "\"query\":[",
    "\"authority\":",
    "\"name\":\"x\"",
    "\"rule\":1",
    "\"weight\":0",
    "\"port\":null",
    "\"clients\":\"shop\"",
    "4294967296",
    "//",
];

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let mut index = Index::new(IndexConfig::default());
    for file in [manifests::TRAFFIC, include_str!("../../seeds/waypoint.yaml")] {
        let manifests = parse_manifests(file.as_bytes(), "a.yaml").expect("seeds can be read");
        index.apply_all(manifests.objects);
    }
    let written =
        index.traffic().map(|one| serde_json::to_vec(&one.said).expect("what is said can be written"));
    let mut seeds: Vec<_> = written.collect();
    seeds.sort();
    seeds
}

/// What is read is written alike, each client finds the routes that are for it, and a table finds what one finds who looks
/// at each entry.
pub(super) fn run(bytes: &[u8]) {
    let Ok(said) = serde_json::from_slice::<Traffic>(bytes) else {
        return;
    };
    let json = serde_json::to_vec(&said).expect("what was read can be written");
    assert_eq!(serde_json::from_slice::<Traffic>(&json).ok().as_ref(), Some(&said));
    let Ok(traffic) = ServiceTraffic::new(said) else {
        return;
    };
    for one in &traffic.said().routes {
        let (port, clients) = (one.port.unwrap_or(1), one.clients.as_deref().unwrap_or("elsewhere"));
        match traffic.routes(port, clients).expect("there are routes for these clients") {
            Found::Http(table) => check(table),
            Found::Tls(routes) => routes.iter().for_each(|route| {
                let names = [None, Some(""), Some("a.mail.example")];
                let taken = names.map(|name| route.is_for(name));
                assert!(!route.server_names.is_empty() || taken == [true; 3], "{taken:?} of {route:?}");
            }),
            Found::Tcp(_) => {}
        }
    }
}

fn check(table: &RouteTable) {
    for (when, _) in table.entries().iter().take(ENTRIES_MAX) {
        for asked in requests(when) {
            let plain = table.entries().iter().find(|(when, _)| when.holds(&asked));
            let found = table.find_entry(&asked);
            assert_eq!(found.map(std::ptr::from_ref), plain.map(std::ptr::from_ref), "{asked:?}");
        }
    }
}

/// A request of a client.
#[derive(Debug, Clone)]
struct Asked<'a> {
    path: String,
    query: String,
    method: &'a str,
    scheme: &'a str,
    authority: &'a str,
    headers: Vec<(&'a str, &'a str)>,
    namespace: &'a str,
    labels: BTreeMap<&'a str, &'a str>,
}

impl Subject for Asked<'_> {
    fn path(&self) -> &str {
        &self.path
    }

    fn query(&self) -> &str {
        &self.query
    }

    fn method(&self) -> &str {
        self.method
    }

    fn scheme(&self) -> &str {
        self.scheme
    }

    fn authority(&self) -> &str {
        self.authority
    }

    fn header(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.headers.iter().filter(move |(own, _)| *own == name).map(|(_, value)| value.as_bytes())
    }

    fn source_namespace(&self) -> &str {
        self.namespace
    }

    fn source_label(&self, name: &str) -> Option<&str> {
        self.labels.get(name).copied()
    }
}

/// Requests that an entry may take, and some beside them.
fn requests(when: &RequestMatch) -> Vec<Asked<'_>> {
    let path: &str = match &when.path {
        Some(PathMatch::Within(path)) => path,
        Some(PathMatch::Text(path)) => text(path),
        None => "/",
    };
    let query: Vec<String> =
        named(&when.query).iter().map(|(name, value)| format!("{name}={value}")).collect();
    let asked = Asked {
        path: String::new(),
        query: query.join("&"),
        method: when.method.as_ref().map_or("GET", text),
        scheme: when.scheme.as_ref().map_or("http", text),
        authority: when.authority.as_ref().map_or("web", text),
        headers: named(&when.headers),
        namespace: when.client.namespace.as_deref().unwrap_or_default(),
        labels: when.client.labels.iter().map(|(name, value)| (&**name, &**value)).collect(),
    };
    let paths =
        [path.to_owned(), format!("{path}/"), format!("{path}/x"), format!("{path}x"), "/".to_owned()];
    let paths = paths.iter().filter_map(|path| normalise(path).ok());
    let with_path = |path: &str| {
        let asked = Asked { path: path.to_owned(), ..asked.clone() };
        let twice = Asked { headers: asked.headers.repeat(2), ..asked.clone() };
        let bare = Asked { headers: Vec::new(), ..asked.clone() };
        [asked, twice, bare]
    };
    paths.flat_map(|path| with_path(&path)).collect()
}

fn named(all: &[NamedMatch]) -> Vec<(&str, &str)> {
    all.iter().map(|one| (&*one.name, text(&one.value))).collect()
}

/// A text that is as it should be, where one is written.
fn text(want: &TextMatch) -> &str {
    match want {
        TextMatch::Exact(text)
        | TextMatch::ExactIgnoringCase(text)
        | TextMatch::Prefix(text)
        | TextMatch::PrefixIgnoringCase(text)
        | TextMatch::Suffix(text) => text,
        TextMatch::Pattern(_) | TextMatch::Present => "/",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weft_l7::traffic::Routes;

    #[test]
    fn seeds_have_routes_of_each_kind() {
        let all: Vec<Traffic> =
            seeds().iter().map(|json| serde_json::from_slice(json).expect("a seed is read")).collect();
        let mut kinds = [0; 3];
        for one in all.iter().flat_map(|traffic| &traffic.routes) {
            match &one.routes {
                Routes::Http(routes) => kinds[0] += routes.entries.len(),
                Routes::Tls(routes) => kinds[1] += routes.len(),
                Routes::Tcp(routes) => kinds[2] += routes.len(),
            }
        }
        // HTTPRoute, GRPCRoute and two VirtualServices; TLSRoute; TCPRoute.
        assert!(kinds[0] >= 6 && kinds[1] >= 1 && kinds[2] >= 1, "{kinds:?}");
    }
}
