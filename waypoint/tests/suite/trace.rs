//! Spans of requests, as collectors get them: OpenTelemetry's with that project's own messages, Zipkin's as JSON.

use crate::backend::Backend;
use crate::client::get;
use crate::world::{OK, World, all_to, eventually, run};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use prost::Message as _;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::TcpListenerStream;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

struct Collector(mpsc::Sender<ExportTraceServiceRequest>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        self.0
            .send(request.into_inner())
            .await
            .map_err(|_| tonic::Status::unavailable("the test is over"))?;
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

/// A collector by gRPC: its endpoint, and what comes.
async fn collector() -> (String, mpsc::Receiver<ExportTraceServiceRequest>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (tx, rx) = mpsc::channel(16);
    let server = tonic::transport::Server::builder().add_service(TraceServiceServer::new(Collector(tx)));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    (endpoint, rx)
}

fn settings<'a>(endpoint: &'a str, protocol: &'a str, sampling: &'a str) -> [(&'a str, &'a str); 3] {
    [
        ("WEFT_TRACING_ENDPOINT", endpoint),
        ("WEFT_TRACING_PROTOCOL", protocol),
        ("WEFT_TRACING_SAMPLING", sampling),
    ]
}

fn tag(span: &Span, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|one| one.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Any::StringValue(text) => Some(text.clone()),
        Any::IntValue(number) => Some(number.to_string()),
        other => panic!("{key}: {other:?}"),
    }
}

fn spans(request: ExportTraceServiceRequest) -> Vec<Span> {
    let scopes = request.resource_spans.into_iter().flat_map(|resource| {
        let attributes = resource.resource.expect("a resource").attributes;
        let named = attributes.iter().any(|one| one.key == "service.name");
        assert!(named, "{attributes:?}");
        resource.scope_spans
    });
    scopes.flat_map(|scope| scope.spans).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn whoever_has_decided_before_decides() {
    run(async {
        let (endpoint, mut requests) = collector().await;
        let world = World::start_with(&settings(&endpoint, "otlp-grpc", "0")).await;
        let web = world.backend("web", 10, Backend::named("web")).await;
        world.routes("web", &all_to("web")).await;
        let client = world.client().await;
        let sampled = format!("00-{TRACE}-{SPAN}-01");
        for (path, header) in [("/no", format!("00-{TRACE}-{SPAN}-00")), ("/yes", sampled)] {
            let answer = client.ask("web", get(path, &[("traceparent", &header)])).await;
            assert_eq!(answer.status, OK);
        }
        assert_eq!(client.get("web", "/new").await.status, OK);
        let b3 = [("x-b3-traceid", TRACE), ("x-b3-spanid", SPAN), ("x-b3-sampled", "1")];
        assert_eq!(client.ask("web", get("/b3", &b3)).await.status, OK);
        let mut got: Vec<Span> = Vec::new();
        while got.len() < 2 {
            got.extend(spans(requests.recv().await.unwrap()));
        }
        let paths: Vec<_> = got.iter().map(|span| tag(span, "url.path").unwrap()).collect();
        assert_eq!(paths, ["/yes", "/b3"], "the others were decided against");
        for span in &got {
            assert_eq!((&span.trace_id, &span.parent_span_id), (&bytes(TRACE), &bytes(SPAN)));
            assert_eq!((span.kind(), span.status.clone()), (SpanKind::Server, None));
            assert!(span.end_time_unix_nano >= span.start_time_unix_nano && span.start_time_unix_nano > 0);
            assert_eq!(tag(span, "http.response.status_code").as_deref(), Some("200"));
            assert_eq!(tag(span, "destination.workload").as_deref(), Some("web-10"));
            assert_eq!(span.name, "GET web.shop.svc.cluster.local");
        }
        let seen = web.seen();
        let of = |path: &str, name: &str| {
            let (head, _) = seen.iter().find(|(head, _)| head.uri.path() == path).expect(path);
            head.headers.get(name).map(|value| value.to_str().unwrap().to_owned())
        };
        let own = |span: &Span| span.span_id.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let want = [
            ("/no", "traceparent", Some(format!("00-{TRACE}-{SPAN}-00"))),
            ("/yes", "traceparent", Some(format!("00-{TRACE}-{}-01", own(&got[0])))),
            ("/b3", "x-b3-spanid", Some(own(&got[1]))),
            ("/b3", "x-b3-parentspanid", Some(SPAN.to_owned())),
            ("/b3", "traceparent", None),
        ];
        for (path, name, want) in want {
            assert_eq!(of(path, name), want, "{path} {name}");
        }
        assert!(of("/new", "traceparent").is_some_and(|text| text.ends_with("-00")));
    });
}

#[test]
fn a_new_trace_begins_and_a_failure_shows() {
    run(async {
        let (endpoint, mut requests) = collector().await;
        let world = World::start_with(&settings(&endpoint, "otlp-grpc", "100")).await;
        world.routes("web", &all_to("web")).await;
        let answer = world.client().await.get("web", "/nobody").await;
        assert_eq!(answer.status, 503);
        loop {
            for span in spans(requests.recv().await.unwrap()) {
                if tag(&span, "url.path").as_deref() == Some("/nobody") {
                    assert!(span.parent_span_id.is_empty() && span.trace_id.iter().any(|byte| *byte != 0));
                    assert_eq!(span.status.as_ref().map(|status| status.code()), Some(StatusCode::Error));
                    assert_eq!(tag(&span, "response_flags").as_deref(), Some("UH"));
                    return;
                }
            }
        }
    });
}

#[test]
fn by_http_as_protobuf_and_as_json() {
    run(async {
        for (protocol, path, content) in [
            ("otlp-http", "/v1/traces", "application/x-protobuf"),
            ("zipkin", "/api/v2/spans", "application/json"),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let at = listener.local_addr().unwrap();
            drop(listener);
            let collector = Backend::named("");
            collector.listen(at).await;
            let endpoint = format!("http://{at}");
            let world = World::start_with(&settings(&endpoint, protocol, "1")).await;
            let _web = world.backend("web", 10, Backend::named("web")).await;
            world.routes("web", &all_to("web")).await;
            let b3 = format!("{TRACE}-{SPAN}-1");
            let answer = world.client().await.ask("web", get("/it", &[("b3", &b3)])).await;
            assert_eq!(answer.status, OK);
            let found = eventually(|| async {
                let all = collector.seen();
                assert!(all.iter().all(|(head, _)| head.uri.path() == path), "{protocol}");
                assert!(all.iter().all(|(head, _)| head.headers["content-type"] == content), "{protocol}");
                all.iter().find_map(|(_, body)| match protocol {
                    "zipkin" => {
                        let spans: Vec<Value> = serde_json::from_slice(body).unwrap();
                        let span = spans.into_iter().find(|span| span["tags"]["url.path"] == "/it")?;
                        assert_eq!(
                            (&span["kind"], &span["parentId"]),
                            (&"SERVER".into(), &SPAN.into()),
                            "{span}"
                        );
                        assert_eq!(span["localEndpoint"]["serviceName"], "waypoint.shop", "{span}");
                        assert!(span["timestamp"].is_u64() && span["duration"].as_u64() > Some(0), "{span}");
                        span["traceId"].as_str().map(str::to_owned)
                    }
                    _ => {
                        let all = spans(ExportTraceServiceRequest::decode(body.clone()).unwrap());
                        let span =
                            all.into_iter().find(|span| tag(span, "url.path").as_deref() == Some("/it"))?;
                        Some(span.trace_id.iter().map(|byte| format!("{byte:02x}")).collect())
                    }
                })
            })
            .await;
            assert_eq!(found, TRACE, "{protocol}");
        }
    });
}

#[test]
fn a_collector_that_is_gone_costs_spans_and_no_request() {
    run(async {
        // Taken, and never answered.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gone = format!("http://{}", closed.local_addr().unwrap());
        drop(closed);
        let silent = format!("http://{}", listener.local_addr().unwrap());
        for (endpoint, counts) in [(gone, true), (silent, false)] {
            let world = World::start_with(&settings(&endpoint, "otlp-grpc", "100")).await;
            let _web = world.backend("web", 10, Backend::named("web")).await;
            world.routes("web", &all_to("web")).await;
            let client = world.client().await;
            for _ in 0..50 {
                assert_eq!(client.get("web", "/").await.status, OK);
            }
            eventually(|| async {
                let text = world.http(15020, "/metrics")?;
                let dropped =
                    |line: &&str| line.starts_with(r#"weft_waypoint_spans_total{outcome="dropped"} "#);
                let line = text.lines().find(dropped)?;
                (!counts || !line.ends_with(" 0")).then_some(())
            })
            .await;
        }
    });
}
