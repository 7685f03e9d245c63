//! Cross-origin requests (the Fetch standard, §3.2): who may ask for what.

use crate::check::{Check, Findings};
use crate::text::{is_header_name, is_host, is_token};
use serde::{Deserialize, Serialize};

/// Which requests of pages of other origins are answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cors {
    /// Origins, such as `https://*.example.com`; `*` for all.
    #[serde(default)]
    pub allow_origins: Vec<String>,
    /// Whether credentials may be sent along; no if there is none.
    pub allow_credentials: Option<bool>,
    /// Methods besides those that need no permission; `*` for all.
    #[serde(default)]
    pub allow_methods: Vec<String>,
    /// Headers of requests; `*` for all.
    #[serde(default)]
    pub allow_headers: Vec<String>,
    /// Headers of responses that the page may see; `*` for all.
    #[serde(default)]
    pub expose_headers: Vec<String>,
    /// For how many seconds the answer to a preflight holds; five if it was not written.
    #[serde(default = "five")]
    pub max_age: u32,
}

const fn five() -> u32 {
    5
}

/// Most origins and headers.
const ITEMS_MAX: usize = 64;
/// Most methods: all that there are.
const METHODS_MAX: usize = 9;

impl Check for Cors {
    fn check(&self, found: &mut Findings) {
        list(
            found,
            "allowOrigins",
            &self.allow_origins,
            ITEMS_MAX,
            (is_origin, "is no origin: https://a.example is"),
        );
        list(found, "allowMethods", &self.allow_methods, METHODS_MAX, (is_token, "is no method"));
        list(
            found,
            "allowHeaders",
            &self.allow_headers,
            ITEMS_MAX,
            (is_header_name, "is no name of a header"),
        );
        list(
            found,
            "exposeHeaders",
            &self.expose_headers,
            ITEMS_MAX,
            (is_header_name, "is no name of a header"),
        );
        found.require("maxAge", self.max_age > 0, "is zero");
    }
}

/// A list of texts of one form, or of a star alone.
fn list(
    found: &mut Findings,
    key: &str,
    items: &[String],
    max: usize,
    (form, not): (fn(&str) -> bool, &str),
) {
    found.count(key, items, 0..=max);
    found.unique(key, items, |item| Some(item.clone()));
    found.each(key, items, |found, item| {
        if item != "*" && !form(item) {
            found.refuse(not);
        }
    });
    let alone = items.len() == 1 || !items.iter().any(|item| item == "*");
    found.require(key, alone, "has * and more, which * says already");
}

/// A scheme, a host whose labels may be stars, and a port if there is one.
fn is_origin(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")) else {
        return false;
    };
    let (host, port) = rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port)));
    let port =
        port.is_none_or(|port| !port.starts_with('+') && port.parse::<u16>().is_ok_and(|port| port > 0));
    let host = host.strip_prefix("*.").unwrap_or(host);
    port && (host == "*" || is_host(host))
}
