//! TLS to endpoints.

use crate::check::{Check, Findings};
use serde::{Deserialize, Serialize};

/// TLS to endpoints.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClientTlsSettings {
    /// Whether there is any; none if it was not written.
    #[serde(default)]
    pub mode: ClientTlsMode,
    /// A file with our certificate, for MUTUAL.
    pub client_certificate: Option<String>,
    /// A file with its key, for MUTUAL.
    pub private_key: Option<String>,
    /// A file with authorities; nothing is verified if there is none, and no name of a Secret.
    pub ca_certificates: Option<String>,
    /// A Secret in place of the files.
    pub credential_name: Option<String>,
    /// Names of which the certificate has to have one; as the service says if it is empty.
    #[serde(default)]
    pub subject_alt_names: Vec<String>,
    /// What is said in the handshake; the request's host if there is none.
    pub sni: Option<String>,
    /// Whether certificates are not verified; as the mesh says if there is none.
    pub insecure_skip_verify: Option<bool>,
    /// A file with certificates that were revoked.
    pub ca_crl: Option<String>,
}

/// Whether there is TLS to endpoints.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ClientTlsMode {
    /// None.
    #[default]
    Disable,
    /// The endpoint shows a certificate.
    Simple,
    /// Both show certificates, ours from a file or a Secret.
    Mutual,
    /// Both show certificates of the mesh.
    IstioMutual,
}

impl Check for ClientTlsSettings {
    fn check(&self, found: &mut Findings) {
        let own = [
            ("clientCertificate", &self.client_certificate),
            ("privateKey", &self.private_key),
            ("caCertificates", &self.ca_certificates),
            ("credentialName", &self.credential_name),
        ];
        if self.mode == ClientTlsMode::IstioMutual {
            for (key, value) in own {
                found.require(
                    key,
                    value.is_none(),
                    "is not for ISTIO_MUTUAL, which has certificates of the mesh",
                );
            }
        }
        if self.mode == ClientTlsMode::Mutual && self.credential_name.is_none() {
            for (key, value) in &own[..2] {
                found.require(key, value.is_some(), "is missing, and MUTUAL needs it or credentialName");
            }
        }
        if self.credential_name.is_some() {
            for (key, value) in &own[..3] {
                let both = value.is_some() && self.mode != ClientTlsMode::IstioMutual;
                found.require(key, !both, "is a file, and credentialName is there in place of files");
            }
        }
    }
}
