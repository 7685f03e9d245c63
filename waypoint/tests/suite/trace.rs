//! Spans of requests, as collectors get them: OpenTelemetry's with that project's own messages, Zipkin's as JSON.

use crate::backend::{Backend, reply};
use crate::client::get;
use crate::collector::{Collector, hex, spans, tag};
use crate::words::{forward, to};
use crate::world::{OK, World, all_to, eventually, run};
use http::HeaderValue;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use prost::Message as _;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use weft_core::service::AppProtocol;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

fn settings<'a>(endpoint: &'a str, protocol: &'a str, sampling: &'a str) -> [(&'a str, &'a str); 3] {
    [
        ("WEFT_TRACING_ENDPOINT", endpoint),
        ("WEFT_TRACING_PROTOCOL", protocol),
        ("WEFT_TRACING_SAMPLING", sampling),
    ]
}

fn of(span: &Span, key: &str) -> Option<String> {
    tag(&span.attributes, key)
}

fn path(span: &Span) -> String {
    of(span, "url.path").expect("each span has a path")
}

#[test]
fn whoever_has_decided_before_decides() {
    run(async {
        let mut collector = Collector::start().await;
        let world = World::start_with(&settings(&collector.endpoint, "otlp-grpc", "0")).await;
        let web = world.backend("web", 10, Backend::named("web")).await;
        world.routes("web", &all_to("web")).await;
        let client = world.client().await;
        let sampled = format!("00-{TRACE}-{SPAN}-01");
        for (path, header) in [("/no", format!("00-{TRACE}-{SPAN}-00")), ("/yes", sampled)] {
            let answer = client.ask("web", get(path, &[("traceparent", &header)])).await;
            assert_eq!(answer.status, OK);
        }
        assert_eq!(client.get("web", "/new").await.status, OK);
        let multi = [("x-b3-traceid", TRACE), ("x-b3-spanid", SPAN), ("x-b3-sampled", "1")];
        assert_eq!(client.ask("web", get("/multi", &multi)).await.status, OK);
        let single = format!("{TRACE}-{SPAN}-1");
        assert_eq!(client.ask("web", get("/single", &[("b3", &single)])).await.status, OK);
        let got = collector.spans(6, |_| true).await;
        let find = |wanted: &str, kind: SpanKind| {
            let mut found = got.iter().filter(|span| path(span) == wanted && span.kind() == kind);
            let one = found.next().unwrap_or_else(|| panic!("{wanted} has no span of {kind:?}: {got:?}"));
            assert!(found.next().is_none(), "{wanted} has two spans of {kind:?}");
            one
        };
        for wanted in ["/yes", "/multi", "/single"] {
            let (server, asks) = (find(wanted, SpanKind::Server), find(wanted, SpanKind::Client));
            assert_eq!(hex(&server.parent_span_id), SPAN, "{wanted}");
            assert_eq!(asks.parent_span_id, server.span_id, "{wanted}");
            for span in [server, asks] {
                assert_eq!((hex(&span.trace_id), &span.status), (TRACE.to_owned(), &None), "{wanted}");
                assert!(
                    span.end_time_unix_nano >= span.start_time_unix_nano && span.start_time_unix_nano > 0
                );
                assert_eq!(of(span, "http.response.status_code").as_deref(), Some("200"), "{wanted}");
                assert_eq!(of(span, "destination.workload").as_deref(), Some("web-10"), "{wanted}");
                assert_eq!(span.name, "GET web.shop.svc.cluster.local");
            }
        }
        let seen = web.seen();
        let header = |path: &str, name: &str| {
            let (head, _) = seen.iter().find(|(head, _)| head.uri.path() == path).expect(path);
            head.headers.get(name).map(|value| value.to_str().unwrap().to_owned())
        };
        let asks = |path: &str| hex(&find(path, SpanKind::Client).span_id);
        let server = |path: &str| hex(&find(path, SpanKind::Server).span_id);
        let want = [
            ("/no", "traceparent", Some(format!("00-{TRACE}-{SPAN}-00"))),
            ("/yes", "traceparent", Some(format!("00-{TRACE}-{}-01", asks("/yes")))),
            ("/multi", "x-b3-spanid", Some(asks("/multi"))),
            ("/multi", "x-b3-parentspanid", Some(server("/multi"))),
            ("/multi", "traceparent", None),
            ("/single", "b3", Some(format!("{TRACE}-{}-1-{}", asks("/single"), server("/single")))),
        ];
        for (path, name, want) in want {
            assert_eq!(header(path, name), want, "{path} {name}");
        }
        assert!(header("/new", "traceparent").is_some_and(|text| text.ends_with("-00")));
    });
}

#[test]
fn b3_decides_without_a_trace() {
    run(async {
        let mut collector = Collector::start().await;
        let world = World::start_with(&settings(&collector.endpoint, "otlp-grpc", "100")).await;
        let web = world.backend("web", 10, Backend::named("web")).await;
        world.routes("web", &all_to("web")).await;
        let client = world.client().await;
        for (path, header) in [("/single", ("b3", "0")), ("/multi", ("x-b3-sampled", "0"))] {
            assert_eq!(client.ask("web", get(path, &[header])).await.status, OK);
        }
        assert_eq!(client.get("web", "/last").await.status, OK);
        let got = collector.spans(2, |span| path(span) != "/the-tests-own-generation").await;
        assert!(got.iter().all(|span| path(span) == "/last"), "the others are not sampled: {got:?}");
        let seen = web.seen();
        let header = |path: &str, name: &str| {
            let (head, _) = seen.iter().find(|(head, _)| head.uri.path() == path).expect(path);
            head.headers[name].to_str().unwrap().to_owned()
        };
        assert!(header("/single", "b3").ends_with("-0"), "the backend hears of the decision");
        assert_eq!(header("/multi", "x-b3-sampled"), "0");
    });
}

#[test]
fn each_try_is_a_span() {
    run(async {
        let mut collector = Collector::start().await;
        let world = World::start_with(&settings(&collector.endpoint, "otlp-grpc", "100")).await;
        let flaky = Backend::replying(|before| if before == 0 { reply(503, "") } else { reply(200, "") });
        let flaky = world.backend("web", 10, flaky).await;
        let retry =
            json!({"retry": {"retries": 1, "on": {"conditions": ["5xx"]}, "backoff": {"base": 1, "max": 5}}});
        world.routes("web", &[(json!({}), forward(&[to("web", 1)], retry))]).await;
        assert_eq!(world.client().await.get("web", "/it").await.status, OK);
        let got = collector.spans(3, |span| path(span) == "/it").await;
        let (tries, server): (Vec<&Span>, Vec<&Span>) =
            got.iter().partition(|span| span.kind() == SpanKind::Client);
        assert_eq!((tries.len(), server.len()), (2, 1));
        assert!(tries.iter().all(|span| span.parent_span_id == server[0].span_id));
        let told: Vec<_> = tries
            .iter()
            .map(|span| (of(span, "http.response.status_code"), of(span, "http.request.resend_count")))
            .collect();
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(told, [(text("503"), None), (text("200"), text("1"))]);
        let failed = |span: &Span| span.status.as_ref().map(|status| status.code());
        assert_eq!([failed(tries[0]), failed(tries[1])], [Some(StatusCode::Error), None]);
        assert_eq!(of(server[0], "weft.tries"), text("2"));
        // The backend has seen both, each below its own span.
        let parents: Vec<_> = flaky
            .seen()
            .iter()
            .map(|(head, _)| head.headers["traceparent"].to_str().unwrap()[36..52].to_owned())
            .collect();
        assert_eq!(parents, [hex(&tries[0].span_id), hex(&tries[1].span_id)]);
    });
}

#[test]
fn a_call_fails_by_its_own_status() {
    run(async {
        let mut collector = Collector::start().await;
        let world = World::start_with(&settings(&collector.endpoint, "otlp-grpc", "100")).await;
        world.put_service("grpc", AppProtocol::Grpc);
        let came = std::rc::Rc::<std::cell::Cell<u32>>::default();
        let count = came.clone();
        let calls = Backend::replying(move |_| {
            let mut response = reply(200, "");
            // UNAVAILABLE, and then NOT_FOUND, which is an answer.
            let status = if count.replace(1) == 0 { "14" } else { "5" };
            response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
            response.headers_mut().insert("grpc-status", HeaderValue::from_static(status));
            response
        });
        let _calls = world.backend("grpc", 10, calls.by_http2()).await;
        let once_more =
            json!({"retry": {"retries": 1, "on": {"grpc": [14]}, "backoff": {"base": 1, "max": 1}}});
        world.routes("grpc", &[(json!({}), forward(&[to("grpc", 1)], once_more))]).await;
        came.set(0);
        let call = get("/shop.Reviews/Read", &[("content-type", "application/grpc"), ("te", "trailers")]);
        world.client().await.ask("grpc", call).await;
        let got = collector.spans(3, |span| path(span) == "/shop.Reviews/Read").await;
        let mut told: Vec<_> = got
            .iter()
            .map(|span| {
                let failed = span.status.as_ref().map(|status| status.code());
                (span.kind() == SpanKind::Client, of(span, "rpc.grpc.status_code"), failed)
            })
            .collect();
        told.sort_by_key(|(asks, status, _)| (*asks, status.clone()));
        let [first, last] = ["14", "5"].map(|status| Some(status.to_owned()));
        assert_eq!(
            told,
            [(false, last.clone(), None), (true, first, Some(StatusCode::Error)), (true, last, None)],
            "{got:?}"
        );
    });
}

#[test]
fn a_new_trace_begins_and_a_failure_shows() {
    run(async {
        let mut collector = Collector::start().await;
        let world = World::start_with(&settings(&collector.endpoint, "otlp-grpc", "100")).await;
        world.routes("web", &all_to("web")).await;
        let answer = world.client().await.get("web", "/nobody").await;
        assert_eq!(answer.status, 503);
        let span = collector.spans(1, |span| path(span) == "/nobody").await.remove(0);
        assert!(span.parent_span_id.is_empty() && span.trace_id.iter().any(|byte| *byte != 0));
        assert_eq!(span.status.as_ref().map(|status| status.code()), Some(StatusCode::Error));
        assert_eq!(of(&span, "response_flags").as_deref(), Some("UH"));
    });
}

/// An application hands on what it got, and each hop's waypoint goes on from there.
#[test]
fn three_hops_are_one_trace() {
    run(async {
        let mut collector = Collector::start().await;
        let world = World::start_with(&settings(&collector.endpoint, "otlp-grpc", "0")).await;
        let web = world.backend("web", 10, Backend::named("web")).await;
        world.routes("web", &all_to("web")).await;
        let client = world.client().await;
        let w3c = format!("00-{TRACE}-{SPAN}-01");
        let single = format!("{TRACE}-{SPAN}-1");
        let multi = [("x-b3-traceid", TRACE), ("x-b3-spanid", SPAN), ("x-b3-sampled", "1")];
        for (case, first) in [
            ("w3c", vec![("traceparent", &*w3c)]),
            ("single", vec![("b3", &*single)]),
            ("multi", multi.to_vec()),
        ] {
            let mut headers: Vec<(String, String)> =
                first.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            for hop in ["a", "b", "c"] {
                let own: Vec<(&str, &str)> =
                    headers.iter().map(|(name, value)| (&**name, &**value)).collect();
                let at = format!("/{case}-{hop}");
                assert_eq!(client.ask("web", get(&at, &own)).await.status, OK);
                let seen = web.seen();
                let (head, _) = seen.iter().find(|(head, _)| head.uri.path() == at).expect("it came");
                let carried = |(name, _): &(String, String)| {
                    let value = head.headers.get(name)?.to_str().ok()?;
                    Some((name.clone(), value.to_owned()))
                };
                headers = headers.iter().filter_map(carried).collect();
            }
            let got = collector.spans(6, |span| path(span).starts_with(&format!("/{case}-"))).await;
            let mut parent = SPAN.to_owned();
            for (hop, kind) in
                ["a", "b", "c"].into_iter().flat_map(|hop| [(hop, SpanKind::Server), (hop, SpanKind::Client)])
            {
                let at = format!("/{case}-{hop}");
                let span = got.iter().find(|span| path(span) == at && span.kind() == kind).expect(&at);
                assert_eq!(
                    (hex(&span.trace_id), hex(&span.parent_span_id)),
                    (TRACE.to_owned(), parent),
                    "{at}"
                );
                parent = hex(&span.span_id);
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
                        let span = spans
                            .into_iter()
                            .find(|span| span["tags"]["url.path"] == "/it" && span["kind"] == "SERVER")?;
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
                        let span = all.into_iter().find(|span| {
                            of(span, "url.path").as_deref() == Some("/it") && span.kind() == SpanKind::Server
                        })?;
                        Some(hex(&span.trace_id))
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
