//! The cryptography that the mesh speaks: aws-lc-rs, TLS 1.3 only.

use std::sync::{Arc, LazyLock};

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider};

/// The provider behind every configuration of this crate.
///
/// It never becomes the process default, so nothing else in the process can change what the mesh speaks.
pub fn provider() -> Arc<CryptoProvider> {
    PROVIDER.clone()
}

static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    Arc::new(CryptoProvider {
        // AES-128 first: RFC 8446 §9.1 makes it the mandatory suite, so every peer has it, and bulk traffic
        // spends a quarter of its time in the cipher.
        cipher_suites: vec![
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        ..default_provider()
    })
});
