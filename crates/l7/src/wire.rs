//! How words of other crates and of the standard library are written in JSON.

/// Durations as whole milliseconds: what Kubernetes' and Istio's notation can say is never finer.
pub(crate) mod millis {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};
    use std::time::Duration;

    pub(crate) fn serialize<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
        // Half a billion years are enough.
        u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }

    /// The same for one that may be absent.
    pub(crate) mod optional {
        use super::{Deserializer, Duration, Serializer};
        use serde::{Deserialize as _, Serialize as _};

        pub(crate) fn serialize<S: Serializer>(
            duration: &Option<Duration>,
            to: S,
        ) -> Result<S::Ok, S::Error> {
            duration.map(|one| u64::try_from(one.as_millis()).unwrap_or(u64::MAX)).serialize(to)
        }

        pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
            Ok(Option::<u64>::deserialize(from)?.map(Duration::from_millis))
        }
    }
}

/// Names of services as `<namespace>/<hostname>`.
pub(crate) mod service_name {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};
    use std::borrow::Cow;
    use weft_core::names::ServiceName;

    pub(crate) fn serialize<S: Serializer>(name: &ServiceName, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(name)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<ServiceName, D::Error> {
        let text = Cow::<'de, str>::deserialize(from)?;
        ServiceName::parse(&text).ok_or_else(|| D::Error::custom(format!("{text:?} is no name of a service")))
    }
}

/// Names of policies as `<namespace>/<name>`.
pub(crate) mod policy_name {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};
    use std::borrow::Cow;
    use weft_core::names::PolicyName;

    pub(crate) fn serialize<S: Serializer>(name: &PolicyName, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(name)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<PolicyName, D::Error> {
        let text = Cow::<'de, str>::deserialize(from)?;
        PolicyName::parse(&text).ok_or_else(|| D::Error::custom(format!("{text:?} is no name of a policy")))
    }
}

/// Matches of texts as policies write them: `whole`, `start*`, `*end`, `*`.
pub(crate) mod string_matches {
    use serde::de::Error as _;
    use serde::ser::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};
    use weft_core::policy::StringMatch;

    pub(crate) fn serialize<S: Serializer>(list: &[StringMatch], to: S) -> Result<S::Ok, S::Error> {
        let texts: Result<Vec<String>, &str> = list.iter().map(write).collect();
        to.collect_seq(texts.map_err(S::Error::custom)?)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<StringMatch>, D::Error> {
        let texts = Vec::<String>::deserialize(from)?;
        let read = |text: &String| {
            read(text)
                .ok_or_else(|| D::Error::custom(format!("{text:?} has a * where none may be, or is empty")))
        };
        texts.iter().map(read).collect()
    }

    pub(crate) fn read(text: &str) -> Option<StringMatch> {
        let (rest, matched) = match (text.strip_prefix('*'), text.strip_suffix('*')) {
            (Some(""), _) => return Some(StringMatch::Presence),
            (Some(rest), _) => (rest, StringMatch::Suffix(rest.into())),
            (None, Some(rest)) => (rest, StringMatch::Prefix(rest.into())),
            (None, None) => (text, StringMatch::Exact(text.into())),
        };
        (!rest.is_empty() && !rest.contains('*')).then_some(matched)
    }

    /// What holds a star itself would be read back as something that matches more.
    pub(crate) fn write(one: &StringMatch) -> Result<String, &'static str> {
        let (rest, text) = match one {
            StringMatch::Presence => return Ok("*".to_owned()),
            StringMatch::Exact(text) => (text, text.to_string()),
            StringMatch::Prefix(text) => (text, format!("{text}*")),
            StringMatch::Suffix(text) => (text, format!("*{text}")),
        };
        if rest.contains('*') || rest.is_empty() {
            Err("a match of a policy holds a * or nothing")
        } else {
            Ok(text)
        }
    }
}

/// Service accounts as `<namespace>/<name>`.
pub(crate) mod service_accounts {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};
    use weft_core::policy::ServiceAccountMatch;

    pub(crate) fn serialize<S: Serializer>(list: &[ServiceAccountMatch], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(list.iter().map(|one| format!("{}/{}", one.namespace, one.service_account)))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<ServiceAccountMatch>, D::Error> {
        let read = |text: &String| match text.split_once('/') {
            Some((namespace, account)) if !namespace.is_empty() && !account.is_empty() => {
                Ok(ServiceAccountMatch { namespace: namespace.into(), service_account: account.into() })
            }
            _ => Err(D::Error::custom(format!("{text:?} is no <namespace>/<service account>"))),
        };
        Vec::<String>::deserialize(from)?.iter().map(read).collect()
    }
}
