//! `Secret` and `ConfigMap`, as far as a mesh needs them: certificates, keys and authorities for TLS. What is in a Secret shows
//! itself in no log and no error.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// One Secret.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Secret {
    /// The version.
    pub api_version: String,
    /// The kind.
    pub kind: String,
    /// Name, namespace, labels, age.
    pub metadata: ObjectMeta,
    /// What it is for; `Opaque` if there is none.
    #[serde(rename = "type")]
    pub purpose: Option<String>,
    /// Whether nobody may change it.
    pub immutable: Option<bool>,
    /// By key, in base64.
    data: Option<BTreeMap<String, String>>,
    /// By key, as it is; it stands instead of `data`.
    string_data: Option<BTreeMap<String, String>>,
}

impl Secret {
    /// The text under a key; `None` if there is none.
    ///
    /// # Errors
    /// What is wrong with it, without a word of it.
    pub fn text(&self, key: &str) -> Option<Result<String, &'static str>> {
        if let Some(text) = self.string_data.as_ref().and_then(|texts| texts.get(key)) {
            return Some(Ok(text.clone()));
        }
        let written: String = self.data.as_ref()?.get(key)?.split_ascii_whitespace().collect();
        let bytes = BASE64_STANDARD.decode(written).map_err(|_| "is no base64");
        Some(bytes.and_then(|bytes| String::from_utf8(bytes).map_err(|_| "is no text")))
    }
}

/// The name, and nothing of what is in it.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { metadata, .. } = self;
        f.debug_struct("Secret")
            .field("namespace", &metadata.namespace)
            .field("name", &metadata.name)
            .finish_non_exhaustive()
    }
}

/// One ConfigMap.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConfigMap {
    /// The version.
    pub api_version: String,
    /// The kind.
    pub kind: String,
    /// Name, namespace, labels, age.
    pub metadata: ObjectMeta,
    /// Whether nobody may change it.
    pub immutable: Option<bool>,
    /// Texts by key.
    pub data: Option<BTreeMap<String, String>>,
    /// By key, in base64.
    pub binary_data: Option<BTreeMap<String, String>>,
}

#[cfg(test)]
mod tests {
    use crate::decode::{Decoded, decode};
    use crate::object::Object;
    use serde_json::json;

    #[test]
    fn a_secret_is_read_and_shows_nothing() {
        let value = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
            "metadata": {"name": "a", "namespace": "shop"},
            "data": {"cert": "aGlk\nZGVu", "odd": "/w==", "bad": "later!", "both": "b2xk"}, "stringData": {"both": "hidden"},
        });
        let Decoded::Object(object @ Object::Secret(_), _) = decode(&value) else { panic!("not read") };
        assert!(!format!("{object:?}").contains("hidden"), "{object:?}");
        let Object::Secret(secret) = object else { unreachable!("it was one") };
        for (key, want) in [
            ("cert", Some(Ok("hidden"))),
            ("both", Some(Ok("hidden"))),
            ("odd", Some(Err("is no text"))),
            ("bad", Some(Err("is no base64"))),
            ("none", None),
        ] {
            let text = secret.text(key);
            assert_eq!(text.as_ref().map(|text| text.as_deref().map_err(|why| *why)), want, "{key}");
        }
    }

    #[test]
    fn why_a_secret_is_refused_tells_nothing_of_it() {
        for (case, field, over) in [
            ("a text for all", "data", json!({"data": "hidden"})),
            ("a list", "stringData.key", json!({"stringData": {"key": ["hidden"]}})),
            ("a number", "stringData.key", json!({"stringData": {"key": 4711}})),
        ] {
            let mut value = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}});
            value.as_object_mut().expect("a mapping").extend(over.as_object().expect("a mapping").clone());
            let Decoded::Refused(refusal) = decode(&value) else { panic!("{case}: not refused") };
            let text = format!("{refusal:?}");
            assert!(!text.contains("hidden") && !text.contains("4711"), "{case}: {text}");
            assert_eq!(refusal.notes[0].field, field, "{case}: {text}");
        }
    }
}
