//! An authority for tests that signs anything, also what no authority should.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls_pki_types::CertificateDer;
use weft_core::identity::Identity;

use crate::{CertificateRequest, Leaf, TrustBundle};

pub(super) struct Authority {
    cert: Certificate,
    /// Certificates between the leaves and the root.
    above: Vec<CertificateDer<'static>>,
    issuer: Issuer<'static, KeyPair>,
}

static NEXT: AtomicU32 = AtomicU32::new(1);

pub(super) fn identity(text: &str) -> Identity {
    text.parse().unwrap()
}

/// Now, without the fraction that certificates do not have.
pub(super) fn now() -> SystemTime {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs())
}

pub(super) fn hours(count: u64) -> Duration {
    Duration::from_secs(count * 3600)
}

pub(super) fn uri(text: &str) -> SanType {
    SanType::URI(Ia5String::try_from(text).unwrap())
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.not_before = (now() - hours(1000)).into();
    params.not_after = (now() + hours(1000)).into();
    params
}

/// What a good leaf for `spiffe://ours/ns/a/sa/b` says.
pub(super) fn leaf_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![uri("spiffe://ours/ns/a/sa/b")];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.not_before = (now() - hours(1)).into();
    params.not_after = (now() + hours(1)).into();
    params
}

impl Authority {
    pub(super) fn root(name: &str) -> Self {
        Self::root_with(name, |_| {})
    }

    pub(super) fn root_with(name: &str, tweak: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = authority_params(name);
        tweak(&mut params);
        let key = KeyPair::generate().unwrap();
        let cert = params.self_signed(&key).unwrap();
        Self { cert, above: vec![], issuer: Issuer::new(params, key) }
    }

    pub(super) fn intermediate(&self, tweak: impl FnOnce(&mut CertificateParams)) -> Self {
        // A name of its own: an issuer is first looked for by name.
        let mut params = authority_params(&format!("intermediate {}", NEXT.fetch_add(1, Ordering::Relaxed)));
        tweak(&mut params);
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        let mut above = vec![cert.der().clone()];
        above.extend(self.above.iter().cloned());
        Self { cert, above, issuer: Issuer::new(params, key) }
    }

    pub(super) fn pem(&self) -> String {
        self.cert.pem()
    }

    pub(super) fn der(&self) -> CertificateDer<'static> {
        self.cert.der().clone()
    }

    pub(super) fn trusted_for(&self, trust_domain: &str) -> TrustBundle {
        TrustBundle::from_pem(trust_domain, [self.pem()]).unwrap()
    }

    /// The chain of a leaf that says what `tweak` makes of a good one.
    pub(super) fn chain(&self, tweak: impl FnOnce(&mut CertificateParams)) -> Vec<CertificateDer<'static>> {
        let mut params = leaf_params();
        tweak(&mut params);
        let leaf = params.signed_by(&KeyPair::generate().unwrap(), &self.issuer).unwrap();
        std::iter::once(leaf.der().clone()).chain(self.above.iter().cloned()).collect()
    }

    /// The answer to a request, as a certificate service gives it.
    pub(super) fn answer(&self, csr_pem: &str, tweak: impl FnOnce(&mut CertificateParams)) -> Vec<String> {
        let request = rcgen::CertificateSigningRequestParams::from_pem(csr_pem).unwrap();
        let mut params = leaf_params();
        params.subject_alt_names = request.params.subject_alt_names;
        tweak(&mut params);
        let leaf = params.signed_by(&request.public_key, &self.issuer).unwrap();
        vec![leaf.pem(), self.pem()]
    }

    pub(super) fn leaf(&self, identity: &Identity) -> Leaf {
        self.leaf_with(identity, |_| {})
    }

    pub(super) fn leaf_with(&self, identity: &Identity, tweak: impl FnOnce(&mut CertificateParams)) -> Leaf {
        let request = CertificateRequest::generate(identity).unwrap();
        let answer = self.answer(request.csr_pem(), tweak);
        request.complete(&answer).unwrap()
    }
}

impl Authority {
    /// A certificate and key for a server that has a DNS name and no identity.
    pub(super) fn serving(&self, name: &str) -> (String, String) {
        let mut params = leaf_params();
        params.subject_alt_names = vec![SanType::DnsName(name.try_into().unwrap())];
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        (cert.pem(), key.serialize_pem())
    }
}
