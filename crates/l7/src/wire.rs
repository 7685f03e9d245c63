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
