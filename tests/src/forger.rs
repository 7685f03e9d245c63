//! A certificate authority of the attacker's own, and one that has got hold of the mesh's key: papers for peers that are
//! not ours.

use anyhow::{Context as _, Result};
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};
use weft_testkit::World;

/// Signs whatever it likes.
pub struct Forger {
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
}

/// What a peer presents.
pub struct Papers {
    /// The certificate, and the root that signed it.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its key.
    pub key: PrivateKeyDer<'static>,
}

/// From when to when, in hours from now.
pub const VALID: (i64, i64) = (-1, 1);
/// Over an hour ago.
pub const EXPIRED: (i64, i64) = (-2, -1);
/// Not for another hour.
pub const NOT_YET: (i64, i64) = (1, 2);

impl Forger {
    /// With a root that the mesh has never heard of.
    ///
    /// # Errors
    /// If no certificate can be made.
    pub fn foreign(trust_domain: &str) -> Result<Self> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = params(VALID, &format!("spiffe://{trust_domain}"))?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let root = params.self_signed(&key)?.der().clone();
        Ok(Self { issuer: Issuer::new(params, key), root })
    }

    /// With the mesh's own key: what a node has that was broken into, for the identities of its pods and no others.
    ///
    /// # Errors
    /// If the mesh has no root yet.
    pub fn of_the_mesh(world: &World) -> Result<Self> {
        let roots = world.control_folder().join("roots");
        let home = std::fs::read_dir(&roots).with_context(|| format!("reading {}", roots.display()))?;
        let home: PathBuf =
            home.flatten().map(|entry| entry.path()).find(|path| path.is_dir()).context("no root")?;
        let (key, cert) = (home.join("root-key.pem"), home.join("root-cert.pem"));
        let key = KeyPair::from_pem(&std::fs::read_to_string(key).context("reading the root's key")?)?;
        let cert = std::fs::read_to_string(cert).context("reading the root")?;
        let root = rustls::pki_types::pem::PemObject::from_pem_slice(cert.as_bytes())?;
        Ok(Self { issuer: Issuer::from_ca_cert_pem(&cert, key)?, root })
    }

    /// Papers for an identity.
    ///
    /// # Errors
    /// If the identity is none.
    pub fn papers(&self, identity: &str, validity: (i64, i64)) -> Result<Papers> {
        let (leaf, key) = self.sign(identity, validity)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Ok(Papers { chain: vec![leaf.der().clone(), self.root.clone()], key })
    }

    /// The same as texts: certificate and key.
    ///
    /// # Errors
    /// If the identity is none.
    pub fn papers_in_pem(&self, identity: &str, validity: (i64, i64)) -> Result<[String; 2]> {
        let (leaf, key) = self.sign(identity, validity)?;
        Ok([leaf.pem(), key.serialize_pem()])
    }

    fn sign(&self, identity: &str, validity: (i64, i64)) -> Result<(Certificate, KeyPair)> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = params(validity, identity)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        Ok((params.signed_by(&key, &self.issuer)?, key))
    }
}

fn params((from, to): (i64, i64), identity: &str) -> Result<CertificateParams> {
    let at = |hours: i64| {
        let span = Duration::from_secs(3600 * hours.unsigned_abs());
        if hours < 0 { SystemTime::now() - span } else { SystemTime::now() + span }
    };
    let mut params = CertificateParams::default();
    (params.not_before, params.not_after) = (at(from).into(), at(to).into());
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![SanType::URI(Ia5String::try_from(identity)?)];
    Ok(params)
}
