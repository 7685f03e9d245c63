//! What a request's span says.

use super::record::Record;
use crate::trace::{Begun, Outcome, Span, Tag};

/// The span of a request that is over. Its names are those of OpenTelemetry's conventions for HTTP, and of Istio's where
/// there are none.
pub(super) fn of_request(record: &Record, begun: Begun) -> Span {
    let connection = record.connection();
    let service = connection.service().map(|service| service.name.hostname.to_string());
    let name = match &service {
        Some(service) => format!("{} {service}", record.method()),
        None => record.method().to_owned(),
    };
    let text = |text: &str| Tag::Text(text.to_owned());
    let mut tags = vec![
        ("http.request.method", text(record.method())),
        ("url.path", text(record.uri().path())),
        ("http.response.status_code", Tag::Number(record.status().into())),
        ("response_flags", text(record.flag().letters())),
        ("weft.tries", Tag::Number(record.tries.into())),
        ("source.principal", Tag::Text(connection.client.name.to_string())),
    ];
    if let Some(workload) = record.endpoint() {
        tags.push(("destination.workload", Tag::Text(workload.name.to_string())));
        tags.push(("destination.namespace", Tag::Text(workload.namespace.to_string())));
    }
    tags.extend(service.map(|service| ("server.address", Tag::Text(service))));
    tags.extend(record.rule.as_ref().map(|rule| ("http.route", Tag::Text(rule.origin.to_string()))));
    tags.extend(record.grpc().map(|status| ("rpc.grpc.status_code", Tag::Number(status.into()))));
    tags.extend(record.id().map(|id| ("guid:x-request-id", text(id))));
    let failed = !(100..500).contains(&record.status());
    let outcome = if failed { Outcome::Failed } else { Outcome::Answered };
    begun.end(name, record.took(), outcome, tags)
}
