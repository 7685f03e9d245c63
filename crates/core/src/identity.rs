//! SPIFFE identities: who a workload is.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// `spiffe://<trust-domain>/ns/<namespace>/sa/<service-account>`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    trust_domain: Arc<str>,
    namespace: Arc<str>,
    service_account: Arc<str>,
}

/// Longest identity that is accepted, in bytes; SPIFFE-ID §2.3 asks implementations for 2048.
pub const IDENTITY_BYTES_MAX: usize = 2048;
/// What stands around the parts of an identity.
const FRAME_BYTES: usize = "spiffe:///ns//sa/".len();

/// Why a text is no identity of the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadIdentity {
    /// Longer than [`IDENTITY_BYTES_MAX`].
    #[error("an identity is longer than {IDENTITY_BYTES_MAX} bytes")]
    TooLong,
    /// Does not begin with `spiffe://`.
    #[error("an identity begins with spiffe://")]
    Scheme,
    /// Is not `<trust-domain>/ns/<namespace>/sa/<service-account>`.
    #[error("an identity reads spiffe://<trust-domain>/ns/<namespace>/sa/<service-account>")]
    Shape,
    /// A segment is empty or holds a character that SPIFFE-ID §2 does not allow.
    #[error("a part of an identity is empty or holds a character outside a-z A-Z 0-9 . - _")]
    Segment,
}

impl Identity {
    /// Builds an identity from its parts.
    ///
    /// # Errors
    /// [`BadIdentity::Segment`] or [`BadIdentity::TooLong`] as their docs say.
    pub fn new(
        trust_domain: impl Into<Arc<str>>,
        namespace: impl Into<Arc<str>>,
        service_account: impl Into<Arc<str>>,
    ) -> Result<Self, BadIdentity> {
        let identity = Self {
            trust_domain: trust_domain.into(),
            namespace: namespace.into(),
            service_account: service_account.into(),
        };
        let segments = [&identity.trust_domain, &identity.namespace, &identity.service_account];
        if !segments.iter().all(|segment| is_segment(segment)) {
            return Err(BadIdentity::Segment);
        }
        if segments.iter().map(|segment| segment.len()).sum::<usize>() > IDENTITY_BYTES_MAX - FRAME_BYTES {
            return Err(BadIdentity::TooLong);
        }
        Ok(identity)
    }

    /// The domain whose root vouches for this identity.
    pub fn trust_domain(&self) -> &str {
        &self.trust_domain
    }

    /// The Kubernetes namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The Kubernetes service account.
    pub fn service_account(&self) -> &str {
        &self.service_account
    }

    /// The identity as policies write it, without `spiffe://`.
    pub fn principal(&self) -> Principal<'_> {
        Principal(self)
    }
}

fn is_segment(text: &str) -> bool {
    !text.is_empty()
        && text != "."
        && text != ".."
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
}

/// An [`Identity`] displayed as policies compare it: `<trust-domain>/ns/<ns>/sa/<sa>`.
#[derive(Clone, Copy)]
pub struct Principal<'a>(&'a Identity);

impl fmt::Display for Principal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Identity { trust_domain, namespace, service_account } = self.0;
        write!(f, "{trust_domain}/ns/{namespace}/sa/{service_account}")
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spiffe://{}", self.principal())
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Identity {
    type Err = BadIdentity;

    fn from_str(text: &str) -> Result<Self, BadIdentity> {
        if text.len() > IDENTITY_BYTES_MAX {
            return Err(BadIdentity::TooLong);
        }
        let rest = text.strip_prefix("spiffe://").ok_or(BadIdentity::Scheme)?;
        let mut parts = rest.split('/');
        let mut next = || parts.next().ok_or(BadIdentity::Shape);
        let (trust_domain, ns, namespace, sa, service_account) =
            (next()?, next()?, next()?, next()?, next()?);
        if ns != "ns" || sa != "sa" || parts.next().is_some() {
            return Err(BadIdentity::Shape);
        }
        Self::new(trust_domain, namespace, service_account)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_become_identities_or_a_reason() {
        for (case, text, want) in [
            ("plain", "spiffe://cluster.local/ns/default/sa/web", Ok(())),
            ("dots in the account", "spiffe://td/ns/a/sa/b.c", Ok(())),
            ("no scheme", "cluster.local/ns/a/sa/b", Err(BadIdentity::Scheme)),
            ("short", "spiffe://td/ns/a", Err(BadIdentity::Shape)),
            ("long path", "spiffe://td/ns/a/sa/b/c", Err(BadIdentity::Shape)),
            ("other words", "spiffe://td/namespace/a/sa/b", Err(BadIdentity::Shape)),
            ("empty namespace", "spiffe://td/ns//sa/b", Err(BadIdentity::Segment)),
            ("query", "spiffe://td/ns/a/sa/b?x", Err(BadIdentity::Segment)),
            ("dot dot", "spiffe://td/ns/../sa/b", Err(BadIdentity::Segment)),
        ] {
            let got = text.parse::<Identity>();
            assert_eq!(got.as_ref().map(|_| ()).map_err(|bad| *bad), want, "{case}");
            if let Ok(identity) = got {
                assert_eq!(identity.to_string(), text, "{case}");
            }
        }
    }
}
