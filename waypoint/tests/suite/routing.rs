//! Which backend a request goes to, and as what.

use crate::backend::Backend;
use crate::client::{get, whole};
use crate::words::{PORT, forward, target, to, with, workload};
use crate::world::{OK, World, all_to, eventually, run};
use bytes::Bytes;
use http::{Request, Version, request};
use http_body_util::Full;
use serde_json::{Value, json};
use weft_core::service::AppProtocol;
use weft_core::workload::{TunnelProtocol, Workload};

async fn two() -> (World, Backend, Backend) {
    let world = World::start().await;
    world.put_service("a", AppProtocol::Http11);
    world.put_service("b", AppProtocol::Http11);
    let a = world.backend("a", 10, Backend::named("a")).await;
    let b = world.backend("b", 11, Backend::named("b")).await;
    (world, a, b)
}

#[test]
fn weights() {
    run(async {
        let (world, a, b) = two().await;
        world.routes("web", &[(json!({}), forward(&[to("a", 90), to("b", 10)], json!({})))]).await;
        let client = world.client().await;
        for _ in 0..1000 {
            assert_eq!(client.get("web", "/").await.status, OK);
        }
        let (a, b) = (a.hits(), b.hits());
        assert_eq!(a + b, 1000);
        // Six standard deviations: one run in a billion is beyond them.
        assert!((43..=157).contains(&b), "{b} of a thousand are to be about a hundred");
        // Flipped, all of them go there at once.
        world.routes("web", &[(json!({}), forward(&[to("a", 0), to("b", 10)], json!({})))]).await;
        for _ in 0..50 {
            assert_eq!(client.get("web", "/").await.text(), "b");
        }
    });
}

#[test]
fn matches() {
    run(async {
        let (world, _a, _b) = two().await;
        let chrome = json!({"headers": [{"name": "user-agent", "value": {"pattern": ".*Chrome.*"}}]});
        let deep = json!({"path": {"within": "/deep"}, "method": {"exact": "GET"}});
        let to_b = || forward(&[to("b", 1)], json!({}));
        let rest = json!({"path": {"within": "/shop"}});
        let rules = [(chrome, to_b()), (deep, to_b()), (rest, forward(&[to("a", 1)], json!({})))];
        world.routes("web", &rules).await;
        let client = world.client().await;
        for (path, headers, want) in [
            ("/shop", &[][..], (200, "a")),
            ("/shop", &[("user-agent", "Mozilla Chrome/1")][..], (200, "b")),
            ("/deep/down", &[], (200, "b")),
            ("/shop/../deep", &[], (200, "b")),
            ("/deeper", &[], (404, "")),
        ] {
            let answer = client.ask("web", get(path, headers)).await;
            assert_eq!((answer.status.as_u16(), &*answer.text()), want, "{path} {headers:?}");
        }
        let line = world.line("/deeper").await;
        assert_eq!((line["status"].as_u64(), line["flags"].as_str()), (Some(404), Some("NR")), "{line}");
        let line = world.line("/deep/down").await;
        assert_eq!(line["rule"], "HTTPRoute shop/web rule 2", "{line}");
        assert_eq!(line["dst.workload"], "b-11", "{line}");
    });
}

#[test]
fn redirects_rewrites_and_headers() {
    run(async {
        let (world, a, _b) = two().await;
        let redirect = json!({"action": {"redirect": {"status": 302, "host": "new.shop", "path": {"segments": {"prefix": "/old", "by": "/new"}}}}});
        let rewrite =
            json!({"rewrite": {"host": "inner", "path": {"segments": {"prefix": "/api", "by": "/v1"}}}});
        let headers = json!({"requestHeaders": {"set": [["x-set", "1"]], "remove": ["x-gone"]}, "responseHeaders": {"add": [["x-more", "2"]]}});
        let rules = [
            (json!({"path": {"within": "/old"}}), redirect),
            (json!({"path": {"within": "/api"}}), with(forward(&[to("a", 1)], rewrite), headers)),
        ];
        world.routes("web", &rules).await;
        let client = world.client().await;
        let answer = client.get("web", "/old/page?x=1").await;
        assert_eq!(answer.status, 302);
        assert_eq!(answer.header("location"), Some("http://new.shop/new/page?x=1"));
        let request = get(
            "/api/things?y=2",
            &[
                ("x-gone", "1"),
                ("x-forwarded-client-cert", "forged"),
                ("connection", "x-hop"),
                ("x-hop", "1"),
            ],
        );
        let answer = client.ask("web", request).await;
        assert_eq!((answer.status, answer.header("x-more")), (OK, Some("2")));
        let (head, _) = a.seen().pop().expect("it came");
        assert_eq!(head.uri, "/v1/things?y=2");
        let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
        assert_eq!(
            (header("host"), header("x-set"), header("x-gone"), header("x-hop")),
            (Some("inner"), Some("1"), None, None)
        );
        let certificate =
            "By=spiffe://cluster.local/ns/shop/sa/waypoint;URI=spiffe://cluster.local/ns/shop/sa/client";
        assert_eq!(header("x-forwarded-client-cert"), Some(certificate));
        assert_eq!(header("x-request-id").map(str::len), Some(36));
    });
}

#[test]
fn mirrors_get_a_copy_and_change_nothing() {
    run(async {
        let (world, a, b) = two().await;
        let mirrors = json!({"mirrors": [{"share": 1_000_000, "target": target("b")}]});
        world.routes("web", &[(json!({}), forward(&[to("a", 1)], mirrors))]).await;
        let client = world.client().await;
        let body = Bytes::from(vec![b'x'; 100_000]);
        let request = Request::post("/copied").header("host", "web").body(Full::new(body.clone())).unwrap();
        let answer = client.ask("web", request).await;
        assert_eq!(answer.text(), "a");
        let (head, copied) = eventually(|| async { b.seen().pop() }).await;
        assert_eq!((head.uri.path(), head.headers["host"].as_bytes()), ("/copied", &b"web-shadow"[..]));
        assert_eq!((copied.len(), a.seen()[0].1.len()), (body.len(), body.len()));
    });
}

#[test]
fn copies_are_whole_by_either_version() {
    run(async {
        let (world, _a, one) = two().await;
        world.put_service("tcp", AppProtocol::Http2);
        let other = world.backend("tcp", 12, Backend::named("two").by_http2()).await;
        let mirrors = json!({"mirrors": [
            {"share": 1_000_000, "target": target("b")},
            {"share": 1_000_000, "target": target("tcp")},
        ]});
        world.routes("web", &[(json!({}), forward(&[to("a", 1)], mirrors))]).await;
        let client = world.client().await;
        for version in [Version::HTTP_11, Version::HTTP_2] {
            let body = Bytes::from(vec![b'x'; 100_000]);
            let request = Request::post(format!("http://web.shop/{version:?}")).header("host", "web.shop");
            let request = request.body(Full::new(body.clone())).unwrap();
            let response = match version {
                Version::HTTP_2 => client.http2("web").await.send_request(request).await,
                _ => client.http1("web").await.send_request(request).await,
            };
            assert_eq!(whole(response.unwrap()).await.text(), "a");
            for (copies, spoken) in [(&one, "HTTP/1.1"), (&other, "HTTP/2")] {
                let is_this =
                    |(head, _): &(request::Parts, Bytes)| head.uri.path().ends_with(&*format!("{version:?}"));
                let (_, copied) = eventually(|| async { copies.seen().into_iter().find(is_this) }).await;
                assert_eq!(copied.len(), body.len(), "by {version:?} to a mirror that speaks {spoken}");
            }
        }
    });
}

#[test]
fn cors() {
    run(async {
        let (world, a, _b) = two().await;
        let words = json!({"cors": {"origins": [{"exact": "https://shop.org"}], "methods": ["GET"], "headers": [], "exposed": ["x-own"]}});
        world.routes("web", &[(json!({}), with(forward(&[to("a", 1)], json!({})), words))]).await;
        let client = world.client().await;
        let preflight = Request::options("/").header("host", "web").header("origin", "https://shop.org");
        let preflight =
            preflight.header("access-control-request-method", "GET").body(Full::default()).unwrap();
        let answer = client.ask("web", preflight).await;
        assert_eq!((answer.status, answer.header("access-control-allow-methods")), (OK, Some("GET")));
        assert_eq!(a.hits(), 0, "a preflight is answered by the waypoint");
        for (origin, want) in [("https://shop.org", Some("https://shop.org")), ("https://evil.org", None)] {
            let answer = client.ask("web", get("/", &[("origin", origin)])).await;
            assert_eq!(answer.header("access-control-allow-origin"), want, "{origin}");
            assert_eq!(answer.text(), "a");
        }
    });
}

#[test]
fn subsets_and_what_is_nowhere() {
    run(async {
        let world = World::start().await;
        let _v1 = world.backend("web", 10, Backend::named("v1")).await;
        let _v2 = world.backend("web", 11, Backend::named("v2")).await;
        let subset = |name: &str| {
            let mut backend = to("web", 1);
            backend["to"]["target"]["service"]["subset"] = json!(name);
            forward(&[backend], json!({}))
        };
        let nowhere = forward(&[json!({"weight": 1, "to": {"target": {"nowhere": "a test"}}})], json!({}));
        let rules = [
            (json!({"path": {"within": "/v2"}}), subset("v2")),
            (json!({"path": {"within": "/v3"}}), subset("v3")),
            (json!({"path": {"within": "/nowhere"}}), nowhere),
        ];
        let destination =
            json!({"settings": {}, "subsets": {"v2": {"labels": {"app": "web-11"}, "settings": {}}}});
        world.traffic("web", &rules, &destination).await;
        let client = world.client().await;
        for _ in 0..20 {
            assert_eq!(client.get("web", "/v2").await.text(), "v2");
        }
        assert_eq!(client.get("web", "/v3").await.status, 503);
        assert_eq!(client.get("web", "/nowhere").await.status, 500);
        let line = world.line("/v3").await;
        assert!(line["why"].as_str().is_some_and(|why| why.contains("v3")), "{line}");
    });
}

#[test]
fn a_service_without_routes_gets_its_own_endpoints() {
    run(async {
        let world = World::start().await;
        let _web = world.backend("web", 10, Backend::named("web")).await;
        let client = world.client().await;
        eventually(|| async { (client.get("web", "/").await.status == OK).then_some(()) }).await;
        assert_eq!(client.get("web", "/").await.text(), "web");
        // Said and taken back: nothing is left of it.
        world.routes("web", &all_to("web")).await;
        assert_eq!(client.get("web", "/").await.text(), "web");
        eventually(|| async {
            let metrics = world.http(15020, "/metrics").unwrap();
            let counted = metrics.lines().find(|line| {
                line.starts_with("istio_requests_total{") && line.contains("destination_workload=\"web-10\"")
            })?;
            for label in [
                "reporter=\"waypoint\"",
                "source_workload=\"client\"",
                "response_code=\"200\"",
                "destination_service_name=\"web\"",
                "request_protocol=\"http\"",
                "response_flags=\"-\"",
            ] {
                assert!(counted.contains(label), "{label}: {counted}");
            }
            Some(())
        })
        .await;
    });
}

#[test]
fn a_header_that_is_no_text_slips_past_no_rule() {
    run(async {
        let world = World::start().await;
        let web = world.backend("web", 10, Backend::named("web")).await;
        let header =
            |value: Value, not: bool| json!({"headers": [{"name": "x-user", "value": value, "not": not}]});
        let refuse = json!({"action": {"respond": {"status": 403, "body": []}}});
        let rules = [
            (header(json!({"pattern": ".*root.*"}), false), refuse.clone()),
            // What `withoutHeaders` says: nobody but who has no such header.
            (header(json!("present"), true), forward(&[to("web", 1)], json!({}))),
            (json!({}), refuse),
        ];
        world.routes("web", &rules).await;
        let client = world.client().await;
        let before = web.hits();
        let ask = async |value: &[u8]| {
            let value = http::HeaderValue::from_bytes(value).unwrap();
            let mut request = get("/", &[]);
            request.headers_mut().insert("x-user", value);
            client.ask("web", request).await.status.as_u16()
        };
        for value in [&b"root"[..], b"root\xff", b"\xe9root", b"other\xff", "caf\u{e9} root".as_bytes()] {
            assert_eq!(ask(value).await, 403, "{value:?}");
        }
        assert_eq!(web.hits(), before);
        assert_eq!(client.get("web", "/").await.status, OK);
    });
}

#[test]
fn who_asks_for_the_service_s_own_address_gets_any_endpoint_of_a_passthrough() {
    run(async {
        let world = World::start().await;
        let one = world.backend("web", 10, Backend::named("web")).await;
        let other = world.backend("web", 11, Backend::named("web")).await;
        world.traffic("web", &all_to("web"), &json!({"settings": {"balancer": "passthrough"}})).await;
        let client = world.client().await;
        for _ in 0..40 {
            assert_eq!(client.get("web", "/").await.text(), "web");
        }
        // Of forty throws of a coin, all on one side are one in 2^39.
        assert!(one.hits() > 0 && other.hits() > 0, "{} {}", one.hits(), other.hits());
    });
}

#[test]
fn a_subset_without_endpoints_may_fall_back_on_all() {
    run(async {
        let world = World::start().await;
        let all = world.backend("web", 10, Backend::named("all")).await;
        let mut target = to("web", 1);
        target["to"]["target"]["service"]["subset"] = json!("v3");
        let rules = [(json!({}), forward(&[target], json!({})))];
        let subset = |empty: &str| {
            let subset = json!({"labels": {"version": "v3"}, "settings": {}, "empty": empty});
            json!({"settings": {}, "subsets": {"v3": subset}})
        };
        world.traffic("web", &rules, &subset("nobody")).await;
        let client = world.client().await;
        assert_eq!(client.get("web", "/").await.status, 503);
        world.traffic("web", &rules, &subset("everybody")).await;
        assert_eq!(client.get("web", "/").await.text(), "all");
        let own = workload("v3", world.ip(11), "web", TunnelProtocol::Plain);
        let own = Workload { labels: [("version".into(), "v3".into())].into(), ..own };
        Backend::named("v3").listen((world.ip(11), PORT).into()).await;
        world.put_workload(&own);
        eventually(|| async { (client.get("web", "/").await.text() == "v3").then_some(()) }).await;
        let before = all.hits();
        for _ in 0..10 {
            assert_eq!(client.get("web", "/").await.text(), "v3");
        }
        assert_eq!(all.hits(), before, "it has one of its own now");
    });
}
