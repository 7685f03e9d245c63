//! TLS that a waypoint begins with a service's endpoints, as DestinationRules and BackendTLSPolicies write it. Certificates come
//! from Secrets and ConfigMaps; what is not there leaves TLS asked for and impossible, so that nothing goes in plain text.

use crate::cluster::Cluster;
use crate::facts::credential::{CredentialFacts, Unfit};
use crate::name::Name;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use weft_control_api::gateway_api::backend_tls_policy::{BackendTlsPolicySpec, SubjectAltName};
use weft_control_api::gateway_api::reference::LocalObjectReference;
use weft_control_api::gateway_api::status::Reason;
use weft_control_api::istio::destination_rule::tls::{ClientTlsMode, ClientTlsSettings};
use weft_l7::destination::{BackendTls, ClientIdentity, Trust};

/// A Secret beside the named one that has its authorities (Istio's DestinationRule, `credentialName`).
const AUTHORITIES_END: &str = "-cacert";

/// How a ConfigMap with authorities is named in a Secret's place: by its name, or `namespace/name`.
const CONFIG_MAP: &str = "configmap://";

/// Files of authorities that images have where their distribution puts those of the machine.
const SYSTEM_FILES: [&str; 5] = [
    "system",
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The only authorities that are known without an object (Gateway API, `WellKnownCACertificatesType`).
pub(super) const WELL_KNOWN: &str = "System";

/// Whether a file is that of the machine's own authorities.
pub(super) fn is_system(file: &str) -> bool {
    SYSTEM_FILES.contains(&file)
}

/// Whether TLS of its own is asked for. Between pods of the mesh the tunnel is the mesh's mutual TLS, also without a word.
pub(super) fn is_begun(settings: &ClientTlsSettings) -> bool {
    match settings.mode {
        ClientTlsMode::Simple | ClientTlsMode::Mutual => true,
        ClientTlsMode::Disable | ClientTlsMode::IstioMutual => false,
    }
}

/// Names of the Secrets and ConfigMaps that may have what the settings need.
pub(super) fn credentials(settings: &ClientTlsSettings) -> Vec<String> {
    let Some(name) = settings.credential_name.as_ref().filter(|_| is_begun(settings)) else {
        return Vec::new();
    };
    match name.strip_prefix(CONFIG_MAP) {
        Some(map) => vec![map.rsplit('/').next().unwrap_or(map).to_owned()],
        None => vec![name.clone(), format!("{name}{AUTHORITIES_END}")],
    }
}

/// What the settings of a DestinationRule need to know around them.
pub(super) struct Around<'a> {
    pub(super) cluster: &'a Cluster,
    /// The waypoint's namespace, whose Secrets are meant; `None` if no waypoint is.
    pub(super) namespace: Option<&'a str>,
    /// Names of the service itself, which stand where a rule has none.
    pub(super) subject_alt_names: &'a [Arc<str>],
}

impl Around<'_> {
    /// What a waypoint begins; `None` if it begins nothing.
    pub(super) fn read(&self, settings: &ClientTlsSettings) -> Option<BackendTls> {
        is_begun(settings).then(|| {
            let names: Vec<Arc<str>> =
                settings.subject_alt_names.iter().map(|one| one.as_str().into()).collect();
            let named = self.named(settings);
            let (trust, client) =
                named.unwrap_or_else(|why| (Trust::Missing(why.into()), ClientIdentity::Nobody));
            BackendTls {
                server_name: settings.sni.as_deref().filter(|sni| !sni.is_empty()).map(Arc::from),
                subject_alt_names: if names.is_empty() { self.subject_alt_names.to_vec() } else { names },
                trust,
                client,
            }
        })
    }

    /// Who vouches for endpoints, and what is shown to them.
    ///
    /// # Errors
    /// What is missing.
    pub(super) fn named(&self, settings: &ClientTlsSettings) -> Result<(Trust, ClientIdentity), String> {
        let unverified = settings.insecure_skip_verify == Some(true);
        let trust = match &settings.credential_name {
            _ if unverified => Trust::Unverified,
            Some(name) => Trust::Roots(self.authorities(name)?),
            // A file that is not the machine's is refused where the rule is read.
            None => Trust::System,
        };
        let client = match (&settings.credential_name, settings.mode) {
            (Some(name), ClientTlsMode::Mutual) => {
                let facts = self.secret(name).ok_or_else(|| self.missing(name))?;
                facts.identity.clone().map_err(|why| self.unfit(name, &why))?
            }
            _ => ClientIdentity::Nobody,
        };
        Ok((trust, client))
    }

    fn secret(&self, name: &str) -> Option<&CredentialFacts> {
        self.cluster.secrets.get(&Name::new(self.namespace?, name))
    }

    /// Those of a ConfigMap of the waypoint's namespace, if one is named.
    fn of_config_map(&self, name: &str) -> Option<Result<Arc<str>, String>> {
        let map = name.strip_prefix(CONFIG_MAP)?;
        let (namespace, map) =
            map.split_once('/').map_or((self.namespace, map), |(namespace, map)| (Some(namespace), map));
        let own = self.namespace.filter(|own| namespace == Some(*own));
        let facts = own.and_then(|own| self.cluster.config_maps.get(&Name::new(own, map)));
        let missing = || {
            let own = self.namespace.unwrap_or_default();
            format!("there is no ConfigMap {map} in the waypoint's namespace {own}")
        };
        Some(facts.ok_or_else(missing).and_then(|facts| {
            let unfit = |why: Unfit| format!("ConfigMap {}/{map}: {why}", namespace.unwrap_or_default());
            facts.authorities.clone().map_err(unfit)
        }))
    }

    /// Those of the Secret that is there for them, else of the named one.
    fn authorities(&self, name: &str) -> Result<Arc<str>, String> {
        if let Some(authorities) = self.of_config_map(name) {
            return authorities;
        }
        let apart = format!("{name}{AUTHORITIES_END}");
        let (name, facts) = match self.secret(&apart) {
            Some(facts) => (&*apart, facts),
            None => (name, self.secret(name).ok_or_else(|| self.missing(name))?),
        };
        facts.authorities.clone().map_err(|why| self.unfit(name, &why))
    }

    fn missing(&self, name: &str) -> String {
        match self.namespace {
            Some(namespace) => format!("there is no Secret {name} in the waypoint's namespace {namespace}"),
            None => format!("no waypoint has a Secret {name}"),
        }
    }

    fn unfit(&self, name: &str, why: &Unfit) -> String {
        format!("Secret {}/{name}: {why}", self.namespace.unwrap_or_default())
    }
}

/// Why a reference to authorities leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum BadAuthorities {
    Kind { kind: String, name: String },
    Missing { kind: String, name: String },
    Unfit { kind: String, name: String, why: Unfit },
}

impl fmt::Display for BadAuthorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind { kind, name } => write!(f, "{kind} {name} is no ConfigMap and no Secret"),
            Self::Missing { kind, name } => write!(f, "there is no {kind} {name}"),
            Self::Unfit { kind, name, why } => write!(f, "{kind} {name}: {why}"),
        }
    }
}

impl BadAuthorities {
    /// What the condition `ResolvedRefs` says (Gateway API, `BackendTLSPolicyValidation`).
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::Kind { .. } => Reason::InvalidKind,
            Self::Missing { .. } | Self::Unfit { .. } => Reason::InvalidCaCertificateRef,
        }
    }
}

/// The ConfigMaps and Secrets that a policy of this namespace names.
pub(super) fn authorities_of(spec: &BackendTlsPolicySpec, namespace: &str) -> BTreeSet<Name> {
    spec.validation.ca_certificate_refs.iter().map(|one| Name::new(namespace, one.name.as_str())).collect()
}

/// The authorities of a reference of a policy of this namespace.
pub(super) fn resolve(
    cluster: &Cluster,
    namespace: &str,
    reference: &LocalObjectReference,
) -> Result<Arc<str>, BadAuthorities> {
    let (kind, name) = (reference.kind.clone(), reference.name.clone());
    let objects = match (&*reference.group, &*reference.kind) {
        ("", "ConfigMap") => &cluster.config_maps,
        ("", "Secret") => &cluster.secrets,
        _ => return Err(BadAuthorities::Kind { kind, name }),
    };
    let facts = objects.get(&Name::new(namespace, name.as_str()));
    match facts.map(|facts| facts.authorities.clone()) {
        None => Err(BadAuthorities::Missing { kind, name }),
        Some(authorities) => authorities.map_err(|why| BadAuthorities::Unfit { kind, name, why }),
    }
}

/// What a BackendTLSPolicy of this namespace says. References that lead nowhere are left out, unless nothing else is left.
pub(super) fn of_policy(cluster: &Cluster, namespace: &str, spec: &BackendTlsPolicySpec) -> BackendTls {
    let validation = &spec.validation;
    let subject_alt_names = validation.subject_alt_names.iter().map(|name| match name {
        SubjectAltName::Hostname(name) | SubjectAltName::Uri(name) => name.as_str().into(),
    });
    BackendTls {
        server_name: Some(validation.hostname.as_str().into()),
        subject_alt_names: subject_alt_names.collect(),
        trust: trust(cluster, namespace, spec),
        client: ClientIdentity::Nobody,
    }
}

fn trust(cluster: &Cluster, namespace: &str, spec: &BackendTlsPolicySpec) -> Trust {
    let validation = &spec.validation;
    match validation.well_known_ca_certificates.as_deref() {
        Some(WELL_KNOWN) => return Trust::System,
        None | Some("") => {}
        Some(other) => return Trust::Missing(not_well_known(other).into()),
    }
    let (mut roots, mut bad) = (String::new(), Vec::new());
    for reference in &validation.ca_certificate_refs {
        match resolve(cluster, namespace, reference) {
            Ok(pem) => {
                roots.push_str(&pem);
                roots.push('\n');
            }
            Err(why) => bad.push(why.to_string()),
        }
    }
    if roots.is_empty() { Trust::Missing(bad.join("; ").into()) } else { Trust::Roots(roots.into()) }
}

/// Why authorities without an object are none.
pub(super) fn not_well_known(name: &str) -> String {
    format!("{name} are no well-known authorities: {WELL_KNOWN} are")
}
