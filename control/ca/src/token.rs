//! Service account tokens where there is no Kubernetes: JWTs (RFC 7519) in the shape of Kubernetes' bound
//! tokens, signed with a key of the authority's folder.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::signature::EcdsaKeyPair;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde::{Deserialize, Serialize};
use weft_core::names::NodeName;
use zeroize::{Zeroize as _, Zeroizing};

use crate::files::{self, Readers};
use crate::jws::{self, BadJws};
use crate::review::{BoundPod, Caller, ReviewError, Reviewing, ServiceAccount, TokenReview};

/// The file that holds the signing key, in the authority's folder.
pub const TOKEN_KEY_FILE: &str = "token-key.pem";

/// The audience that discovery and the certificate service ask for.
pub const AUDIENCE: &str = "istio-ca";

/// Issues local tokens and checks them. Clones share the key.
#[derive(Clone)]
pub struct LocalTokens {
    key: Arc<EcdsaKeyPair>,
}

/// Whom a token is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenSubject {
    /// Whose token it is.
    pub service_account: ServiceAccount,
    /// The name and uid of the pod that it is bound to; the pod is in the account's namespace.
    pub pod: Option<(Arc<str>, Arc<str>)>,
    /// The node where that pod runs.
    pub node: Option<NodeName>,
}

/// Why there is no signing key. The fault is on this side.
#[derive(Debug, thiserror::Error)]
pub enum TokenKeyError {
    /// No key could be made.
    #[error("making a key for tokens")]
    Make(#[source] rcgen::Error),
    /// The file could not be read; `PermissionDenied` also if others than its owner may read it.
    #[error("reading {}", .path.display())]
    Read {
        /// The key's file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file could not be written.
    #[error("writing {}", .path.display())]
    Write {
        /// The key's file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file holds no ECDSA P-256 key in PKCS #8.
    #[error("{} holds no usable key", .path.display())]
    Unusable {
        /// The key's file.
        path: PathBuf,
    },
    /// The library would not sign.
    #[error("signing a token")]
    Sign,
}

impl LocalTokens {
    /// Takes the key in `folder`, and makes one if there is none. Several processes may do so at once; all get
    /// the same key.
    ///
    /// # Errors
    /// As [`TokenKeyError`] says.
    pub fn open_or_create(folder: &Path) -> Result<Self, TokenKeyError> {
        let path = folder.join(TOKEN_KEY_FILE);
        if !path.exists() {
            make_key(folder, &path)?;
        }
        let pem = files::read_private(&path)
            .map_err(|source| TokenKeyError::Read { path: path.clone(), source })?;
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).ok();
        let key = der.and_then(|der| jws::read_key(der.secret_pkcs8_der()));
        key.map(|key| Self { key: Arc::new(key) }).ok_or(TokenKeyError::Unusable { path })
    }

    /// Makes a token that ends `lifetime` after `now`, for the given audiences.
    ///
    /// # Errors
    /// [`TokenKeyError::Sign`].
    pub fn issue_token(
        &self,
        subject: &TokenSubject,
        audiences: &[&str],
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<String, TokenKeyError> {
        let claims = Claims::new(subject, audiences, seconds(now), lifetime.as_secs());
        let payload = serde_json::to_vec(&claims).map_err(|_| TokenKeyError::Sign)?;
        jws::sign(&self.key, &payload).ok_or(TokenKeyError::Sign)
    }

    /// Checks a token as of `now`. There is no leeway: issuer and checker share a clock.
    ///
    /// # Errors
    /// As [`ReviewError`] says, never [`ReviewError::Unavailable`].
    pub fn check(&self, token: &str, audience: &str, now: SystemTime) -> Result<Caller, ReviewError> {
        let payload = jws::verify(&self.key, token).map_err(|bad| match bad {
            BadJws::Malformed => ReviewError::Malformed,
            BadJws::Signature => ReviewError::BadSignature,
        })?;
        let claims = serde_json::from_slice::<Claims>(&payload).map_err(|_| ReviewError::Malformed)?;
        claims.caller(audience, seconds(now))
    }
}

impl TokenReview for LocalTokens {
    fn review<'a>(&'a self, token: &'a str, audience: &'a str) -> Reviewing<'a> {
        Box::pin(async move { self.check(token, audience, SystemTime::now()) })
    }
}

impl fmt::Debug for LocalTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalTokens").finish_non_exhaustive()
    }
}

fn make_key(folder: &Path, path: &Path) -> Result<(), TokenKeyError> {
    let failed = |source| TokenKeyError::Write { path: path.to_owned(), source };
    let mut key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(TokenKeyError::Make)?;
    let pem = Zeroizing::new(key.serialize_pem());
    key.zeroize();
    files::make_private_folder(folder).map_err(failed)?;
    match files::create(path, pem.as_bytes(), Readers::Owner) {
        // Another process was faster; its key is as good.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        written => written.map_err(failed),
    }
}

/// The claims of a bound service account token.
#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Vec<String>,
    iat: u64,
    nbf: u64,
    exp: u64,
    #[serde(rename = "kubernetes.io")]
    kubernetes: Bound,
}

#[derive(Serialize, Deserialize)]
struct Bound {
    namespace: Arc<str>,
    serviceaccount: Named,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pod: Option<NamedWithUid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    node: Option<Named>,
}

#[derive(Serialize, Deserialize)]
struct Named {
    name: Arc<str>,
}

#[derive(Serialize, Deserialize)]
struct NamedWithUid {
    name: Arc<str>,
    uid: Arc<str>,
}

/// Who issues local tokens.
const ISSUER: &str = "weft-local";

impl Claims {
    fn new(subject: &TokenSubject, audiences: &[&str], now: u64, lifetime_seconds: u64) -> Self {
        let ServiceAccount { namespace, name } = &subject.service_account;
        let pod = subject.pod.clone().map(|(name, uid)| NamedWithUid { name, uid });
        let node = subject.node.as_ref().map(|node| Named { name: node.as_str().into() });
        Self {
            iss: ISSUER.to_owned(),
            sub: subject_text(namespace, name),
            aud: audiences.iter().map(|audience| (*audience).to_owned()).collect(),
            iat: now,
            nbf: now,
            exp: now.saturating_add(lifetime_seconds),
            kubernetes: Bound {
                namespace: namespace.clone(),
                serviceaccount: Named { name: name.clone() },
                pod,
                node,
            },
        }
    }

    fn caller(self, audience: &str, now: u64) -> Result<Caller, ReviewError> {
        if self.iss != ISSUER {
            return Err(ReviewError::WrongIssuer);
        }
        if !self.aud.iter().any(|one| one == audience) {
            return Err(ReviewError::WrongAudience);
        }
        // RFC 7519 §4.1.4: on or after `exp` it is over.
        if now >= self.exp {
            return Err(ReviewError::Expired);
        }
        if now < self.nbf {
            return Err(ReviewError::NotYetValid);
        }
        let Bound { namespace, serviceaccount: Named { name }, pod, node } = self.kubernetes;
        if self.sub != subject_text(&namespace, &name) {
            return Err(ReviewError::NotAServiceAccount);
        }
        let pod = pod.map(|pod| BoundPod { namespace: namespace.clone(), name: pod.name, uid: pod.uid });
        let node = node.map(|node| NodeName::new(node.name));
        Ok(Caller { service_account: ServiceAccount { namespace, name }, pod, node })
    }
}

fn subject_text(namespace: &str, name: &str) -> String {
    format!("system:serviceaccount:{namespace}:{name}")
}

/// NumericDate (RFC 7519 §2) without its fraction.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
#[path = "token_tests.rs"]
mod tests;
