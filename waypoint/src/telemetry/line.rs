//! Lines of the access log.

use super::passage::Passage;
use super::record::Record;
use crate::client::Connection;
use http::Version;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use weft_core::workload::Workload;
use weft_runtime::access::{Pairs, Value};

/// Writes all that is known of a request.
pub(super) fn of_request(record: &Record, line: &mut (impl Pairs + ?Sized)) {
    line.pair("time", Value::Time(SystemTime::now()));
    line.pair("log", Value::Text("access"));
    line.pair("protocol", Value::Text(version(record.version())));
    if let Some((method, uri)) = record.asks() {
        line.pair("method", Value::Text(method));
        line.pair("path", Value::Text(uri.path()));
    }
    line.pair("status", Value::Number(record.status().into()));
    if let Some(status) = record.grpc() {
        line.pair("grpc_status", Value::Number(status.into()));
    }
    line.pair("flags", Value::Text(record.flag().letters()));
    sides(record.connection(), record.endpoint(), line);
    if let Some(rule) = &record.rule {
        line.pair("rule", Value::Text(&rule.origin.to_string()));
    }
    line.pair("tries", Value::Number(record.tries.into()));
    carried((record.request_bytes(), record.response_bytes()), record.took(), line);
    texts(
        [
            ("why", record.why.as_deref()),
            ("dry_run", record.dry_run.as_deref()),
            ("request_id", record.id()),
            ("traceparent", record.trace()),
        ],
        line,
    );
}

/// The same of a connection of bytes.
pub(super) fn of_passage(passage: &Passage, line: &mut (impl Pairs + ?Sized)) {
    line.pair("time", Value::Time(SystemTime::now()));
    line.pair("log", Value::Text("access"));
    line.pair("protocol", Value::Text("TCP"));
    line.pair("flags", Value::Text(passage.flag().letters()));
    sides(passage.connection(), passage.asked.as_ref(), line);
    if let Some(name) = &passage.connection().server_name {
        line.pair("server_name", Value::Text(name));
    }
    carried((passage.carried.from_app(), passage.carried.to_app()), passage.took(), line);
    line.pair("end", Value::Text(&passage.end()));
    texts([("why", passage.why()), ("dry_run", passage.dry_run.as_deref())], line);
}

fn sides(connection: &Connection, endpoint: Option<&Arc<Workload>>, line: &mut (impl Pairs + ?Sized)) {
    let client = &connection.client;
    line.pair("src.addr", Value::Addr(client.addr));
    if let Some(workload) = &client.workload {
        line.pair("src.workload", Value::Text(&workload.name));
        line.pair("src.namespace", Value::Text(&workload.namespace));
    }
    line.pair("src.identity", Value::Text(&client.name));
    line.pair("dst.addr", Value::Addr(connection.addr));
    if let Some(service) = connection.service() {
        line.pair("dst.service", Value::Text(&service.name.hostname));
    }
    if let Some(workload) = endpoint {
        line.pair("dst.workload", Value::Text(&workload.name));
        line.pair("dst.namespace", Value::Text(&workload.namespace));
        line.pair("dst.identity", Value::Text(&workload.identity.to_string()));
    }
}

/// Bytes from the client and to it, and how long that took.
fn carried((received, sent): (u64, u64), took: Duration, line: &mut (impl Pairs + ?Sized)) {
    line.pair("bytes_received", Value::Number(received));
    line.pair("bytes_sent", Value::Number(sent));
    line.pair("duration_ms", Value::Millis(took.as_secs_f64() * 1e3));
}

fn texts<const N: usize>(pairs: [(&'static str, Option<&str>); N], line: &mut (impl Pairs + ?Sized)) {
    for (key, text) in pairs {
        if let Some(text) = text {
            line.pair(key, Value::Text(text));
        }
    }
}

/// As `request.protocol` and access lines have it.
pub(super) fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}
