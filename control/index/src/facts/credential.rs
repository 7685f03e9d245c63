//! What matters of a Secret or a ConfigMap: authorities, and a certificate with its key. All else in it is forgotten at once.

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::Arc;
use weft_control_api::secret::{ConfigMap, Secret};
use weft_l7::destination::ClientIdentity;

/// What a Secret or a ConfigMap is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CredentialFacts {
    /// Authorities, as PEM.
    pub(crate) authorities: Result<Arc<str>, Unfit>,
    /// A certificate and its key.
    pub(crate) identity: Result<ClientIdentity, Unfit>,
}

/// Why something is of no use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// It is not there.
    Missing(&'static str),
    /// It is there, under this key, and is wrong.
    Bad { key: &'static str, reason: &'static str },
}

impl std::fmt::Display for Unfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing(what) => write!(f, "has no {what}"),
            Self::Bad { key, reason } => write!(f, "{key} {reason}"),
        }
    }
}

/// Where a Secret has what (Istio's DestinationRule, `credentialName`): the one of type `kubernetes.io/tls`, or any.
const AUTHORITIES: [&str; 2] = ["ca.crt", "cacert"];
const CERTIFICATE: [&str; 2] = ["tls.crt", "cert"];
const KEY: [&str; 2] = ["tls.key", "key"];
const REVOKED: [&str; 2] = ["ca.crl", "crl"];

/// Reads a Secret.
pub(crate) fn of_secret(secret: &Secret) -> CredentialFacts {
    let first = |keys: [&'static str; 2], what: &'static str| {
        let mut found = keys.into_iter().filter_map(|key| Some((key, secret.text(key)?)));
        let (key, text) = found.next().ok_or(Unfit::Missing(what))?;
        text.map(|text| (key, text)).map_err(|reason| Unfit::Bad { key, reason })
    };
    let identity = || {
        let (key, chain) = first(CERTIFICATE, "tls.crt or cert")?;
        certificates(key, &chain)?;
        let (key, private) = first(KEY, "tls.key or key")?;
        let is_key = PrivateKeyDer::from_pem_slice(private.as_bytes()).is_ok();
        let identity = ClientIdentity::Certificate { chain: chain.into(), key: private.into() };
        is_key.then_some(identity).ok_or(Unfit::Bad { key, reason: "is no private key in PEM" })
    };
    let revoked = REVOKED.into_iter().find(|key| secret.text(key).is_some());
    let authorities = || match revoked {
        Some(key) => Err(Unfit::Bad { key, reason: "revokes certificates, which is not supported" }),
        None => {
            let (key, text) = first(AUTHORITIES, "ca.crt or cacert")?;
            authorities(key, text)
        }
    };
    CredentialFacts { authorities: authorities(), identity: identity() }
}

/// Reads a ConfigMap, which has authorities at most (Gateway API, `BackendTLSPolicyValidation`).
pub(crate) fn of_config_map(map: &ConfigMap) -> CredentialFacts {
    let key = AUTHORITIES[0];
    let text = map.data.as_ref().and_then(|data| data.get(key));
    CredentialFacts {
        authorities: text.ok_or(Unfit::Missing(key)).and_then(|text| authorities(key, text.clone())),
        identity: Err(Unfit::Missing("certificate: a ConfigMap hides none")),
    }
}

fn authorities(key: &'static str, text: String) -> Result<Arc<str>, Unfit> {
    let bad = |_| Unfit::Bad { key, reason: "holds a certificate that cannot be read" };
    for certificate in certificates(key, &text)? {
        webpki::anchor_from_trusted_cert(&certificate).map_err(bad)?;
    }
    Ok(text.into())
}

fn certificates(key: &'static str, text: &str) -> Result<Vec<CertificateDer<'static>>, Unfit> {
    let bad = Unfit::Bad { key, reason: "is no list of certificates in PEM" };
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    all.ok().filter(|all| !all.is_empty()).ok_or(bad)
}
