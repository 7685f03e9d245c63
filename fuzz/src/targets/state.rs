//! A saved configuration: once as it is, and once with the checksum that its bytes should have, since no other
//! passes the first check.

use super::samples;
use bytes::Bytes;
use weft_proto::state::{BadState, Saved, checksum, decode_state, encode_state};
use weft_proto::{ADDRESS_TYPE, encode_service};

pub(super) const WORDS: &[&str] = &["weftlkc", "\x12\x02", "\x0a\0"];

/// Magic and checksum.
const HEAD: usize = 16;

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let one = Saved {
        name: "shop/web.shop.svc.cluster.local".to_owned(),
        version: "7".to_owned(),
        type_url: ADDRESS_TYPE.to_owned(),
        body: encode_service(&samples::full_service()).into(),
    };
    vec![
        encode_state("0.1.0", []),
        encode_state("0.1.0", [one.clone()]),
        encode_state("0.1.0", [one.clone(), Saved { name: String::new(), ..one }]),
    ]
}

/// What is read comes back as it went, and one bit of it more or less is noticed.
pub(super) fn run(bytes: &[u8]) {
    check(bytes.to_vec());
    if let Some((head, rest)) = bytes.split_at_checked(HEAD) {
        check([&head[..8], &checksum(rest).to_be_bytes(), rest].concat());
    }
}

fn check(mut file: Vec<u8>) {
    let Ok(state) = decode_state(&Bytes::from(file.clone())) else {
        return;
    };
    let written = encode_state(&state.writer, state.resources.iter().cloned());
    assert_eq!(decode_state(&Bytes::from(written)), Ok(state));
    let at = file.len() - 1;
    file[at] ^= 1;
    assert_eq!(decode_state(&Bytes::from(file)), Err(BadState::Checksum));
}
