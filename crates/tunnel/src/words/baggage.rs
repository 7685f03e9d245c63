//! The `baggage` header (W3C Baggage §3): what a sender says of itself. It describes for telemetry and proves
//! nothing: who the sender is, its certificate says.

use std::fmt::{self, Write as _};
use std::str::FromStr;

/// What a sender says of itself (wire facts §1). A key that is missing is `None`; other keys are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Baggage {
    /// `k8s.cluster.name`.
    pub cluster: Option<String>,
    /// `k8s.namespace.name`.
    pub namespace: Option<String>,
    /// What owns the pod, or the pod itself.
    pub owner: Option<Owner>,
    /// `service.name`.
    pub service: Option<String>,
    /// `service.version`.
    pub version: Option<String>,
    /// `cloud.region`.
    pub region: Option<String>,
    /// `cloud.availability_zone`.
    pub zone: Option<String>,
}

/// What owns a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Its kind.
    pub kind: OwnerKind,
    /// Its name.
    pub name: String,
}

/// The kinds that have a key of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OwnerKind {
    /// `k8s.deployment.name`.
    Deployment,
    /// `k8s.pod.name`: nothing owns it.
    Pod,
    /// `k8s.job.name`.
    Job,
    /// `k8s.cronjob.name`.
    CronJob,
}

/// Longest header that is read and passed on (W3C Baggage §3.3.2 asks for 8192).
pub const BAGGAGE_BYTES_MAX: usize = 8_192;
/// Most members (W3C Baggage §3.3.2 asks for 64).
pub const BAGGAGE_MEMBERS_MAX: usize = 180;

/// Why a text is no baggage. It only describes, so whoever gets such may go on without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadBaggage {
    /// Longer than [`BAGGAGE_BYTES_MAX`].
    #[error("the baggage is longer than {BAGGAGE_BYTES_MAX} bytes")]
    TooLong,
    /// More than [`BAGGAGE_MEMBERS_MAX`] members.
    #[error("the baggage has more than {BAGGAGE_MEMBERS_MAX} members")]
    TooMany,
    /// A member is no `key=value`.
    #[error("a member of the baggage is no key=value")]
    Shape,
    /// A value holds a percent sign that encodes nothing, or no UTF-8.
    #[error("a value of the baggage is no percent-encoded UTF-8")]
    Encoding,
}

impl OwnerKind {
    const fn key(self) -> &'static str {
        match self {
            Self::Deployment => "k8s.deployment.name",
            Self::Pod => "k8s.pod.name",
            Self::Job => "k8s.job.name",
            Self::CronJob => "k8s.cronjob.name",
        }
    }
}

impl FromStr for Baggage {
    type Err = BadBaggage;

    /// Reads the header. Of a key that stands twice the first counts; properties behind a value are left out.
    fn from_str(text: &str) -> Result<Self, BadBaggage> {
        if text.len() > BAGGAGE_BYTES_MAX {
            return Err(BadBaggage::TooLong);
        }
        let mut baggage = Self::default();
        for (count, member) in text.split(',').enumerate() {
            if count >= BAGGAGE_MEMBERS_MAX {
                return Err(BadBaggage::TooMany);
            }
            let value = member.split(';').next().unwrap_or_default();
            if value.trim().is_empty() {
                continue; // An empty list element says nothing (RFC 9110 §5.6.1.2).
            }
            let (key, value) = value.split_once('=').ok_or(BadBaggage::Shape)?;
            let key = key.trim();
            if key.is_empty() {
                return Err(BadBaggage::Shape);
            }
            baggage.set(key, decode(value.trim())?);
        }
        Ok(baggage)
    }
}

impl Baggage {
    fn set(&mut self, key: &str, value: String) {
        if value.is_empty() {
            return; // Senders write a key without a value for what they do not know.
        }
        let mut own = |kind, name| {
            self.owner.get_or_insert(Owner { kind, name });
        };
        match key {
            "k8s.cluster.name" => set_first(&mut self.cluster, value),
            "k8s.namespace.name" => set_first(&mut self.namespace, value),
            "k8s.deployment.name" => own(OwnerKind::Deployment, value),
            "k8s.pod.name" => own(OwnerKind::Pod, value),
            "k8s.job.name" => own(OwnerKind::Job, value),
            "k8s.cronjob.name" => own(OwnerKind::CronJob, value),
            "service.name" => set_first(&mut self.service, value),
            "service.version" => set_first(&mut self.version, value),
            "cloud.region" => set_first(&mut self.region, value),
            "cloud.availability_zone" => set_first(&mut self.zone, value),
            _ => {}
        }
    }
}

fn set_first(place: &mut Option<String>, value: String) {
    place.get_or_insert(value);
}

impl fmt::Display for Baggage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let owner = self.owner.as_ref().map(|owner| (owner.kind.key(), owner.name.as_str()));
        let pairs = [
            ("k8s.cluster.name", self.cluster.as_deref()),
            ("k8s.namespace.name", self.namespace.as_deref()),
            owner.map_or(("", None), |(key, name)| (key, Some(name))),
            ("service.name", self.service.as_deref()),
            ("service.version", self.version.as_deref()),
            ("cloud.region", self.region.as_deref()),
            ("cloud.availability_zone", self.zone.as_deref()),
        ];
        let mut separator = "";
        for (key, value) in pairs {
            let Some(value) = value.filter(|value| !value.is_empty()) else {
                continue;
            };
            write!(f, "{separator}{key}=")?;
            encode(value, f)?;
            separator = ",";
        }
        Ok(())
    }
}

/// True for a character that a value may hold as it is (W3C Baggage §3.2.1.4: baggage-octet), but the percent sign.
fn is_plain(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x2B | 0x2D..=0x3A | 0x3C..=0x5B | 0x5D..=0x7E) && byte != b'%'
}

fn encode(value: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for byte in value.bytes() {
        if is_plain(byte) {
            f.write_char(char::from(byte))?;
        } else {
            write!(f, "%{byte:02X}")?;
        }
    }
    Ok(())
}

fn decode(value: &str) -> Result<String, BadBaggage> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let [high, low, tail @ ..] = tail else {
            return Err(BadBaggage::Encoding);
        };
        let digit = |byte: u8| char::from(byte).to_digit(16).ok_or(BadBaggage::Encoding);
        // Two hexadecimal digits make at most 255.
        bytes.push((digit(*high)? * 16 + digit(*low)?) as u8);
        rest = tail;
    }
    String::from_utf8(bytes).map_err(|_| BadBaggage::Encoding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_become_baggage_or_a_reason() {
        let some = |text: &str| Some(text.to_owned());
        let owner = |kind, name: &str| Some(Owner { kind, name: name.to_owned() });
        let many = "a=b,".repeat(BAGGAGE_MEMBERS_MAX + 1);
        let long = "a".repeat(BAGGAGE_BYTES_MAX + 1);
        let whole = Baggage {
            cluster: some("Kubernetes"),
            namespace: some("shop"),
            owner: owner(OwnerKind::Deployment, "web"),
            service: some("web"),
            version: some("v1, \"new\" 100%"),
            region: some("europe"),
            zone: some("ü"),
        };
        let printed = whole.to_string();
        for (case, text, want) in [
            ("nothing", "", Ok(Baggage::default())),
            ("all keys, as we print them", &printed, Ok(whole)),
            (
                "spaces, properties and other keys",
                " k8s.namespace.name = shop ; p=1 ,other=x, k8s.pod.name=a-1",
                Ok(Baggage {
                    namespace: some("shop"),
                    owner: owner(OwnerKind::Pod, "a-1"),
                    ..Baggage::default()
                }),
            ),
            (
                "the first of two counts",
                "service.name=a,service.name=b,k8s.job.name=j,k8s.cronjob.name=c",
                Ok(Baggage { service: some("a"), owner: owner(OwnerKind::Job, "j"), ..Baggage::default() }),
            ),
            ("an empty value is none", "service.name=", Ok(Baggage::default())),
            ("no value", "service.name", Err(BadBaggage::Shape)),
            ("no key", "=a", Err(BadBaggage::Shape)),
            ("half an encoding", "service.name=a%4", Err(BadBaggage::Encoding)),
            ("no digits", "service.name=%zz", Err(BadBaggage::Encoding)),
            ("no UTF-8", "service.name=%ff", Err(BadBaggage::Encoding)),
            ("too many", &many, Err(BadBaggage::TooMany)),
            ("too long", &long, Err(BadBaggage::TooLong)),
        ] {
            let got = text.parse::<Baggage>();
            assert_eq!(got, want, "{case}");
            if let Ok(baggage) = got {
                assert_eq!(baggage.to_string().parse(), Ok(baggage), "{case}: printed and read again");
            }
        }
        assert!(printed.is_ascii(), "{printed}");
    }
}
