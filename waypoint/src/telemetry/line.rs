//! A request's line in the access log.

use super::record::Record;
use http::Version;
use std::time::SystemTime;
use weft_runtime::access::{Line, Value};

/// Writes all that is known of a request.
pub(super) fn write(record: &Record, line: &mut Line<'_>) {
    let connection = record.connection();
    let client = &connection.client;
    line.pair("time", Value::Time(SystemTime::now()));
    line.pair("log", Value::Text("access"));
    line.pair("protocol", Value::Text(version(record.version())));
    line.pair("method", Value::Text(record.method()));
    line.pair("path", Value::Text(record.uri().path()));
    line.pair("status", Value::Number(record.status().into()));
    if let Some(status) = record.grpc() {
        line.pair("grpc_status", Value::Number(status.into()));
    }
    line.pair("flags", Value::Text(record.flag().letters()));
    line.pair("src.addr", Value::Addr(client.addr));
    if let Some(workload) = &client.workload {
        line.pair("src.workload", Value::Text(&workload.name));
        line.pair("src.namespace", Value::Text(&workload.namespace));
    }
    line.pair("src.identity", Value::Text(&client.identity.to_string()));
    line.pair("dst.addr", Value::Addr(connection.addr));
    if let Some(service) = connection.service() {
        line.pair("dst.service", Value::Text(&service.name.hostname));
    }
    if let Some(workload) = record.endpoint() {
        line.pair("dst.workload", Value::Text(&workload.name));
        line.pair("dst.namespace", Value::Text(&workload.namespace));
        line.pair("dst.identity", Value::Text(&workload.identity.to_string()));
    }
    if let Some(rule) = &record.rule {
        line.pair("rule", Value::Text(&rule.origin.to_string()));
    }
    line.pair("tries", Value::Number(record.tries.into()));
    line.pair("bytes_received", Value::Number(record.request_bytes()));
    line.pair("bytes_sent", Value::Number(record.response_bytes()));
    line.pair("duration_ms", Value::Millis(record.took().as_secs_f64() * 1e3));
    for (key, text) in [
        ("why", record.why.as_deref()),
        ("dry_run", record.dry_run.as_deref()),
        ("request_id", record.id()),
        ("traceparent", record.trace()),
    ] {
        if let Some(text) = text {
            line.pair(key, Value::Text(text));
        }
    }
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}
