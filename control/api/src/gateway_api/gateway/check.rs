//! What a Gateway may not say: the rules of its CRD.

use super::{FromNamespaces, FrontendTls, FrontendTlsValidation, GatewaySpec, GatewayTls, Listener, TlsMode};
use crate::check::{Check, Findings};
use crate::gateway_api::matching::{NO_HOSTNAME, is_hostname};
use crate::text::is_name;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// Most listeners, and ports with TLS of their own.
const LISTENERS_MAX: usize = 64;
/// Most addresses.
const ADDRESSES_MAX: usize = 16;

impl Check for GatewaySpec {
    fn check(&self, found: &mut Findings) {
        found.require("gatewayClassName", is_name(&self.gateway_class_name), "is no name of a GatewayClass");
        found.count("listeners", &self.listeners, 1..=LISTENERS_MAX);
        found.field("listeners", &self.listeners[..]);
        found.unique("listeners", &self.listeners, |listener| Some(listener.name.clone()));
        found.unique("listeners", &self.listeners, |listener| {
            Some((listener.port, listener.protocol.clone(), listener.hostname.clone()))
        });
        found.count("addresses", &self.addresses, 0..=ADDRESSES_MAX);
        found.at("infrastructure", |found| {
            let reference = self.infrastructure.as_ref().and_then(|one| one.parameters_ref.as_ref());
            if let Some(reference) = reference {
                found.field("parametersRef", reference);
            }
        });
        let namespaces = self.allowed_listeners.as_ref().and_then(|allowed| allowed.namespaces.as_ref());
        if let Some(namespaces) = namespaces {
            let from = namespaces.from.unwrap_or(FromNamespaces::None);
            found.at("allowedListeners", |found| selected(found, from, namespaces.selector.as_ref()));
        }
        found.field("tls", &self.tls);
    }
}

impl Check for Listener {
    fn check(&self, found: &mut Findings) {
        found.require("name", is_name(&self.name), "is no name: a-z, 0-9, - and . are");
        found.require("protocol", !self.protocol.is_empty(), "is empty");
        found.require("hostname", self.hostname.as_deref().is_none_or(is_hostname), NO_HOSTNAME);
        let stream = matches!(&*self.protocol, "TCP" | "UDP");
        found.require(
            "hostname",
            !stream || self.hostname.is_none(),
            "is not for protocols without host names",
        );
        let plain = stream || self.protocol == "HTTP";
        found.require("tls", !plain || self.tls.is_none(), "is not for protocols without TLS");
        if let Some(tls) = &self.tls {
            found.at("tls", |found| self.check_tls(tls, found));
        }
        if let Some(namespaces) = self.allowed_routes.as_ref().and_then(|allowed| allowed.namespaces.as_ref())
        {
            let routes =
                |found: &mut Findings| selected(found, namespaces.from, namespaces.selector.as_ref());
            found.at("allowedRoutes", routes);
        }
    }
}

impl Listener {
    fn check_tls(&self, tls: &super::ListenerTls, found: &mut Findings) {
        found.field("certificateRefs", &tls.certificate_refs[..]);
        let terminates = tls.mode == TlsMode::Terminate;
        found.require(
            "mode",
            terminates || self.protocol != "HTTPS",
            "is Passthrough, which HTTPS is not for",
        );
        let known = !terminates || !tls.certificate_refs.is_empty() || !tls.options.is_empty();
        found.require("certificateRefs", known, "is empty, and Terminate needs a certificate");
    }
}

fn selected(found: &mut Findings, from: FromNamespaces, selector: Option<&LabelSelector>) {
    let wanted = from == FromNamespaces::Selector;
    let reason = "is missing, and from: Selector needs it";
    found.at("namespaces", |found| found.require("selector", !wanted || selector.is_some(), reason));
}

impl Check for GatewayTls {
    fn check(&self, found: &mut Findings) {
        found.at("backend", |found| {
            let certificate =
                self.backend.as_ref().and_then(|backend| backend.client_certificate_ref.as_ref());
            if let Some(certificate) = certificate {
                found.field("clientCertificateRef", certificate);
            }
        });
        found.field("frontend", &self.frontend);
    }
}

impl Check for FrontendTls {
    fn check(&self, found: &mut Findings) {
        found.at("default", |found| found.field("validation", &self.default.validation));
        found.count("perPort", &self.per_port, 0..=LISTENERS_MAX);
        found.unique("perPort", &self.per_port, |one| Some(one.port));
        found.each("perPort", &self.per_port, |found, one| {
            found.at("tls", |found| found.field("validation", &one.tls.validation));
        });
    }
}

/// Most authorities.
const AUTHORITIES_MAX: usize = 8;

impl Check for FrontendTlsValidation {
    fn check(&self, found: &mut Findings) {
        found.count("caCertificateRefs", &self.ca_certificate_refs, 1..=AUTHORITIES_MAX);
        found.field("caCertificateRefs", &self.ca_certificate_refs[..]);
    }
}
