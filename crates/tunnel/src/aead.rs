//! The ciphers of TLS 1.3 (RFC 8446 §B.4), each from the library that is fastest at it on this processor.
//!
//! The library of the handshakes is aws-lc. Its AES-GCM uses the wide AES instructions only where there is AVX-512 too,
//! and processors with the one and not the other are common (AMD's Zen 3, Intel's clients since 2021): there ring's does
//! 7.0 GB/s where aws-lc's does 3.9, and AES-GCM is what carrying bytes in bulk costs most. When aws-lc has caught up,
//! ring goes.

use aws_lc_rs::aead as aws;
use ring::aead as ring;
use rustls::ConnectionTrafficSecrets;

/// Bytes of a nonce, with every cipher of TLS 1.3.
pub(crate) const NONCE_BYTES: usize = 12;
/// Bytes of a tag, with every cipher that is offered.
pub(crate) const TAG_BYTES: usize = 16;

/// A key, and the cipher that it is for. Whoever holds it never uses a nonce twice.
pub(crate) enum Aead {
    Aws(aws::LessSafeKey),
    /// Half a kilobyte, which aws-lc's key keeps behind a pointer too.
    Ring(Box<ring::LessSafeKey>),
}

impl Aead {
    /// `None` if the cipher is none of TLS 1.3's.
    pub(crate) fn new(secrets: &ConnectionTrafficSecrets) -> Option<(Self, [u8; NONCE_BYTES])> {
        let (aws, ring, key, iv) = match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => {
                (&aws::AES_128_GCM, Some(&ring::AES_128_GCM), key, iv)
            }
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => {
                (&aws::AES_256_GCM, Some(&ring::AES_256_GCM), key, iv)
            }
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => {
                (&aws::CHACHA20_POLY1305, None, key, iv)
            }
            _ => return None,
        };
        let aead = match ring.filter(|_| wide_aes_without_avx512()) {
            Some(cipher) => Self::ring(cipher, key.as_ref())?,
            None => Self::aws(aws, key.as_ref())?,
        };
        Some((aead, iv.as_ref().try_into().ok()?))
    }

    fn aws(cipher: &'static aws::Algorithm, key: &[u8]) -> Option<Self> {
        Some(Self::Aws(aws::LessSafeKey::new(aws::UnboundKey::new(cipher, key).ok()?)))
    }

    fn ring(cipher: &'static ring::Algorithm, key: &[u8]) -> Option<Self> {
        Some(Self::Ring(Box::new(ring::LessSafeKey::new(ring::UnboundKey::new(cipher, key).ok()?))))
    }

    /// Seals `bytes` where they lie, and returns the tag. `None` if they are more than the cipher allows.
    pub(crate) fn seal(
        &self,
        nonce: [u8; NONCE_BYTES],
        authenticated: &[u8],
        bytes: &mut [u8],
    ) -> Option<[u8; TAG_BYTES]> {
        match self {
            Self::Aws(key) => {
                let nonce = aws::Nonce::assume_unique_for_key(nonce);
                let tag = key.seal_in_place_separate_tag(nonce, aws::Aad::from(authenticated), bytes);
                tag.ok()?.as_ref().try_into().ok()
            }
            Self::Ring(key) => {
                let nonce = ring::Nonce::assume_unique_for_key(nonce);
                let tag = key.seal_in_place_separate_tag(nonce, ring::Aad::from(authenticated), bytes);
                tag.ok()?.as_ref().try_into().ok()
            }
        }
    }

    /// Opens `sealed`, whose tag stands last, where it lies, and returns what was in it. `None` if it is not what was
    /// sealed with this key and nonce.
    pub(crate) fn open<'a>(
        &self,
        nonce: [u8; NONCE_BYTES],
        authenticated: &[u8],
        sealed: &'a mut [u8],
    ) -> Option<&'a mut [u8]> {
        match self {
            Self::Aws(key) => {
                let nonce = aws::Nonce::assume_unique_for_key(nonce);
                key.open_in_place(nonce, aws::Aad::from(authenticated), sealed).ok()
            }
            Self::Ring(key) => {
                let nonce = ring::Nonce::assume_unique_for_key(nonce);
                key.open_in_place(nonce, ring::Aad::from(authenticated), sealed).ok()
            }
        }
    }
}

/// Whether ring's AES-GCM is the faster one here.
#[cfg(target_arch = "x86_64")]
fn wide_aes_without_avx512() -> bool {
    use std::arch::is_x86_feature_detected as has;
    has!("vaes") && has!("vpclmulqdq") && has!("avx2") && !has!("avx512bw")
}

#[cfg(not(target_arch = "x86_64"))]
const fn wide_aes_without_avx512() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both libraries, whatever processor the test runs on: what one seals the other opens, at every length around
    /// their blocks, and no changed byte passes.
    #[test]
    fn both_libraries_speak_the_same_ciphers() {
        let key = [7; 32];
        let pairs = [
            (&aws::AES_128_GCM, &ring::AES_128_GCM, &key[..16]),
            (&aws::AES_256_GCM, &ring::AES_256_GCM, &key[..]),
        ];
        for (aws, ring, key) in pairs {
            let aws = Aead::aws(aws, key).expect("a key of this cipher");
            let ring = Aead::ring(ring, key).expect("a key of this cipher");
            for length in (0..600).chain([16_384, 16_385]) {
                let plain: Vec<u8> = (0..length).map(|at| at as u8).collect();
                for (near, far) in [(&aws, &ring), (&ring, &aws)] {
                    let mut sealed = plain.clone();
                    let tag = near.seal([9; NONCE_BYTES], b"header", &mut sealed).expect("sealed");
                    sealed.extend_from_slice(&tag);
                    let mut changed = sealed.clone();
                    changed[length / 2] ^= 1;
                    assert!(far.open([9; NONCE_BYTES], b"header", &mut changed).is_none());
                    assert!(far.open([9; NONCE_BYTES], b"hEader", &mut sealed.clone()).is_none());
                    let opened = far.open([9; NONCE_BYTES], b"header", &mut sealed);
                    assert_eq!(opened.as_deref(), Some(&plain[..]), "{length} bytes");
                }
            }
        }
    }
}
