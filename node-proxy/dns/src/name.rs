//! Host names as the mesh's tables hold them: lower case, no dot at the end.

use hickory_proto::rr::Name;

/// A name that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostName(String);

impl HostName {
    /// `None` for a name that is no host's: the root, or one with bytes that no host name holds (a dot inside of a
    /// label among them, which would read as another name).
    pub(crate) fn of(name: &Name) -> Option<Self> {
        let mut text = String::new();
        for label in name.iter() {
            let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            if !label.iter().all(plain) {
                return None;
            }
            if !text.is_empty() {
                text.push('.');
            }
            text.extend(label.iter().map(|byte| char::from(byte.to_ascii_lowercase())));
        }
        (!text.is_empty()).then_some(Self(text))
    }

    /// A name from the mesh's tables.
    pub(crate) fn from_table(text: &str) -> Self {
        Self(text.trim_end_matches('.').to_ascii_lowercase())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as the wire has it.
    pub(crate) fn to_wire(&self) -> Option<Name> {
        wire_name(&self.0)
    }

    /// True for the domain itself and all below it.
    pub(crate) fn is_below(&self, domain: &str) -> bool {
        self.0 == domain || self.without(domain).is_some()
    }

    /// The labels in front of a domain.
    pub(crate) fn without(&self, domain: &str) -> Option<&str> {
        self.0.strip_suffix(domain)?.strip_suffix('.').filter(|rest| !rest.is_empty())
    }
}

/// A name as the wire has it.
pub(crate) fn wire_name(text: &str) -> Option<Name> {
    let mut name = Name::from_ascii(text).ok()?;
    name.set_fqdn(true);
    Some(name)
}
