//! What Telemetries change, from the next request on: spans, lines of the access log, and metrics.

use crate::backend::Backend;
use crate::client::{Client, get};
use crate::collector::{Collector, hex, lines, tag};
use crate::world::{OK, World, all_to, eventually, run};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use prost::Message as _;
use serde_json::json;
use std::time::Duration;
use tokio::net::TcpListener;
use weft_core::service::AppProtocol;

/// Asks until what was said last is in force: it is told in order, so once routes that were said after it are.
async fn in_force(world: &World) -> Client {
    world.routes("web", &all_to("web")).await;
    world.client().await
}

async fn world(settings: &[(&str, &str)]) -> World {
    let world = World::start_with(settings).await;
    world.put_service("b", AppProtocol::Http11);
    world.backend("web", 10, Backend::named("web")).await;
    world.routes("web", &all_to("web")).await;
    world
}

fn path_of(line: &LogRecord) -> Option<String> {
    tag(&line.attributes, "path")
}

#[test]
fn spans_by_a_telemetry() {
    run(async {
        let mut collector = Collector::start().await;
        let settings = [("WEFT_TRACING_ENDPOINT", &*collector.endpoint), ("WEFT_TRACING_SAMPLING", "0")];
        let world = world(&settings).await;
        world.telemetry("t", json!({"tracing": [{"sampledPpm": 1_000_000, "tags": {
            "env": {"literal": "test"}, "user": {"header": ["x-user", "nobody"]}, "none": {"header": ["x-none", null]},
        }}]}));
        let client = eventually_traced(&world, &mut collector).await;
        assert_eq!(client.ask("web", get("/tagged", &[("x-user", "ripley")])).await.status, OK);
        let spans =
            collector.spans(2, |span| tag(&span.attributes, "url.path").as_deref() == Some("/tagged"));
        let spans = spans.await;
        let server = spans.iter().find(|span| tag(&span.attributes, "weft.tries").is_some()).expect("one");
        let of = |key: &str| tag(&server.attributes, key);
        assert_eq!((of("env"), of("user"), of("none")), (Some("test".into()), Some("ripley".into()), None));
        // Nothing is reported, and nobody is told of the trace.
        world.telemetry("t", json!({"tracing": [{"sampledPpm": 1_000_000, "reporting": "off"}]}));
        let client = in_force(&world).await;
        let answer = eventually(|| async {
            let before = world.http(15020, "/metrics")?;
            assert_eq!(client.get("web", "/quiet").await.status, OK);
            tokio::time::sleep(Duration::from_millis(1500)).await;
            let after = world.http(15020, "/metrics")?;
            (exported(&before) == exported(&after)).then_some(())
        });
        answer.await;
    });
}

fn exported(metrics: &str) -> Option<&str> {
    metrics.lines().find(|line| line.starts_with(r#"weft_waypoint_spans_total{outcome="exported"}"#))
}

/// Asks until a request has a span.
async fn eventually_traced(world: &World, collector: &mut Collector) -> Client {
    let client = world.client().await;
    loop {
        assert_eq!(client.get("web", "/any").await.status, OK);
        let spans = collector.spans(1, |_| true);
        if tokio::time::timeout(Duration::from_secs(2), spans).await.is_ok() {
            return client;
        }
    }
}

#[test]
fn lines_go_where_a_telemetry_says() {
    run(async {
        let mut collector = Collector::start().await;
        let settings = [
            ("WEFT_ACCESS_LOG_ENDPOINT", &*collector.endpoint),
            ("WEFT_TRACING_ENDPOINT", &*collector.endpoint),
            ("WEFT_TRACING_SAMPLING", "100"),
        ];
        let world = world(&settings).await;
        let errors = "response.code >= 400 && request.headers['x-user'] == 'ripley'";
        world.telemetry("t", json!({"logging": [{"sinks": ["json", "otlp"], "filter": errors}]}));
        let client = eventually_filtered(&world).await;
        let ripley = [("x-user", "ripley")];
        assert_eq!(client.ask("web", get("/fine", &ripley)).await.status, OK);
        assert_eq!(client.ask("b", get("/fails", &[("x-user", "bishop")])).await.status, 503);
        assert_eq!(client.ask("b", get("/fails-too", &ripley)).await.status, 503);
        let line = collector
            .lines(1, |line| path_of(line).is_some_and(|path| !path.starts_with("/loud")))
            .await
            .remove(0);
        let of = |key: &str| tag(&line.attributes, key);
        assert_eq!(path_of(&line).as_deref(), Some("/fails-too"));
        assert_eq!(
            (of("status"), of("flags"), of("tries")),
            (Some("503".into()), Some("UH".into()), Some("0".into()))
        );
        assert!(of("why").is_some() && of("src.identity").is_some(), "{line:?}");
        assert!(line.time_unix_nano > 0 && line.severity_number == 9, "{line:?}");
        let told = world.line("/fails-too").await;
        assert!(
            told["traceparent"].as_str().is_some_and(|text| text.contains(&hex(&line.trace_id))),
            "{told}"
        );
        let other = |path: &str| world.find_line(|line| line["path"] == path);
        assert_eq!((other("/fine"), other("/fails")), (None, None));
        // To nobody.
        world.telemetry("t", json!({"logging": [{"disabled": true}]}));
        let client = in_force(&world).await;
        assert_eq!(client.ask("b", get("/unheard", &ripley)).await.status, 503);
        world.telemetry("t", json!({"logging": [{"disabled": false}]}));
        let client = eventually(|| async {
            let client = world.client().await;
            client.get("web", "/heard").await;
            tokio::time::sleep(Duration::from_millis(1100)).await;
            other("/heard").map(|_| client)
        });
        drop(client.await);
        assert_eq!(other("/unheard"), None);
    });
}

/// Asks until lines are filtered.
async fn eventually_filtered(world: &World) -> Client {
    let client = in_force(world).await;
    let mut number = 0;
    loop {
        number += 1;
        let (quiet, loud) = (format!("/quiet-{number}"), format!("/loud-{number}"));
        assert_eq!(client.get("web", &quiet).await.status, OK);
        assert_eq!(client.ask("b", get(&loud, &[("x-user", "ripley")])).await.status, 503);
        // Lines are written in order.
        world.line(&loud).await;
        if world.find_line(|line| line["path"] == *quiet).is_none() {
            return client;
        }
    }
}

#[test]
fn lines_by_http_and_a_collector_that_is_gone() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        drop(listener);
        let endpoint = format!("http://{at}");
        let settings = [("WEFT_ACCESS_LOG_ENDPOINT", &*endpoint), ("WEFT_ACCESS_LOG_PROTOCOL", "otlp-http")];
        let world = world(&settings).await;
        world.telemetry("t", json!({"logging": [{"sinks": ["otlp"]}]}));
        let client = in_force(&world).await;
        // Nobody listens: no request minds, and what is lost is counted.
        eventually(|| async {
            for _ in 0..10 {
                assert_eq!(client.get("web", "/lost").await.status, OK);
            }
            let text = world.http(15020, "/metrics")?;
            let dropped =
                |line: &&str| line.starts_with(r#"weft_waypoint_log_lines_total{outcome="dropped"} "#);
            text.lines().find(dropped).filter(|line| !line.ends_with(" 0")).map(drop)
        })
        .await;
        let collector = Backend::named("");
        collector.listen(at).await;
        let line = eventually(|| async {
            assert_eq!(client.get("web", "/kept").await.status, OK);
            let all = collector.seen();
            assert!(all.iter().all(|(head, _)| head.uri.path() == "/v1/logs"));
            let all = all.iter().map(|(_, body)| ExportLogsServiceRequest::decode(body.clone()).unwrap());
            all.flat_map(lines).find(|line| path_of(line).as_deref() == Some("/kept"))
        });
        let line = line.await;
        assert_eq!(tag(&line.attributes, "status").as_deref(), Some("200"), "{line:?}");
        assert!(tag(&line.attributes, "duration_ms").is_some() && line.trace_id.is_empty(), "{line:?}");
    });
}

#[test]
fn metrics_by_a_telemetry() {
    run(async {
        let world = world(&[]).await;
        world.telemetry("t", json!({"metrics": [
            {"metric": "requestBytes", "disabled": true},
            {"metric": "requests", "labels": {"source_principal": "remove", "response_flags": {"set": "any"}}},
        ]}));
        let client = in_force(&world).await;
        let changed = eventually(|| async {
            assert_eq!(client.ask("b", get("/", &[])).await.status, 503);
            let text = world.http(15020, "/metrics")?;
            let of = |name: &str| {
                text.lines()
                    .find(|line| line.starts_with(name) && line.contains(r#"="b""#))
                    .map(str::to_owned)
            };
            let requests =
                of("istio_requests_total{").filter(|line| line.contains(r#"response_flags="any""#))?;
            Some((requests, of("istio_request_bytes_count{"), of("istio_response_bytes_count{")))
        });
        let (requests, sizes, others) = changed.await;
        assert!(requests.contains(r#"source_principal="""#), "{requests}");
        let others = others.expect("it is still counted");
        assert!(others.contains(r#"response_flags="UH""#) && others.contains("spiffe://"), "{others}");
        assert_eq!(sizes, None);
    });
}

#[test]
fn histograms_have_exemplars_for_those_who_ask() {
    run(async {
        let collector = Collector::start().await;
        let settings = [("WEFT_TRACING_ENDPOINT", &*collector.endpoint), ("WEFT_TRACING_SAMPLING", "0")];
        let world = world(&settings).await;
        let client = world.client().await;
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let traced = format!("00-{trace}-00f067aa0ba902b7-01");
        assert_eq!(client.ask("b", get("/", &[("traceparent", &traced)])).await.status, 503);
        let exemplar = format!(" # {{trace_id=\"{trace}\"}} ");
        let found = eventually(|| async {
            let text = world.http_as(15020, "/metrics", "application/openmetrics-text;version=1.0.0")?;
            let lines = text.lines().filter(|line| line.contains(&exemplar)).map(str::to_owned);
            Some(lines.collect::<Vec<_>>()).filter(|lines| !lines.is_empty()).map(|lines| (lines, text))
        });
        let (lines, text) = found.await;
        assert!(text.contains("content-type: application/openmetrics-text") && text.ends_with("# EOF\n"));
        let families = ["istio_request_bytes", "istio_request_duration_milliseconds", "istio_response_bytes"];
        for family in families {
            let bucket = format!("{family}_bucket{{");
            assert_eq!(
                lines.iter().filter(|line| line.starts_with(&bucket)).count(),
                1,
                "{family}: {lines:?}"
            );
        }
        let older = world.http(15020, "/metrics").unwrap();
        assert!(older.contains("istio_request_bytes_bucket{") && !older.contains("trace_id"));
    });
}
