//! L4 policies of discovery. The input's first line is the resource's name, the rest its bytes.

use super::samples;
use std::sync::Arc;
use weft_core::identity::Identity;
use weft_core::policy::{
    Action, Applicable, Connection, Denial, Enforcement, Policy, PolicyScope, Rule, Ruleset, Verdict, decide,
};
use weft_proto::{Read, decode_authorization, encode_authorization};

pub(super) const WORDS: &[&str] = &[
    "shop/p\n",
    "\n",
    "/",
    "\x08\x01",
    "\x20\x01",
    "\x30\x01",
    "weft.dev/unusable",
    "\x78\0",
    "\x48\x50\x50\x50",
];

/// A field that no version of the message has: number 15, zero.
const UNKNOWN_FIELD: [u8; 2] = [0x78, 0];

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let rules = || Ruleset::Rules(vec![Rule::default()]);
    let policies = [
        samples::policy(rules()),
        Policy { action: Action::Deny, scope: PolicyScope::Global, ..samples::policy(rules()) },
        Policy { enforcement: Enforcement::DryRun, ..samples::policy(samples::full_rules()) },
        Policy { scope: PolicyScope::Selector, ..samples::policy(samples::full_rules()) },
        samples::policy(Ruleset::Unusable("file.yaml:3: unknown field".into())),
    ];
    let encoded = policies.iter().map(encode_authorization);
    encoded.chain([unpacked()]).map(|bytes| [&b"shop/p\n"[..], &bytes].concat()).collect()
}

/// A policy whose lists of ports are written one by one, as an encoder may (they then take a byte less than packed).
fn unpacked() -> Vec<u8> {
    let nested = |tag: u8, inner: &[u8]| [&[tag, inner.len() as u8], inner].concat();
    let ports = [0x48, 80, 0x50, 90];
    [
        nested(0x0a, b"p"),
        nested(0x12, b"shop"),
        vec![0x18, 1],
        nested(0x2a, &nested(0x0a, &nested(0x12, &ports))),
    ]
    .concat()
}

/// What is not understood denies; what is comes back as it went.
pub(super) fn run(bytes: &[u8]) {
    let split = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let name = String::from_utf8_lossy(&bytes[..split]);
    let bytes = bytes.get(split + 1..).unwrap_or_default();
    let Read { policy, complaint } = decode_authorization(&name, bytes);
    if complaint.is_some() {
        assert!(matches!(policy.ruleset, Ruleset::Unusable(_)), "a complaint about {policy:?}");
        assert_eq!(policy.enforcement, Enforcement::Enforced);
    }
    judge(&policy);
    if !policy.name.name.is_empty() {
        let again = decode_authorization(&policy.name.to_string(), &encode_authorization(&policy));
        assert_eq!(again, Read { policy, complaint: None });
    }
    // In front, where it is a field whatever follows.
    let newer = decode_authorization(&name, &[&UNKNOWN_FIELD, bytes].concat());
    assert!(newer.complaint.is_some(), "a field that is not known was passed over");
}

/// An unusable policy that counts denies everybody, and a deciding one never fails.
fn judge(policy: &Policy) {
    let identity = Identity::new("cluster.local", "shop", "web").expect("an identity");
    let applicable = [Applicable::Known(Arc::new(policy.clone()))];
    for (source, source_ip) in [(Some(identity), "10.0.0.1"), (None, "fd00::1")] {
        let connection = Connection {
            source_ip: samples::ip(source_ip),
            source,
            destination_ip: samples::ip("10.0.0.2"),
            destination_port: 80,
        };
        let verdict = decide(&applicable, &connection).verdict;
        match (policy.enforcement, &policy.ruleset) {
            (Enforcement::DryRun, _) => assert_eq!(verdict, Verdict::Allowed(None)),
            (Enforcement::Enforced, Ruleset::Unusable(_)) => {
                assert!(matches!(verdict, Verdict::Denied(Denial::Unusable(..))), "{verdict:?}");
            }
            (Enforcement::Enforced, Ruleset::Rules(_)) => {}
        }
    }
}
