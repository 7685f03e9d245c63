//! `BackendTLSPolicy`: a backend speaks TLS, and this is how its certificate is judged.

use crate::check::{Check, Findings, one_of, union};
use crate::gateway_api::matching::{NO_HOSTNAME, NO_PRECISE_HOSTNAME, is_hostname, is_precise_hostname};
use crate::gateway_api::reference::{LocalObjectReference, PolicyTargetReference};
use crate::resource::Resource;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One BackendTLSPolicy.
pub type BackendTlsPolicy = Resource<BackendTlsPolicySpec>;

/// What it applies to, and how certificates are judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BackendTlsPolicySpec {
    /// Backends of its namespace, or single ports of them.
    pub target_refs: Vec<PolicyTargetReference>,
    /// How certificates are judged.
    pub validation: BackendTlsPolicyValidation,
    /// What an implementation may know besides.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
}

/// Which certificates are good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BackendTlsPolicyValidation {
    /// Authorities, in objects; there are some, or the well-known ones.
    #[serde(default)]
    pub ca_certificate_refs: Vec<LocalObjectReference>,
    /// Authorities that are known without an object: `System`, those of the machine.
    #[serde(rename = "wellKnownCACertificates")]
    pub well_known_ca_certificates: Option<String>,
    /// What is said in the handshake (SNI), and what the certificate has to be for unless other names are given.
    pub hostname: String,
    /// Names of which the certificate has to have one, instead of the host's.
    #[serde(default)]
    pub subject_alt_names: Vec<SubjectAltName>,
}

/// A name in a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "SubjectAltNameFields", into = "SubjectAltNameFields")]
pub enum SubjectAltName {
    /// A host, which may begin with `*.`.
    Hostname(String),
    /// A URI, such as a SPIFFE identity.
    Uri(String),
}

/// As it is written.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SubjectAltNameFields {
    #[serde(rename = "type")]
    kind: SubjectAltNameType,
    hostname: Option<String>,
    uri: Option<String>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
enum SubjectAltNameType {
    Hostname,
    #[serde(rename = "URI")]
    Uri,
}

impl TryFrom<SubjectAltNameFields> for SubjectAltName {
    type Error = String;

    fn try_from(fields: SubjectAltNameFields) -> Result<Self, String> {
        let SubjectAltNameFields { kind, hostname, uri } = fields;
        // An empty text is the same as none, as in the CRD.
        let (hostname, uri) = (hostname.unwrap_or_default(), uri.unwrap_or_default());
        let set = [("hostname", !hostname.is_empty()), ("uri", !uri.is_empty())];
        match kind {
            SubjectAltNameType::Hostname => {
                union("Hostname", "hostname", &set).map(|()| Self::Hostname(hostname))
            }
            SubjectAltNameType::Uri => union("URI", "uri", &set).map(|()| Self::Uri(uri)),
        }
    }
}

impl From<SubjectAltName> for SubjectAltNameFields {
    fn from(name: SubjectAltName) -> Self {
        match name {
            SubjectAltName::Hostname(host) => {
                Self { kind: SubjectAltNameType::Hostname, hostname: Some(host), uri: None }
            }
            SubjectAltName::Uri(uri) => {
                Self { kind: SubjectAltNameType::Uri, hostname: None, uri: Some(uri) }
            }
        }
    }
}

/// Most targets, and most options.
const ITEMS_MAX: usize = 16;
/// Most authorities.
const AUTHORITIES_MAX: usize = 8;
/// Most names.
const NAMES_MAX: usize = 5;

impl Check for BackendTlsPolicySpec {
    fn check(&self, found: &mut Findings) {
        found.count("targetRefs", &self.target_refs, 1..=ITEMS_MAX);
        found.field("targetRefs", &self.target_refs[..]);
        found.unique("targetRefs", &self.target_refs, |target| Some(target.clone()));
        self.check_sections(found);
        found.field("validation", &self.validation);
        found.require("options", self.options.len() <= ITEMS_MAX, "has more than 16 items");
    }
}

impl BackendTlsPolicySpec {
    /// Targets that are one object have to be different parts of it.
    fn check_sections(&self, found: &mut Findings) {
        fn whole(target: &PolicyTargetReference) -> bool {
            target.section_name.as_deref().is_none_or(str::is_empty)
        }
        fn object(target: &PolicyTargetReference) -> (&str, &str, &str) {
            (&target.group, &target.kind, &target.name)
        }
        for (index, target) in self.target_refs.iter().enumerate() {
            let mut before = self.target_refs[..index].iter();
            if before.any(|before| object(before) == object(target) && whole(before) != whole(target)) {
                let reason = "names a target twice, once as a whole: sectionName is for all or for none";
                found.at("targetRefs", |found| found.refuse(reason));
            }
        }
    }
}

impl Check for BackendTlsPolicyValidation {
    fn check(&self, found: &mut Findings) {
        let well_known = self.well_known_ca_certificates.as_deref().filter(|one| !one.is_empty());
        let set = [
            ("caCertificateRefs", !self.ca_certificate_refs.is_empty()),
            ("wellKnownCACertificates", well_known.is_some()),
        ];
        if let Err(reason) = one_of(&set).exactly() {
            found.refuse(reason);
        }
        found.count("caCertificateRefs", &self.ca_certificate_refs, 0..=AUTHORITIES_MAX);
        found.field("caCertificateRefs", &self.ca_certificate_refs[..]);
        found.require("hostname", is_precise_hostname(&self.hostname), NO_PRECISE_HOSTNAME);
        found.count("subjectAltNames", &self.subject_alt_names, 0..=NAMES_MAX);
        found.field("subjectAltNames", &self.subject_alt_names[..]);
    }
}

impl Check for SubjectAltName {
    fn check(&self, found: &mut Findings) {
        match self {
            Self::Hostname(host) => found.require("hostname", is_hostname(host), NO_HOSTNAME),
            Self::Uri(uri) => {
                let scheme = uri
                    .split_once("://")
                    .is_some_and(|(scheme, rest)| !scheme.is_empty() && !rest.is_empty());
                found.require("uri", scheme, "is no URI: spiffe://mesh.example/ns/a/sa/b is");
            }
        }
    }
}
