//! Certificates that a stranger presents.

use super::leaf::SEALED;
use rustls_pki_types::CertificateDer;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};
use weft_core::identity::Identity;
use weft_pki::{BadCertificate, Leaf, TrustBundle, Usage, claimed_identity};

pub(super) const WORDS: &[&str] = &[
    "spiffe://cluster.local/ns/shop/sa/web",
    "\u{2}\u{1}",
    "\x30\u{82}",
    "\x06\x03\x55\x1d\x11",
    "\x01\x01\u{7f}",
    "\x05\0",
];

/// Made with the leaf.
const ROOT: &str = include_str!("../../seeds/root.pem");

struct World {
    genuine: Vec<u8>,
    trust: TrustBundle,
    now: SystemTime,
}

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let leaf = Leaf::from_sealed(SEALED).expect("the seed is a leaf");
        let genuine = leaf.chain().first().expect("a leaf has a certificate").to_vec();
        let trust = TrustBundle::from_pem("cluster.local", [ROOT]).expect("the seed is a root");
        World { genuine, trust, now: leaf.not_before() + Duration::from_secs(60) }
    })
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let World { genuine, trust, .. } = world();
    let roots = trust.roots("cluster.local").map(|root| root.to_vec());
    [genuine.clone()].into_iter().chain(roots).collect()
}

/// A claim is an identity; bytes behind a certificate make it none; and nobody passes but the one that was signed.
pub(super) fn run(bytes: &[u8]) {
    let World { genuine, trust, now } = world();
    if let Ok(identity) = claimed_identity(bytes) {
        assert_eq!(identity.to_string().parse::<Identity>(), Ok(identity));
        let longer = [bytes, &[0]].concat();
        assert_eq!(claimed_identity(&longer), Err(BadCertificate::Malformed));
    }
    let presented = [CertificateDer::from(bytes)];
    let passed = trust.verify_peer(&presented, Usage::Client, *now).is_ok();
    assert_eq!(passed, bytes == genuine, "passed: {passed}");
    let behind = [CertificateDer::from(genuine.as_slice()), CertificateDer::from(bytes)];
    assert!(
        trust.verify_peer(&behind, Usage::Server, *now).is_ok(),
        "what follows a good leaf does not spoil it"
    );
}
