//! Sealed leaves, as a process finds them in memory that another one left.

use weft_pki::{Leaf, claimed_identity, renew_at};

pub(super) const WORDS: &[&str] = &["WLF\x01", "spiffe://", "\0\0\0\0", "\u{7f}", "\x30\u{82}"];

/// Made by `cargo run -p weft-fuzz --example make_seeds`.
pub(super) const SEALED: &[u8] = include_bytes!("../../seeds/leaf.sealed");

pub(super) fn seeds() -> Vec<Vec<u8>> {
    vec![SEALED.to_vec(), b"WLF\x02".to_vec()]
}

/// A leaf is consistent, and sealed again it is the same.
pub(super) fn run(bytes: &[u8]) {
    let Ok(leaf) = Leaf::from_sealed(bytes) else {
        return;
    };
    let first = leaf.chain().first().expect("a leaf has a certificate");
    assert_eq!(claimed_identity(first).as_ref(), Ok(leaf.identity()));
    let due = renew_at(&leaf, 1.0);
    assert!(due >= leaf.not_before() && (due <= leaf.not_after() || leaf.not_after() < leaf.not_before()));
    let sealed = leaf.to_sealed();
    let again = Leaf::from_sealed(&sealed).expect("what was sealed is read");
    assert_eq!(*again.to_sealed(), *sealed);
    assert_eq!((again.identity(), again.serial()), (leaf.identity(), leaf.serial()));
    assert!(!format!("{leaf:?}").contains("PRIVATE"));
}
