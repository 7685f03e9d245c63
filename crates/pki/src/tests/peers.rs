//! Who is refused, and why; what is known of those who are not.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rcgen::{BasicConstraints, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType};
use rustls_pki_types::CertificateDer;
use weft_core::identity::BadIdentity;

use super::authority::{Authority, hours, identity, now, uri};
use crate::certificate::CHAIN_CERTS_MAX;
use crate::trust::ROOTS_MAX;
use crate::{BadCertificate, BadSan, BundleError, PeerError, TrustBundle, Usage, claimed_identity};

type Chain = Vec<CertificateDer<'static>>;

/// Judges a chain with one trusted root for `ours` and another for `theirs`.
fn judged(ours: &Authority, theirs: &Authority, chain: &Chain, usage: Usage) -> Result<(), PeerError> {
    let mut trust = ours.trusted_for("ours");
    trust.add_pem("theirs", [theirs.pem()]).unwrap();
    trust.verify_peer(chain, usage, now()).map(|_| ())
}

#[test]
fn leaves_are_judged_by_what_they_say() {
    use Usage::{Client, Server};
    let (ours, theirs) = (Authority::root("ours"), Authority::root("theirs"));
    let bad = |why| Err(PeerError::Leaf(why));
    let san = |why| bad(BadCertificate::San(why));
    let eku = |only: ExtendedKeyUsagePurpose| ours.chain(|leaf| leaf.extended_key_usages = vec![only]);
    let names = |names: Vec<SanType>| ours.chain(|leaf| leaf.subject_alt_names = names);
    let dns = || SanType::DnsName("web.a.svc".try_into().unwrap());
    let good = "spiffe://ours/ns/a/sa/b";
    for (case, chain, usage, want) in [
        ("as client", ours.chain(|_| {}), Client, Ok(())),
        ("as server", ours.chain(|_| {}), Server, Ok(())),
        ("with a DNS name as well", names(vec![dns(), uri(good)]), Client, Ok(())),
        (
            "their root, their domain",
            theirs.chain(|leaf| leaf.subject_alt_names = vec![uri("spiffe://theirs/ns/a/sa/b")]),
            Client,
            Ok(()),
        ),
        ("their root, our domain", theirs.chain(|_| {}), Client, Err(PeerError::UnknownIssuer)),
        (
            "our root, their domain",
            names(vec![uri("spiffe://theirs/ns/a/sa/b")]),
            Client,
            Err(PeerError::UnknownIssuer),
        ),
        (
            "nobody's domain",
            names(vec![uri("spiffe://nobody/ns/a/sa/b")]),
            Client,
            Err(PeerError::UnknownTrustDomain { trust_domain: "nobody".into() }),
        ),
        (
            "a root that took our name",
            Authority::root("ours").chain(|_| {}),
            Client,
            Err(PeerError::BadSignature),
        ),
        ("no names", names(vec![]), Client, san(BadSan::NoUri)),
        ("a DNS name only", names(vec![dns()]), Client, san(BadSan::NoUri)),
        (
            "two identities",
            names(vec![uri(good), uri("spiffe://ours/ns/a/sa/c")]),
            Client,
            san(BadSan::SeveralUris),
        ),
        ("the same identity twice", names(vec![uri(good), uri(good)]), Client, san(BadSan::SeveralUris)),
        (
            "an identity and another URI",
            names(vec![uri(good), uri("https://a.example")]),
            Client,
            san(BadSan::SeveralUris),
        ),
        (
            "another URI",
            names(vec![uri("https://a.example")]),
            Client,
            san(BadSan::Identity(BadIdentity::Scheme)),
        ),
        (
            "another shape",
            names(vec![uri("spiffe://ours/host/a")]),
            Client,
            san(BadSan::Identity(BadIdentity::Shape)),
        ),
        (
            "a trust domain alone",
            names(vec![uri("spiffe://ours")]),
            Client,
            san(BadSan::Identity(BadIdentity::Shape)),
        ),
        (
            "for servers, used as client",
            eku(ExtendedKeyUsagePurpose::ServerAuth),
            Client,
            Err(PeerError::WrongUsage { usage: Client }),
        ),
        ("for servers, used as server", eku(ExtendedKeyUsagePurpose::ServerAuth), Server, Ok(())),
        (
            "for clients, used as server",
            eku(ExtendedKeyUsagePurpose::ClientAuth),
            Server,
            Err(PeerError::WrongUsage { usage: Server }),
        ),
        (
            "for signing code",
            eku(ExtendedKeyUsagePurpose::CodeSigning),
            Client,
            Err(PeerError::WrongUsage { usage: Client }),
        ),
        (
            "without extended key usage",
            ours.chain(|leaf| leaf.extended_key_usages = vec![]),
            Client,
            Err(PeerError::WrongUsage { usage: Client }),
        ),
        (
            "without key usage",
            ours.chain(|leaf| leaf.key_usages = vec![]),
            Client,
            bad(BadCertificate::KeyUsage),
        ),
        (
            "key usage without signatures",
            ours.chain(|leaf| leaf.key_usages = vec![KeyUsagePurpose::KeyAgreement]),
            Client,
            bad(BadCertificate::KeyUsage),
        ),
        (
            "key usage of an authority",
            ours.chain(|leaf| leaf.key_usages.push(KeyUsagePurpose::KeyCertSign)),
            Client,
            bad(BadCertificate::SigningLeaf),
        ),
        (
            "an authority",
            ours.chain(|leaf| leaf.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
            Client,
            bad(BadCertificate::SigningLeaf),
        ),
        ("the root itself", vec![ours.der()], Client, bad(BadCertificate::SigningLeaf)),
        (
            "garbage",
            vec![CertificateDer::from(vec![0x30, 3, 1, 2, 3])],
            Client,
            bad(BadCertificate::Malformed),
        ),
        ("a byte too many", longer(ours.chain(|_| {})), Client, bad(BadCertificate::Malformed)),
        ("a changed signature", changed(ours.chain(|_| {})), Client, Err(PeerError::BadSignature)),
        ("nothing", vec![], Client, Err(PeerError::NoCertificate)),
        (
            "too much",
            vec![ours.der(); CHAIN_CERTS_MAX + 1],
            Client,
            Err(PeerError::ChainTooLong { length: CHAIN_CERTS_MAX + 1 }),
        ),
    ] {
        assert_eq!(judged(&ours, &theirs, &chain, usage), want, "{case}");
    }
}

#[test]
fn chains_are_judged_up_to_the_root() {
    let (ours, theirs) = (Authority::root("ours"), Authority::root("theirs"));
    let middle = ours.intermediate(|_| {});
    let two = middle.intermediate(|_| {});
    let shallow = ours.intermediate(|cert| cert.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)));
    let stale = ours.intermediate(|cert| cert.not_after = (now() - hours(1)).into());
    let leafy = ours.intermediate(|cert| cert.is_ca = IsCa::ExplicitNoCa);
    let mut with_root = middle.chain(|_| {});
    with_root.push(ours.der());
    let mut swapped = two.chain(|_| {});
    swapped.swap(1, 2);
    let mut headless = middle.chain(|_| {});
    headless.truncate(1);
    for (case, chain, want) in [
        ("an intermediate", middle.chain(|_| {}), Ok(())),
        ("two intermediates", two.chain(|_| {}), Ok(())),
        ("two intermediates in the other order", swapped, Ok(())),
        ("the root as well", with_root, Ok(())),
        ("the intermediate is missing", headless, Err(PeerError::UnknownIssuer)),
        (
            "deeper than the intermediate may",
            shallow.intermediate(|_| {}).chain(|_| {}),
            Err(PeerError::Path(webpki::Error::PathLenConstraintViolated)),
        ),
        (
            "a leaf as intermediate",
            leafy.chain(|_| {}),
            Err(PeerError::Path(webpki::Error::EndEntityUsedAsCa)),
        ),
        (
            "an expired intermediate",
            stale.chain(|_| {}),
            Err(PeerError::Expired { not_after: now() - hours(1) }),
        ),
    ] {
        let got = judged(&ours, &theirs, &chain, Usage::Server);
        assert!(same(&got, &want), "{case}: {got:?}");
    }
}

#[test]
fn times_are_judged_to_the_second() {
    let begin = now();
    let ours = Authority::root("ours");
    let chain = ours.chain(|leaf| {
        leaf.not_before = begin.into();
        leaf.not_after = (begin + hours(1)).into();
    });
    let second = std::time::Duration::from_secs(1);
    for (case, at, want) in [
        ("before", begin - second, Err(PeerError::NotYetValid { not_before: begin })),
        ("first second", begin, Ok(begin + hours(1))),
        ("last second", begin + hours(1), Ok(begin + hours(1))),
        ("after", begin + hours(1) + second, Err(PeerError::Expired { not_after: begin + hours(1) })),
    ] {
        let got =
            ours.trusted_for("ours").verify_peer(&chain, Usage::Client, at).map(|peer| peer.not_after());
        assert_eq!(got, want, "{case}");
    }
}

#[test]
fn the_first_certificate_to_expire_ends_the_peer() {
    let end = now() + hours(7);
    let long = |params: &mut rcgen::CertificateParams| params.not_after = (now() + hours(500)).into();
    let short = |params: &mut rcgen::CertificateParams| params.not_after = end.into();
    for (case, root, chain) in [
        ("the leaf", Authority::root("ours"), None),
        ("the intermediate", Authority::root("ours"), Some(())),
        ("the root", Authority::root_with("ours", short), None),
    ]
    .map(|(case, root, middle)| {
        let chain = match (case, middle) {
            (_, Some(())) => root.intermediate(short).chain(long),
            ("the leaf", None) => root.chain(short),
            (_, None) => root.chain(long),
        };
        (case, root, chain)
    }) {
        let peer = root.trusted_for("ours").verify_peer(&chain, Usage::Client, now()).unwrap();
        assert_eq!(peer.not_after(), end, "{case}");
        assert_eq!(peer.identity(), &identity("spiffe://ours/ns/a/sa/b"), "{case}");
    }
}

#[test]
fn an_expired_root_vouches_no_more() {
    let root = Authority::root_with("ours", |root| root.not_after = (now() - hours(1)).into());
    let got = root.trusted_for("ours").verify_peer(&root.chain(|_| {}), Usage::Client, now());
    assert_eq!(got, Err(PeerError::RootsNotValid { trust_domain: "ours".into() }));
}

#[test]
fn a_rotation_passes_through_two_roots() {
    let (old, new) = (Authority::root("old"), Authority::root("new"));
    let both = TrustBundle::from_pem("ours", [old.pem() + &new.pem()]).unwrap();
    for (case, trust, of_old, of_new) in [
        ("before", old.trusted_for("ours"), true, false),
        ("during", both, true, true),
        ("after", new.trusted_for("ours"), false, true),
    ] {
        let judge = |from: &Authority| trust.verify_peer(&from.chain(|_| {}), Usage::Client, now()).is_ok();
        assert_eq!((judge(&old), judge(&new)), (of_old, of_new), "{case}");
    }
}

#[test]
fn bundles_are_equal_whatever_the_order() {
    let (one, two) = (Authority::root("one"), Authority::root("two"));
    let forth = TrustBundle::from_pem("ours", [one.pem(), two.pem()]).unwrap();
    let back = TrustBundle::from_pem("ours", [two.pem() + &one.pem() + &two.pem()]).unwrap();
    assert_eq!(forth, back);
    assert_eq!(forth.fingerprint(), back.fingerprint());
    assert_eq!(forth.roots("ours").count(), 2);
    for (case, other) in [
        ("one less", one.trusted_for("ours")),
        ("another domain", TrustBundle::from_pem("theirs", [one.pem(), two.pem()]).unwrap()),
        ("empty", TrustBundle::default()),
    ] {
        assert_ne!(forth, other, "{case}");
        assert_ne!(forth.fingerprint(), other.fingerprint(), "{case}");
    }
}

#[test]
fn texts_that_make_no_bundle_leave_it_as_it_was() {
    let ours = Authority::root("ours");
    let leaf = ours.leaf(&identity("spiffe://ours/ns/a/sa/b"));
    let leaf_pem = pem_of(&leaf.chain()[0]);
    let many = (0..=ROOTS_MAX).map(|_| Authority::root("many").pem()).collect::<String>();
    let mut bundle = ours.trusted_for("ours");
    let before = bundle.clone();
    for (case, text, matches) in [
        (
            "empty",
            String::new(),
            (|error| matches!(error, BundleError::Empty { .. })) as fn(&BundleError) -> bool,
        ),
        ("no PEM", "hello".to_owned(), |error| matches!(error, BundleError::Empty { .. })),
        ("cut short", ours.pem()[..100].to_owned(), |error| matches!(error, BundleError::Pem { .. })),
        ("a leaf", leaf_pem, |error| matches!(error, BundleError::NotAnAuthority { index: 0, .. })),
        ("a good one and garbage", ours.pem() + &pem_of(&[1, 2, 3]), |error| {
            matches!(error, BundleError::Certificate { index: 1, source: BadCertificate::Malformed, .. })
        }),
        ("too many", many, |error| matches!(error, BundleError::TooMany { .. })),
    ] {
        let error = bundle.add_pem("ours", [text]).unwrap_err();
        assert!(matches(&error), "{case}: {error:?}");
        assert_eq!(bundle, before, "{case}");
    }
}

#[test]
fn bytes_that_were_changed_are_judged_without_a_panic() {
    let ours = Authority::root("ours");
    let trust = ours.trusted_for("ours");
    let leaf = ours.chain(|_| {}).remove(0);
    for at in 0..leaf.len() {
        for flip in [1_u8, 0x80] {
            let mut bytes = leaf.to_vec();
            bytes[at] ^= flip;
            // Any answer to the claim is fine; the judgement must be a refusal.
            let _ = claimed_identity(&bytes);
            let chain = [CertificateDer::from(bytes)];
            assert!(trust.verify_peer(&chain, Usage::Client, now()).is_err(), "byte {at} ^ {flip}");
        }
    }
}

#[test]
fn reasons_survive_the_way_through_rustls() {
    let at = now();
    for reason in [
        PeerError::NoCertificate,
        PeerError::UnknownIssuer,
        PeerError::BadSignature,
        PeerError::Expired { not_after: at },
        PeerError::NotYetValid { not_before: at },
        PeerError::WrongUsage { usage: Usage::Client },
        PeerError::Leaf(BadCertificate::San(BadSan::NoUri)),
        PeerError::UnknownTrustDomain { trust_domain: Arc::from("td") },
        PeerError::Unexpected { presented: identity("spiffe://ours/ns/a/sa/b") },
    ] {
        let error = reason.clone().into_rustls(crate::peer::unix_time(at));
        assert_eq!(PeerError::from_rustls(&error), Some(reason));
    }
    assert_eq!(PeerError::from_rustls(&rustls::Error::DecryptError), None);
}

/// Compares two judgements; the times in them were taken a moment apart.
fn same(got: &Result<(), PeerError>, want: &Result<(), PeerError>) -> bool {
    match (got, want) {
        (Err(PeerError::Expired { .. }), Err(PeerError::Expired { .. })) => true,
        (got, want) => got == want,
    }
}

fn changed(mut chain: Chain) -> Chain {
    let mut leaf = chain[0].to_vec();
    *leaf.last_mut().unwrap() ^= 1;
    chain[0] = CertificateDer::from(leaf);
    chain
}

fn longer(mut chain: Chain) -> Chain {
    let mut leaf = chain[0].to_vec();
    leaf.push(0);
    chain[0] = CertificateDer::from(leaf);
    chain
}

fn pem_of(der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}
