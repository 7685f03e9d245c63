//! The messages of the certificate service, `istio.v1.auth`.

pub use crate::generated::istio::auth::istio_certificate_service_client::IstioCertificateServiceClient;
pub use crate::generated::istio::auth::istio_certificate_service_server::{
    IstioCertificateService, IstioCertificateServiceServer,
};
pub use crate::generated::istio::auth::{IstioCertificateRequest, IstioCertificateResponse};

use prost_types::value::Kind;
use prost_types::{Struct, Value};

/// The field of a request's metadata that names for whom the certificate is.
const IMPERSONATED: &str = "ImpersonatedIdentity";

/// Metadata that ask on behalf of another identity, a SPIFFE URI.
pub fn impersonate(identity: String) -> Struct {
    let value = Value { kind: Some(Kind::StringValue(identity)) };
    Struct { fields: [(IMPERSONATED.to_owned(), value)].into() }
}

/// For whom a request asks, if not for the caller. `Some("")` for a value that is no text: it names nobody.
pub fn impersonated(request: &IstioCertificateRequest) -> Option<&str> {
    let value = request.metadata.as_ref()?.fields.get(IMPERSONATED)?;
    Some(match &value.kind {
        Some(Kind::StringValue(text)) => text,
        _ => "",
    })
}
