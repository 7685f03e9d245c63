//! What a client puts into SNI (RFC 6066 §3), which travels in clear text.

use std::fmt::Write as _;
use std::net::IpAddr;

use aws_lc_rs::digest;
use rustls_pki_types::ServerName;
use weft_core::identity::Identity;

/// The server name under which the tunnel of `identity` is asked for in Weft's own dialect: 32 hexadecimal
/// digits and `.weft`.
///
/// It is a shortened SHA-256 of the SPIFFE URI, so that it fits a DNS label whatever the identity's length
/// and does not show the identity on the wire (someone who guesses the identity can confirm the guess). It
/// only chooses a certificate; what the certificate says is checked all the same.
pub fn tunnel_server_name(identity: &Identity) -> ServerName<'static> {
    let digest = digest::digest(&digest::SHA256, identity.to_string().as_bytes());
    let mut name = String::with_capacity(2 * TUNNEL_NAME_BYTES + SUFFIX.len());
    for byte in digest.as_ref().iter().take(TUNNEL_NAME_BYTES) {
        // Writing into a String cannot fail.
        let _ = write!(name, "{byte:02x}");
    }
    name.push_str(SUFFIX);
    ServerName::try_from(name).expect("hexadecimal digits and a short suffix are a DNS name")
}

/// Bytes of the digest that are kept: 128 bits, so that no two identities of a mesh meet by chance.
const TUNNEL_NAME_BYTES: usize = 16;

/// Ends every tunnel name, and tells them from the names of other software.
const SUFFIX: &str = ".weft";

/// The server name for an HBONE peer, which is dialled by address: rustls then sends no SNI at all
/// (RFC 6066 §3 allows no addresses there).
pub fn ip_server_name(ip: IpAddr) -> ServerName<'static> {
    ServerName::from(ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tunnel_names_are_opaque_stable_and_distinct() {
        let name = |text: &str| {
            let identity = text.parse::<Identity>().unwrap();
            tunnel_server_name(&identity).to_str().into_owned()
        };
        let long = format!("spiffe://td/ns/{}/sa/b", "n".repeat(500));
        for text in ["spiffe://td/ns/a/sa/b", "spiffe://td/ns/a/sa/c", long.as_str()] {
            let got = name(text);
            assert_eq!(got.len(), 37, "{text}");
            assert!(got.ends_with(".weft"), "{text}");
            assert_eq!(got, name(text), "{text}");
        }
        assert_ne!(name("spiffe://td/ns/a/sa/b"), name("spiffe://td/ns/a/sa/c"));
        // A change of this value would keep nodes of two versions from finding each other's certificates.
        assert_eq!(name("spiffe://cluster.local/ns/default/sa/web"), WEB);
    }

    const WEB: &str = "b86ac57d10c3ca9f23e51830b3707811.weft";

    #[test]
    fn addresses_are_no_dns_names() {
        let ip = "10.0.0.1".parse().unwrap();
        assert!(matches!(ip_server_name(ip), ServerName::IpAddress(_)));
    }
}
