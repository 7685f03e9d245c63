//! From a request to a leaf, through memory to the next process, and everything that may go wrong between.

use super::authority::{Authority, hours, identity, now, uri};
use crate::certificate::CHAIN_CERTS_MAX;
use crate::{CertificateRequest, CompleteError, Leaf, LeafError, SealedError, renew_at};

const WEB: &str = "spiffe://ours/ns/a/sa/web";

#[test]
fn an_answer_makes_a_leaf() {
    let ours = Authority::root("ours");
    let leaf = ours.leaf(&identity(WEB));
    assert_eq!(leaf.identity(), &identity(WEB));
    assert_eq!(leaf.chain().len(), 1, "the root is not presented");
    // `now` may have moved on by a second since the leaf was signed.
    assert!(leaf.not_after() <= now() + hours(1));
    assert_eq!(leaf.not_after().duration_since(leaf.not_before()).unwrap(), hours(2));
    assert_eq!(renew_at(&leaf, 0.0), leaf.not_before() + hours(1));
}

#[test]
fn answers_that_do_not_fit_are_refused() {
    let ours = Authority::root("ours");
    let other = CertificateRequest::generate(&identity(WEB)).unwrap();
    type Answer = Box<dyn Fn(&CertificateRequest) -> Vec<String>>;
    type Matches = fn(&CompleteError) -> bool;
    let cases: [(&str, Answer, Matches); 8] = [
        ("nothing", Box::new(|_| vec![]), |error| matches!(error, CompleteError::Leaf(LeafError::Empty))),
        ("an empty text", Box::new(|_| vec![String::new()]), |error| {
            matches!(error, CompleteError::Empty { index: 0 })
        }),
        (
            "broken PEM",
            Box::new({
                let pem = ours.pem();
                move |_| vec![pem[..90].to_owned()]
            }),
            |error| matches!(error, CompleteError::Pem { index: 0, .. }),
        ),
        (
            "another identity",
            Box::new({
                let ours = Authority::root("ours");
                move |request| {
                    ours.answer(request.csr_pem(), |leaf| {
                        leaf.subject_alt_names = vec![uri("spiffe://ours/ns/a/sa/db")];
                    })
                }
            }),
            |error| matches!(error, CompleteError::Leaf(LeafError::WrongIdentity { .. })),
        ),
        (
            "another key",
            Box::new({
                let ours = Authority::root("ours");
                move |_| ours.answer(other.csr_pem(), |_| {})
            }),
            |error| matches!(error, CompleteError::Leaf(LeafError::WrongKey)),
        ),
        (
            "no identity",
            Box::new({
                let ours = Authority::root("ours");
                move |request| ours.answer(request.csr_pem(), |leaf| leaf.subject_alt_names.clear())
            }),
            |error| matches!(error, CompleteError::Leaf(LeafError::Certificate { index: 0, .. })),
        ),
        (
            "the root alone",
            Box::new({
                let pem = ours.pem();
                move |_| vec![pem.clone()]
            }),
            |error| matches!(error, CompleteError::Leaf(LeafError::Certificate { index: 0, .. })),
        ),
        (
            "too long a chain",
            Box::new({
                let ours = Authority::root("ours");
                let middle = ours.intermediate(|_| {}).pem();
                move |request| {
                    let mut answer = ours.answer(request.csr_pem(), |_| {});
                    answer[1] = middle.repeat(CHAIN_CERTS_MAX);
                    answer
                }
            }),
            |error| matches!(error, CompleteError::Leaf(LeafError::TooLong { length: 9 })),
        ),
    ];
    for (case, answer, matches) in cases {
        let request = CertificateRequest::generate(&identity(WEB)).unwrap();
        let answer = answer(&request);
        let error = request.complete(&answer).unwrap_err();
        assert!(matches(&error), "{case}: {error:?}");
    }
}

#[test]
fn a_sealed_leaf_is_the_same_leaf() {
    let ours = Authority::root("ours");
    let leaf = ours.leaf(&identity(WEB));
    let sealed = leaf.to_sealed();
    let again = Leaf::from_sealed(&sealed).unwrap();
    assert_eq!(again.identity(), leaf.identity());
    assert_eq!(again.chain(), leaf.chain());
    assert_eq!(again.fingerprint(), leaf.fingerprint());
    assert_eq!((again.not_before(), again.not_after()), (leaf.not_before(), leaf.not_after()));
    assert_eq!(again.to_sealed(), sealed);
}

#[test]
fn bytes_that_are_no_sealed_leaf_are_refused() {
    let ours = Authority::root("ours");
    let leaf = ours.leaf(&identity(WEB));
    let other = ours.leaf(&identity(WEB));
    let sealed = leaf.to_sealed();
    let field = |bytes: &[u8]| [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat();
    let made = |identity: &[u8], key: &[u8], chain: &[&[u8]]| {
        let certs = chain.iter().flat_map(|cert| field(cert)).collect();
        [b"WLF\x01".to_vec(), field(identity), field(key), certs].concat()
    };
    let (web, key, cert) = (WEB.as_bytes(), leaf.key_pkcs8(), leaf.chain()[0].as_ref());
    for (case, bytes, matches) in [
        ("nothing", vec![], (|error| matches!(error, SealedError::NotSealed)) as fn(&SealedError) -> bool),
        ("something else", b"{\"leaf\":1}".to_vec(), |error| matches!(error, SealedError::NotSealed)),
        ("a later version", [b"WLF\x02", &sealed[4..]].concat(), |error| {
            matches!(error, SealedError::Version { version: 2 })
        }),
        ("a huge length", b"WLF\x01\xff\xff\xff\xffabc".to_vec(), |error| {
            matches!(error, SealedError::Truncated)
        }),
        ("a byte too many", [&sealed[..], &[0]].concat(), |error| matches!(error, SealedError::Truncated)),
        ("no text", made(&[0xff], key, &[cert]), |error| matches!(error, SealedError::IdentityText)),
        ("no identity", made(b"web", key, &[cert]), |error| matches!(error, SealedError::Identity(_))),
        ("another identity", made(b"spiffe://ours/ns/a/sa/db", key, &[cert]), |error| {
            matches!(error, SealedError::Leaf(LeafError::WrongIdentity { .. }))
        }),
        ("another key", made(web, other.key_pkcs8(), &[cert]), |error| {
            matches!(error, SealedError::Leaf(LeafError::WrongKey))
        }),
        ("no key", made(web, &[], &[cert]), |error| matches!(error, SealedError::Leaf(LeafError::Key(_)))),
        ("no certificate", made(web, key, &[]), |error| matches!(error, SealedError::Leaf(LeafError::Empty))),
        ("too many certificates", made(web, key, &[cert; CHAIN_CERTS_MAX + 1]), |error| {
            matches!(error, SealedError::TooManyCertificates)
        }),
    ] {
        let error = Leaf::from_sealed(&bytes).unwrap_err();
        assert!(matches(&error), "{case}: {error:?}");
    }
    for end in 0..sealed.len() {
        assert!(Leaf::from_sealed(&sealed[..end]).is_err(), "cut at {end}");
    }
    for at in 0..sealed.len() {
        let mut bytes = sealed.to_vec();
        bytes[at] ^= 1;
        // Some changes are harmless (a signature is the peers' to check); none may panic.
        let _ = Leaf::from_sealed(&bytes);
    }
}

#[test]
fn debug_never_shows_a_key() {
    let ours = Authority::root("ours");
    let request = CertificateRequest::generate(&identity(WEB)).unwrap();
    let shown = format!("{request:?}");
    assert_eq!(shown, format!("CertificateRequest {{ identity: {WEB}, .. }}"));
    let leaf = ours.leaf(&identity(WEB));
    let shown = format!("{leaf:?} {leaf:#?}");
    let key = leaf.key_pkcs8();
    assert!(!shown.contains("key"), "{shown}");
    assert!(!shown.contains(&format!("{:?}", &key[..8])), "{shown}");
}
