//! What an authority signs, and what it does not.

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, PKCS_RSA_SHA256,
};
use weft_pki::CertificateRequest;

use super::*;
use crate::issuer::new_root;

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn identity(text: &str) -> Identity {
    text.parse().unwrap()
}

fn web() -> Identity {
    identity("spiffe://ours/ns/shop/sa/web")
}

fn granted() -> Granted {
    Granted::without_a_caller(web())
}

fn authority_of(root_lifetime: Duration, leaf_lifetime_max: Duration) -> Authority {
    let root = new_root("ours", root_lifetime, now()).unwrap();
    let settings = AuthoritySettings { leaf_lifetime_max, ..AuthoritySettings::new("ours") };
    let parts = Parts {
        cert_pem: &root.cert_pem,
        key_pem: &root.key_pem,
        chain_pem: "",
        roots_pem: root.cert_pem.clone(),
    };
    Authority::assemble(parts, settings, now()).unwrap()
}

fn authority() -> Authority {
    authority_of(Duration::from_secs(1_000_000), LEAF_LIFETIME_MAX)
}

#[test]
fn a_leaf_is_judged_good_by_the_bundle() {
    let authority = authority();
    let request = CertificateRequest::generate(&web()).unwrap();
    let chain = authority.sign(request.csr_pem(), &granted(), None, now()).unwrap();
    assert_eq!(chain.len(), 2, "leaf first, roots last");
    assert_eq!(chain[1], authority.roots_pem());
    let leaf = request.complete(&chain).unwrap();
    for usage in [Usage::Server, Usage::Client] {
        let peer = authority.trust().verify_peer(leaf.chain(), usage, now()).unwrap();
        assert_eq!(peer.identity(), &web());
        assert_eq!(peer.not_after(), now() + LEAF_LIFETIME_MAX);
    }
    assert_eq!(leaf.not_before(), now() - Duration::from_secs(60));
    assert_eq!(leaf.serial().len(), 16);
}

#[test]
fn serials_are_never_the_same() {
    let authority = authority();
    let request = CertificateRequest::generate(&web()).unwrap();
    let serial = || {
        let chain = authority.sign(request.csr_pem(), &granted(), None, now()).unwrap();
        let der = CertificateDer::from_pem_slice(chain[0].as_bytes()).unwrap();
        let (_, cert) = X509Certificate::from_der(&der).unwrap();
        cert.raw_serial().to_vec()
    };
    // The same request twice: the serial does not come from the key.
    assert_ne!(serial(), serial());
}

#[test]
fn lifetimes_are_clamped() {
    let seconds = Duration::from_secs;
    for (case, root, max, asked, want) in [
        ("nothing asked", 1_000_000, 3_600, None, 3_600),
        ("zero asked", 1_000_000, 3_600, Some(0), 3_600),
        ("less asked", 1_000_000, 3_600, Some(600), 600),
        ("seconds asked", 1_000_000, 3_600, Some(5), 5),
        ("more asked", 1_000_000, 3_600, Some(7_200), 3_600),
        ("all time asked", 1_000_000, 3_600, Some(u64::MAX), 3_600),
        ("more than the issuer has", 600, 3_600, None, 600),
    ] {
        let authority = authority_of(seconds(root), seconds(max));
        let request = CertificateRequest::generate(&web()).unwrap();
        let chain = authority.sign(request.csr_pem(), &granted(), asked.map(seconds), now()).unwrap();
        let leaf = request.complete(&chain).unwrap();
        assert_eq!(leaf.not_after(), now() + seconds(want), "{case}");
        assert!(leaf.not_before() <= now() && leaf.not_before() >= now() - seconds(60), "{case}");
    }
}

#[test]
fn an_issuer_out_of_its_time_does_not_sign() {
    let authority = authority_of(Duration::from_secs(600), LEAF_LIFETIME_MAX);
    let request = CertificateRequest::generate(&web()).unwrap();
    for at in [now() + Duration::from_secs(601), now() - Duration::from_secs(61)] {
        let got = authority.sign(request.csr_pem(), &granted(), None, at);
        assert!(matches!(got, Err(SignError::IssuerNotValid)), "{got:?}");
    }
}

#[test]
fn of_a_request_only_the_key_counts() {
    let authority = authority();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["control.weft".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    let csr = params.serialize_request(&key).unwrap().pem().unwrap();
    let chain = authority.sign(&csr, &granted(), None, now()).unwrap();
    let der = CertificateDer::from_pem_slice(chain[0].as_bytes()).unwrap();
    let (_, cert) = X509Certificate::from_der(&der).unwrap();
    assert!(!cert.is_ca());
    assert_eq!(cert.public_key().raw, key.subject_public_key_info());
    let names = cert.subject_alternative_name().unwrap().unwrap().value.general_names.len();
    assert_eq!(names, 1);
    let usage = cert.key_usage().unwrap().unwrap().value;
    assert!(usage.digital_signature() && !usage.key_cert_sign());
    let extended = cert.extended_key_usage().unwrap().unwrap().value;
    assert!(extended.server_auth && extended.client_auth && !extended.code_signing);
    let peer = authority.trust().verify_peer(std::slice::from_ref(&der), Usage::Client, now()).unwrap();
    assert_eq!(peer.identity(), &web());
}

#[test]
fn requests_that_prove_nothing_are_refused() {
    let authority = authority();
    let request = CertificateRequest::generate(&web()).unwrap();
    let good = request.csr_pem();
    let der = CertificateSigningRequestDer::from_pem_slice(good.as_bytes()).unwrap();
    let pem = |der: &[u8]| certificate_pem(der).replace("CERTIFICATE", "CERTIFICATE REQUEST");
    let mut forged = der.to_vec();
    *forged.last_mut().unwrap() ^= 1;
    let longer = [&der[..], &[0]].concat();
    for (case, csr, want) in [
        ("nothing", String::new(), "Request"),
        ("no PEM", "hello".to_owned(), "Request"),
        ("no request", pem(b"hello"), "Request"),
        ("a certificate", authority.roots_pem().to_owned(), "Request"),
        ("a byte too many", pem(&longer), "Request"),
        ("too long", good.to_owned() + &"\n".repeat(CSR_BYTES_MAX), "Request"),
        ("another's key", pem(&forged), "RequestSignature"),
    ] {
        let got = authority.sign(&csr, &granted(), None, now()).unwrap_err();
        assert_eq!(format!("{got:?}"), want, "{case}");
    }
    let foreign = Granted::without_a_caller(identity("spiffe://theirs/ns/shop/sa/web"));
    let got = authority.sign(good, &foreign, None, now());
    assert!(matches!(got, Err(SignError::ForeignTrustDomain { .. })), "{got:?}");
    let key_of = |chain: Vec<String>| {
        let der = CertificateDer::from_pem_slice(chain[0].as_bytes()).unwrap();
        let (_, cert) = X509Certificate::from_der(&der).unwrap();
        cert.public_key().raw.to_vec()
    };
    let key = key_of(authority.sign(good, &granted(), None, now()).unwrap());
    for at in 0..der.len() {
        let mut bytes = der.to_vec();
        bytes[at] ^= 1;
        // What surrounds the signature is not signed itself; no change there brings in another key.
        if let Ok(chain) = authority.sign(&pem(&bytes), &granted(), None, now()) {
            assert_eq!(key_of(chain), key, "byte {at}");
        }
    }
}

#[test]
fn a_request_with_an_rsa_key_is_signed() {
    let authority = authority();
    let key = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
    let csr = CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap();
    let chain = authority.sign(&csr, &granted(), None, now()).unwrap();
    let der = CertificateDer::from_pem_slice(chain[0].as_bytes()).unwrap();
    assert!(authority.trust().verify_peer(&[der], Usage::Client, now()).is_ok());
}

#[test]
fn the_control_planes_own_certificate_is_no_workloads() {
    let authority = authority();
    let names = ["weft-control.weft-system.svc".to_owned(), "10.0.0.1".to_owned(), "::1".to_owned()];
    let serving = authority.serving_certificate(&names, now()).unwrap();
    assert_eq!(serving.not_after, now() + LEAF_LIFETIME_MAX);
    weft_pki::ServingSlot::new(&serving.chain_pem, &serving.key_pem).unwrap();
    let der = CertificateDer::from_pem_slice(serving.chain_pem.as_bytes()).unwrap();
    let (_, cert) = X509Certificate::from_der(&der).unwrap();
    assert_eq!(cert.subject_alternative_name().unwrap().unwrap().value.general_names.len(), 3);
    let judged = authority.trust().verify_peer(std::slice::from_ref(&der), Usage::Server, now());
    assert!(matches!(judged, Err(PeerError::Leaf(_))), "{judged:?}");
    assert!(!format!("{serving:?}").contains("PRIVATE"));
    assert!(authority.serving_certificate(&["wéft".to_owned()], now()).is_err());
}

#[test]
fn parts_that_do_not_fit_make_no_authority() {
    let lifetime = Duration::from_secs(1_000_000);
    let (ours, other) =
        (new_root("ours", lifetime, now()).unwrap(), new_root("ours", lifetime, now()).unwrap());
    let stale = new_root("ours", Duration::from_secs(10), now() - Duration::from_secs(100)).unwrap();
    let both = ours.cert_pem.clone() + &other.cert_pem;
    let (cert, key) = (&*ours.cert_pem, &**ours.key_pem);
    for (case, cert_pem, key_pem, chain_pem, roots_pem, want) in [
        ("good", cert, key, "", cert, None),
        ("two roots", cert, key, "", &both, None),
        ("another key", cert, &other.key_pem, "", cert, Some("KeyMismatch")),
        ("no certificate", "", key, "", cert, Some("CertPem")),
        ("no key", cert, "", "", cert, Some("Key(")),
        ("no root", cert, key, "", "", Some("Roots")),
        ("another root", cert, key, "", &other.cert_pem, Some("Refused(UnknownIssuer)")),
        (
            "an expired root",
            &stale.cert_pem,
            &stale.key_pem,
            "",
            &stale.cert_pem,
            Some("Trial(IssuerNotValid)"),
        ),
    ] {
        let parts = Parts { cert_pem, key_pem, chain_pem, roots_pem: roots_pem.to_owned() };
        let got = Authority::assemble(parts, AuthoritySettings::new("ours"), now());
        let shown = format!("{got:?}");
        assert!(!shown.contains("PRIVATE"), "{case}");
        match want {
            Some(want) => assert!(shown.starts_with(&format!("Err({want}")), "{case}: {shown}"),
            None => assert!(got.is_ok(), "{case}: {shown}"),
        }
    }
}
