//! Routes of Gateway API, of whichever kind: what all of them have.

use crate::facts;
use crate::name::Name;
use std::collections::BTreeSet;
use std::fmt;
use weft_control_api::gateway_api::filter::grpc::GrpcFilter;
use weft_control_api::gateway_api::filter::http::HttpFilter;
use weft_control_api::gateway_api::grpc_route::GrpcRouteSpec;
use weft_control_api::gateway_api::http_route::HttpRouteSpec;
use weft_control_api::gateway_api::reference::{BackendObjectReference, ParentReference};
use weft_control_api::gateway_api::stream_route::{StreamRule, TcpRouteSpec, TlsRouteSpec};
use weft_control_api::kind::{Kind, ObjectKey};
use weft_control_api::object::Object;

/// The kinds of routes, the most specific first: of several at one port only the first is in force (GEP-1294, "Route
/// types").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Family {
    Grpc,
    Http,
    Tls,
    Tcp,
}

/// What tells a route from all others.
pub(super) type RouteKey = (Family, Name);

/// One route.
#[derive(Debug)]
pub(super) struct GatewayRoute {
    /// Seconds since 1970.
    pub(super) created: i64,
    pub(super) generation: Option<i64>,
    pub(super) spec: Spec,
}

/// What it says, by its kind.
#[derive(Debug)]
pub(super) enum Spec {
    Grpc(GrpcRouteSpec),
    Http(HttpRouteSpec),
    Tls(TlsRouteSpec),
    Tcp(TcpRouteSpec),
}

impl Family {
    /// The family of a kind of object, if it is a route of Gateway API.
    pub(super) fn of(kind: Kind) -> Option<Self> {
        match kind {
            Kind::GrpcRoute => Some(Self::Grpc),
            Kind::HttpRoute => Some(Self::Http),
            Kind::TlsRoute => Some(Self::Tls),
            Kind::TcpRoute => Some(Self::Tcp),
            _ => None,
        }
    }

    pub(super) fn kind(self) -> Kind {
        match self {
            Self::Grpc => Kind::GrpcRoute,
            Self::Http => Kind::HttpRoute,
            Self::Tls => Kind::TlsRoute,
            Self::Tcp => Kind::TcpRoute,
        }
    }

    pub(super) fn key(self, name: &Name) -> ObjectKey {
        ObjectKey::new(self.kind(), name.namespace.clone(), name.name.clone())
    }
}

impl GatewayRoute {
    /// The route that an object is, if it is one.
    pub(super) fn of(object: &Object) -> Option<(Family, Self)> {
        let (family, spec) = match object {
            Object::GrpcRoute(one) => (Family::Grpc, Spec::Grpc(one.spec.clone())),
            Object::HttpRoute(one) => (Family::Http, Spec::Http(one.spec.clone())),
            Object::TlsRoute(one) => (Family::Tls, Spec::Tls(one.spec.clone())),
            Object::TcpRoute(one) => (Family::Tcp, Spec::Tcp(one.spec.clone())),
            _ => return None,
        };
        let metadata = object.metadata();
        Some((family, Self { created: facts::created(metadata), generation: metadata.generation, spec }))
    }

    /// What it is attached to.
    pub(super) fn parents(&self) -> &[ParentReference] {
        match &self.spec {
            Spec::Grpc(spec) => &spec.parent_refs,
            Spec::Http(spec) => &spec.parent_refs,
            Spec::Tls(spec) => &spec.parent_refs,
            Spec::Tcp(spec) => &spec.parent_refs,
        }
    }

    /// The Services that it is attached to.
    pub(super) fn services(&self, namespace: &str) -> BTreeSet<Name> {
        self.parents().iter().filter_map(|parent| service_of(parent, namespace)).collect()
    }

    /// All that it sends traffic or copies of it to, with the field of each.
    pub(super) fn backends(&self) -> Vec<(String, BackendObjectReference)> {
        let mut found = Vec::new();
        match &self.spec {
            Spec::Grpc(spec) => {
                for (number, rule) in spec.rules.iter().enumerate() {
                    let at = format!("spec.rules[{number}]");
                    found.extend(grpc_mirrors(&at, &rule.filters));
                    for (number, one) in rule.backend_refs.iter().enumerate() {
                        let at = format!("{at}.backendRefs[{number}]");
                        found.extend(grpc_mirrors(&at, &one.filters));
                        found.push((at, one.target()));
                    }
                }
            }
            Spec::Http(spec) => {
                for (number, rule) in spec.rules.iter().enumerate() {
                    let at = format!("spec.rules[{number}]");
                    found.extend(http_mirrors(&at, &rule.filters));
                    for (number, one) in rule.backend_refs.iter().enumerate() {
                        let at = format!("{at}.backendRefs[{number}]");
                        found.extend(http_mirrors(&at, &one.filters));
                        found.push((at, one.target()));
                    }
                }
            }
            Spec::Tls(spec) => streamed(&spec.rules, &mut found),
            Spec::Tcp(spec) => streamed(&spec.rules, &mut found),
        }
        found
    }

    /// Filters that nobody here can obey, with the field of each and what it is. Requests that they are for get 500.
    pub(super) fn unknown_filters(&self) -> Vec<(String, UnknownFilter)> {
        let mut found = Vec::new();
        match &self.spec {
            Spec::Grpc(spec) => {
                for (number, rule) in spec.rules.iter().enumerate() {
                    let at = format!("spec.rules[{number}]");
                    found.extend(fields(&at, &rule.filters, UnknownFilter::of_grpc));
                    for (number, one) in rule.backend_refs.iter().enumerate() {
                        let at = format!("{at}.backendRefs[{number}]");
                        found.extend(fields(&at, &one.filters, UnknownFilter::of_grpc));
                    }
                }
            }
            Spec::Http(spec) => {
                for (number, rule) in spec.rules.iter().enumerate() {
                    let at = format!("spec.rules[{number}]");
                    found.extend(fields(&at, &rule.filters, UnknownFilter::of_http));
                    for (number, one) in rule.backend_refs.iter().enumerate() {
                        let at = format!("{at}.backendRefs[{number}]");
                        found.extend(fields(&at, &one.filters, UnknownFilter::of_http_backend));
                    }
                }
            }
            Spec::Tls(_) | Spec::Tcp(_) => {}
        }
        found
    }
}

/// A filter that nobody here can obey. It is not skipped: what it is for gets 500 (Gateway API,
/// `HTTPRouteFilter.extensionRef`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum UnknownFilter {
    ExternalAuth,
    Extension {
        kind: String,
        name: String,
    },
    /// Of a single backend, where it comes too late.
    OfBackend(&'static str),
}

impl UnknownFilter {
    pub(super) fn of_grpc(filter: &GrpcFilter) -> Option<Self> {
        match filter {
            GrpcFilter::ExtensionRef(one) => {
                Some(Self::Extension { kind: one.kind.clone(), name: one.name.clone() })
            }
            GrpcFilter::RequestHeaderModifier(_)
            | GrpcFilter::ResponseHeaderModifier(_)
            | GrpcFilter::RequestMirror(_) => None,
        }
    }

    pub(super) fn of_http(filter: &HttpFilter) -> Option<Self> {
        match filter {
            HttpFilter::ExternalAuth(_) => Some(Self::ExternalAuth),
            HttpFilter::ExtensionRef(one) => {
                Some(Self::Extension { kind: one.kind.clone(), name: one.name.clone() })
            }
            HttpFilter::RequestHeaderModifier(_)
            | HttpFilter::ResponseHeaderModifier(_)
            | HttpFilter::RequestMirror(_)
            | HttpFilter::RequestRedirect(_)
            | HttpFilter::UrlRewrite(_)
            | HttpFilter::Cors(_) => None,
        }
    }
}

impl UnknownFilter {
    /// The same for filters of one backend.
    pub(super) fn of_http_backend(filter: &HttpFilter) -> Option<Self> {
        match filter {
            HttpFilter::RequestRedirect(_) | HttpFilter::Cors(_) => {
                Some(Self::OfBackend(filter.filter_type().name()))
            }
            _ => Self::of_http(filter),
        }
    }
}

impl fmt::Display for UnknownFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ExternalAuth => f.write_str("ExternalAuth is not supported: what it is for gets 500"),
            Self::Extension { kind, name } => {
                write!(f, "{kind} {name} is no filter that is known here: what it is for gets 500")
            }
            Self::OfBackend(kind) => {
                write!(f, "{kind} is for rules, not for single backends: what goes to this one gets 500")
            }
        }
    }
}

/// The Service that a parent is, if it is one.
pub(super) fn service_of(parent: &ParentReference, namespace: &str) -> Option<Name> {
    let is_service = parent.group.is_empty() && parent.kind == "Service";
    is_service.then(|| Name::new(parent.namespace.as_deref().unwrap_or(namespace), parent.name.as_str()))
}

fn fields<F>(at: &str, filters: &[F], of: fn(&F) -> Option<UnknownFilter>) -> Vec<(String, UnknownFilter)> {
    let one = |(number, filter): (usize, &F)| Some((format!("{at}.filters[{number}]"), of(filter)?));
    filters.iter().enumerate().filter_map(one).collect()
}

fn grpc_mirrors(at: &str, filters: &[GrpcFilter]) -> Vec<(String, BackendObjectReference)> {
    let one = |(number, filter): (usize, &GrpcFilter)| match filter {
        GrpcFilter::RequestMirror(mirror) => Some((mirror_field(at, number), mirror.backend_ref.clone())),
        _ => None,
    };
    filters.iter().enumerate().filter_map(one).collect()
}

fn http_mirrors(at: &str, filters: &[HttpFilter]) -> Vec<(String, BackendObjectReference)> {
    let one = |(number, filter): (usize, &HttpFilter)| match filter {
        HttpFilter::RequestMirror(mirror) => Some((mirror_field(at, number), mirror.backend_ref.clone())),
        _ => None,
    };
    filters.iter().enumerate().filter_map(one).collect()
}

fn mirror_field(at: &str, number: usize) -> String {
    format!("{at}.filters[{number}].requestMirror.backendRef")
}

fn streamed(rules: &[StreamRule], found: &mut Vec<(String, BackendObjectReference)>) {
    for (number, rule) in rules.iter().enumerate() {
        let backends = rule.backend_refs.iter().enumerate();
        found.extend(
            backends.map(|(place, one)| (format!("spec.rules[{number}].backendRefs[{place}]"), one.target())),
        );
    }
}
