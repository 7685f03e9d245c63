//! Calls of gRPC: what the waypoint itself answers to them, in gRPC's own words.

use crate::backend::Backend;
use crate::client::whole;
use crate::words::{forward, to, with};
use crate::world::{OK, World, eventually, run};
use bytes::Bytes;
use futures::StreamExt as _;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use serde_json::{Value, json};
use std::convert::Infallible;
use weft_core::service::AppProtocol;

fn call(path: &str) -> http::request::Builder {
    Request::post(format!("http://grpc{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
}

fn by(kind: &str, rule: Value) -> Value {
    with(rule, json!({"origin": {"kind": kind, "namespace": "shop", "route": "grpc", "rule": "0"}}))
}

#[test]
fn what_no_backend_answers_has_a_status_of_grpc() {
    run(async {
        let world = World::start().await;
        world.put_service("grpc", AppProtocol::Grpc);
        world.put_service("b", AppProtocol::Grpc);
        let _grpc = world.backend("grpc", 10, Backend::echo_grpc()).await;
        let at = |path: &str| json!({"path": {"within": path}});
        let nowhere = || forward(&[json!({"weight": 1, "to": {"target": {"nowhere": "a test"}}})], json!({}));
        let fault = |with: Value| json!({"fault": {"abort": {"share": 1_000_000, "with": with}}});
        let timeout = json!({"timeouts": {"request": 100}});
        let rules = [
            (at("/nowhere.Grpc"), by("GRPCRoute", nowhere())),
            (at("/nowhere.Http"), by("HTTPRoute", nowhere())),
            (at("/nowhere.Istio"), by("VirtualService", nowhere())),
            (at("/weightless.Grpc"), by("GRPCRoute", forward(&[to("grpc", 0)], json!({})))),
            (at("/empty.Grpc"), by("GRPCRoute", forward(&[], json!({})))),
            (at("/nobody.There"), forward(&[to("b", 1)], json!({}))),
            (at("/abort.Grpc"), with(forward(&[to("grpc", 1)], json!({})), fault(json!({"grpc": 8})))),
            (at("/abort.Http"), with(forward(&[to("grpc", 1)], json!({})), fault(json!({"status": 401})))),
            (at("/late.Rule"), forward(&[to("web", 1)], timeout)),
            (at("/late.Client"), forward(&[to("web", 1)], json!({}))),
            (at("/denied.By"), forward(&[to("grpc", 1)], json!({}))),
        ];
        let _slow = world.backend("web", 11, Backend::slow(std::time::Duration::from_secs(300))).await;
        world.policy("no", "deny", "enforced", &json!([{"to": [{"paths": ["/denied.By/*"]}]}]));
        world.routes("grpc", &rules).await;
        let mut sender = world.client().await.http2("grpc").await;
        for (path, want) in [
            ("/nowhere.Grpc/Call", "14"),
            ("/nowhere.Http/Call", "14"),
            ("/nowhere.Istio/Call", "14"),
            ("/weightless.Grpc/Call", "14"),
            ("/empty.Grpc/Call", "14"),
            ("/nobody.There/Call", "14"),
            ("/abort.Grpc/Call", "8"),
            ("/abort.Http/Call", "16"),
            ("/late.Rule/Call", "4"),
            ("/late.Client/Call", "4"),
            ("/denied.By/Call", "7"),
            ("/no.Rule/Call", "12"),
            ("/a%00", "13"),
        ] {
            let builder = if path == "/late.Client/Call" {
                call(path).header("grpc-timeout", "100m")
            } else {
                call(path)
            };
            let request = builder.body(Full::<Bytes>::default()).unwrap();
            let answer = whole(sender.send_request(request).await.unwrap()).await;
            assert_eq!((answer.status, answer.header("grpc-status")), (OK, Some(want)), "{path}");
            assert_eq!(answer.header("content-type"), Some("application/grpc"), "{path}");
            assert!(answer.header("grpc-message").is_some_and(|text| !text.is_empty()), "{path}");
            assert!(answer.trailers.is_none() && answer.body.is_empty(), "{path}: all of it is in the head");
        }
        // Who speaks no gRPC gets what the rule's own kind says.
        let ask = async |sender: &mut hyper::client::conn::http2::SendRequest<Full<Bytes>>, path: &str| {
            let request = Request::get(format!("http://grpc{path}")).body(Full::<Bytes>::default()).unwrap();
            let answer = whole(sender.send_request(request).await.unwrap()).await;
            (answer.status, answer.header("grpc-status").map(str::to_owned))
        };
        assert_eq!(ask(&mut sender, "/nowhere.Http/x").await, (StatusCode::INTERNAL_SERVER_ERROR, None));
        assert_eq!(ask(&mut sender, "/nowhere.Grpc/x").await, (OK, Some("14".to_owned())));
    });
}

#[test]
fn a_call_whose_time_is_over_in_the_middle_ends_with_its_status() {
    run(async {
        let world = World::start().await;
        world.put_service("grpc", AppProtocol::Grpc);
        let _grpc = world.backend("grpc", 10, Backend::echo_grpc()).await;
        let rule = forward(&[to("grpc", 1)], json!({"timeouts": {"request": 500}}));
        world.routes("grpc", &[(json!({}), rule)]).await;
        let client = world.client().await;
        // On a busy machine the time may be over before the response has begun: then its head says so.
        eventually(|| async {
            let first =
                futures::stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"hello")))]);
            let body = StreamBody::new(first.chain(futures::stream::pending()));
            let mut sender = client.http2("grpc").await;
            let response = sender.send_request(call("/never.Ends/Call").body(body).unwrap()).await.unwrap();
            if response.headers().contains_key("grpc-status") {
                return None;
            }
            let all = response.into_body().collect().await.expect("an end in order");
            let trailers = all.trailers().cloned().expect("trailers");
            assert_eq!(trailers["grpc-status"], "4");
            assert_eq!(trailers["grpc-message"], "request timeout");
            Some(())
        })
        .await;
        let line = world.line_where(|line| line["path"] == "/never.Ends/Call" && line["flags"] == "UT").await;
        assert_eq!(line["grpc_status"], 4, "{line}");
    });
}
