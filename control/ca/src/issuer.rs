//! Writing certificates: what stands in a root, in a workload's leaf, and in the control plane's own.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType, SerialNumber,
};
use time::OffsetDateTime;
use weft_core::identity::Identity;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;
use zeroize::{Zeroize as _, Zeroizing};

/// How far certificates reach into the past, at most, for peers whose clocks run late.
const BACKDATE_MAX: Duration = Duration::from_secs(60);

/// When a certificate is valid, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Validity {
    pub(crate) not_before: SystemTime,
    pub(crate) not_after: SystemTime,
}

impl Validity {
    /// A certificate of `lifetime` from `now`, a little backdated, and never outside its issuer's own
    /// validity. `None` if the issuer's is over or has not begun.
    pub(crate) fn within(issuer: Self, lifetime: Duration, now: SystemTime) -> Option<Self> {
        if !(issuer.not_before..=issuer.not_after).contains(&now) {
            return None;
        }
        // A tenth of a short life, or half of that life would lie in the past, and with it the renewal.
        let backdate = BACKDATE_MAX.min(lifetime / 10);
        Some(Self {
            not_before: now.checked_sub(backdate).unwrap_or(now).max(issuer.not_before),
            not_after: now.checked_add(lifetime).unwrap_or(issuer.not_after).min(issuer.not_after),
        })
    }

    /// The validity of a certificate, if it is one.
    pub(crate) fn of(der: &[u8]) -> Option<Self> {
        let (_, cert) = X509Certificate::from_der(der).ok()?;
        let at = |seconds: i64| {
            SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
        };
        Some(Self {
            not_before: at(cert.validity().not_before.timestamp())?,
            not_after: at(cert.validity().not_after.timestamp())?,
        })
    }
}

/// A fresh root.
pub(crate) struct NewRoot {
    pub(crate) cert_pem: String,
    pub(crate) key_pem: Zeroizing<String>,
}

/// Makes a self-signed root, ECDSA P-256, that signs leaves and no further authorities.
pub(crate) fn new_root(
    trust_domain: &str,
    lifetime: Duration,
    now: SystemTime,
) -> Result<NewRoot, rcgen::Error> {
    let mut key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let serial = random_serial()?;
    let mut params = CertificateParams::default();
    params.not_before = now.checked_sub(BACKDATE_MAX).unwrap_or(now).into();
    params.not_after = date(now, lifetime);
    // A name of its own for each root: peers that hold two find the right one without trying both.
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, trust_domain);
    let mark = serial.to_bytes().iter().take(4).map(|byte| format!("{byte:02x}")).collect::<String>();
    params.distinguished_name.push(DnType::CommonName, format!("weft root {mark}"));
    params.serial_number = Some(serial);
    // X509-SVID §3.2: a signing certificate names its trust domain, without a path.
    params.subject_alt_names = vec![SanType::URI(Ia5String::try_from(format!("spiffe://{trust_domain}"))?)];
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let cert_pem = params.self_signed(&key)?.pem();
    let key_pem = Zeroizing::new(key.serialize_pem());
    key.zeroize();
    Ok(NewRoot { cert_pem, key_pem })
}

/// What stands in a workload's leaf (X509-SVID §4), whatever its request says.
pub(crate) fn leaf_params(
    identity: &Identity,
    validity: Validity,
) -> Result<CertificateParams, rcgen::Error> {
    let mut params = end_entity_params(validity)?;
    params.subject_alt_names = vec![SanType::URI(Ia5String::try_from(identity.to_string())?)];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params)
}

/// What stands in the certificate of the control plane's own port: names, and no identity, so that it can
/// never pass for a workload.
pub(crate) fn serving_params(
    names: &[String],
    validity: Validity,
) -> Result<CertificateParams, rcgen::Error> {
    let mut params = end_entity_params(validity)?;
    params.subject_alt_names = CertificateParams::new(names)?.subject_alt_names;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params)
}

fn end_entity_params(validity: Validity) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.not_before = validity.not_before.into();
    params.not_after = validity.not_after.into();
    params.serial_number = Some(random_serial()?);
    params.distinguished_name = DistinguishedName::new();
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// A certificate as PEM (RFC 7468 §5): base64 in lines of 64.
pub(crate) fn certificate_pem(der: &[u8]) -> String {
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    for (at, letter) in BASE64_STANDARD.encode(der).chars().enumerate() {
        if at > 0 && at % 64 == 0 {
            text.push('\n');
        }
        text.push(letter);
    }
    text.push_str("\n-----END CERTIFICATE-----\n");
    text
}

/// 126 random bits, positive and of constant length (RFC 5280 §4.1.2.2 asks for at most 20 bytes).
fn random_serial() -> Result<SerialNumber, rcgen::Error> {
    let mut serial = [0_u8; 16];
    aws_lc_rs::rand::fill(&mut serial).map_err(|_| rcgen::Error::RingUnspecified)?;
    serial[0] = (serial[0] & 0x7f) | 0x40;
    Ok(SerialNumber::from_slice(&serial))
}

/// `now + lifetime`, no later than X.509 can write.
fn date(now: SystemTime, lifetime: Duration) -> OffsetDateTime {
    let lifetime = time::Duration::try_from(lifetime).unwrap_or(time::Duration::MAX);
    OffsetDateTime::from(now).saturating_add(lifetime).min(rcgen::date_time_ymd(9999, 12, 31))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn validity_is_backdated_a_little_and_stays_within_the_issuers() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let issuer = Validity { not_before: at(1_000), not_after: at(1_000_000) };
        for (case, lifetime, now, want) in [
            ("a day", 86_400, 10_000, Some((9_940, 96_400))),
            ("seconds", 20, 10_000, Some((9_998, 10_020))),
            ("issuer just made", 86_400, 1_010, Some((1_000, 87_410))),
            ("issuer ends first", 86_400, 990_000, Some((989_940, 1_000_000))),
            ("beyond all time", u64::MAX, 10_000, Some((9_940, 1_000_000))),
            ("issuer over", 86_400, 1_000_001, None),
            ("issuer to come", 86_400, 999, None),
        ] {
            let got = Validity::within(issuer, Duration::from_secs(lifetime), at(now));
            let want = want.map(|(from, to)| Validity { not_before: at(from), not_after: at(to) });
            assert_eq!(got, want, "{case}");
        }
    }
}
