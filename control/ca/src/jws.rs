//! The compact form of a signed JSON text (RFC 7515 §7.1) with ES256 (RFC 7518 §3.4) and nothing else: no
//! other algorithm can be asked for, so none can be confused with it.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

/// Longest token that is looked at, in bytes. Kubernetes' are about 1200.
pub(crate) const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// Why a text is no token signed with the key at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadJws {
    Malformed,
    Signature,
}

#[derive(Serialize, Deserialize)]
struct Header {
    alg: String,
    /// Extensions that must be understood (RFC 7515 §4.1.11); none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    crit: Option<serde_json::Value>,
}

const ES256: &str = "ES256";

/// Reads an ECDSA P-256 key from PKCS #8.
pub(crate) fn read_key(pkcs8: &[u8]) -> Option<EcdsaKeyPair> {
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8).ok()
}

/// Signs a JSON text. `None` if the library refuses, which it has no reason to.
pub(crate) fn sign(key: &EcdsaKeyPair, payload: &[u8]) -> Option<String> {
    let header = serde_json::to_vec(&Header { alg: ES256.to_owned(), crit: None }).ok()?;
    let mut token = BASE64_URL_SAFE_NO_PAD.encode(header);
    token.push('.');
    BASE64_URL_SAFE_NO_PAD.encode_string(payload, &mut token);
    let signature = key.sign(&SystemRandom::new(), token.as_bytes()).ok()?;
    token.push('.');
    BASE64_URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    Some(token)
}

/// Checks the signature and gives the payload.
pub(crate) fn verify(key: &EcdsaKeyPair, token: &str) -> Result<Vec<u8>, BadJws> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(BadJws::Malformed);
    }
    let decode = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| BadJws::Malformed);
    let (signed, signature) = token.rsplit_once('.').ok_or(BadJws::Malformed)?;
    let (header, payload) = signed.split_once('.').ok_or(BadJws::Malformed)?;
    let header = serde_json::from_slice::<Header>(&decode(header)?).map_err(|_| BadJws::Malformed)?;
    if header.alg != ES256 || header.crit.is_some() {
        return Err(BadJws::Malformed);
    }
    let (payload, signature) = (decode(payload)?, decode(signature)?);
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.public_key().as_ref())
        .verify(signed.as_bytes(), &signature)
        .map_err(|_| BadJws::Signature)?;
    Ok(payload)
}
