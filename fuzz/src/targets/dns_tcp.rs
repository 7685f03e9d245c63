//! Messages of a DNS connection, each with its length in front.

use weft_dns::tcp::{Front, cut, frame};

pub(super) const WORDS: &[&str] = &["\0\0", "\0\x01", "\0\x0c"];

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let framed = |message: &[u8]| frame(message).expect("short");
    vec![
        framed(b"one"),
        [framed(b"one"), framed(b""), framed(b"three")].concat(),
        [framed(&[7; 500]), vec![0]].concat(),
    ]
}

/// What is cut off and what is left are the whole, and what is missing is neither more nor less than it says.
pub(super) fn run(bytes: &[u8]) {
    let mut rest = bytes;
    while let Front::Message(message, next) = cut(rest) {
        let whole = [frame(message).expect("its length had two bytes"), next.to_vec()].concat();
        assert_eq!(whole, rest);
        rest = next;
    }
    let Front::Short(missing) = cut(rest) else {
        unreachable!("the loop ends with it");
    };
    assert_ne!(missing, 0);
    let padded = |more: usize| [rest, &vec![0; more]].concat();
    assert!(matches!(cut(&padded(missing - 1)), Front::Short(_)));
    // A length of zeros is a whole message of none.
    assert!(matches!(cut(&padded(missing)), Front::Message(..)) || rest.len() < 2);
}
