//! Changes of headers.

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What becomes of the headers of a request or a response: first some go, then some are set, then some are added.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HeaderChange {
    /// They go, with all their values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<Name>,
    /// They have this value and no other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set: Vec<(Name, Value)>,
    /// They have this value beside what they have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<(Name, Value)>,
}

impl HeaderChange {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }

    /// Does it.
    pub fn apply(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(&name.0);
        }
        for (name, value) in &self.set {
            headers.insert(name.0.clone(), value.0.clone());
        }
        for (name, value) in &self.add {
            headers.append(name.0.clone(), value.0.clone());
        }
    }
}

/// The name of a header (RFC 9110 §5.1), without regard to case.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Name(pub HeaderName);

/// A value that a header may have (RFC 9110 §5.5).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Value(pub HeaderValue);

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.0.as_str())
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        // They come from manifests, which are text.
        to.serialize_str(&String::from_utf8_lossy(self.0.as_bytes()))
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        HeaderValue::try_from(String::deserialize(from)?).map(Self).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removed_then_set_then_added() {
        let change: HeaderChange = serde_json::from_str(
            r#"{"remove": ["X-Gone"], "set": [["x-set", "new"]], "add": [["x-more", "b"], ["x-gone", "again"]]}"#,
        )
        .expect("a change");
        let mut headers = HeaderMap::new();
        for (name, value) in
            [("x-gone", "a"), ("x-gone", "b"), ("x-set", "a"), ("x-set", "b"), ("x-more", "a")]
        {
            headers.append(name, HeaderValue::from_static(value));
        }
        change.apply(&mut headers);
        let all = |name: &str| headers.get_all(name).iter().map(HeaderValue::as_bytes).collect::<Vec<_>>();
        assert_eq!(all("x-gone"), [b"again"]);
        assert_eq!(all("x-set"), [b"new"]);
        assert_eq!(all("x-more"), [b"a", b"b"]);
    }

    #[test]
    fn what_is_no_header_is_refused() {
        for text in [r#"{"remove": ["x gone"]}"#, r#"{"set": [["x", "a\nb"]]}"#, r#"{"unknown": []}"#] {
            assert!(serde_json::from_str::<HeaderChange>(text).is_err(), "{text}");
        }
    }
}
