//! Connections of bytes: what is told of them, and what ends them.

use crate::backend::Backend;
use crate::client::Client;
use crate::words::{PORT, service_name, workload};
use crate::world::{OK, World, all_to, eventually, in_both};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::spawn_local;
use weft_core::service::AppProtocol;
use weft_core::workload::TunnelProtocol;
use weft_tunnel::accept::Dialect;
use weft_tunnel::end::Broken;
use weft_tunnel::io::TunnelIo;

/// A waypoint before a server that sends back what it gets.
async fn echo(dialect: Dialect, settings: &[(&str, &str)]) -> World {
    let world = World::start_with(settings).await.spoken_to_in(dialect);
    world.put_service("tcp", AppProtocol::Tcp);
    world.put_workload(&workload("tcp-10", world.ip(10), "tcp", TunnelProtocol::Plain));
    let listener = TcpListener::bind((world.ip(10), PORT)).await.unwrap();
    spawn_local(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            spawn_local(async move {
                let (mut read, mut write) = stream.split();
                // Whoever breaks off is not this server's concern.
                drop(tokio::io::copy(&mut read, &mut write).await);
            });
        }
    });
    world
}

/// A connection that has carried five bytes there and back.
async fn open(client: &Client) -> TunnelIo {
    eventually(|| async {
        let mut io = client.raw("tcp").await;
        let mut back = [0; 5];
        let sent = io.write_all(b"hello").await.is_ok();
        (sent && io.read_exact(&mut back).await.is_ok() && back == *b"hello").then_some(io)
    })
    .await
}

#[test]
fn a_connection_is_counted_and_told() {
    in_both(|dialect| async move {
        let world = echo(dialect, &[]).await;
        let client = world.client().await;
        let mut io = open(&client).await;
        io.shutdown().await.unwrap();
        let mut rest = Vec::new();
        io.read_to_end(&mut rest).await.unwrap();
        assert!(rest.is_empty(), "{rest:?}");
        let line = world.line_where(|line| line["end"] == "closed").await;
        let fields = ["protocol", "flags", "dst.workload", "dst.service", "src.workload"];
        let told = fields.map(|field| line[field].as_str().unwrap_or_default());
        assert_eq!(told, ["TCP", "-", "tcp-10", "tcp.shop.svc.cluster.local", "client"], "{line}");
        assert_eq!(
            (line["bytes_received"].as_u64(), line["bytes_sent"].as_u64()),
            (Some(5), Some(5)),
            "{line}"
        );
        // Those before it, if discovery was behind, have not been opened.
        eventually(|| async {
            let text = world.http(15020, "/metrics")?;
            let of_tcp = |name: &str, value: &str| {
                let ours = |line: &str| {
                    line.starts_with(&format!("{name}{{"))
                        && line.contains(r#"destination_workload="tcp-10""#)
                        && line.contains(r#"request_protocol="tcp""#)
                        && line.ends_with(&format!(" {value}"))
                };
                text.lines().any(ours)
            };
            let all = [
                ("istio_tcp_connections_opened_total", "1"),
                ("istio_tcp_connections_closed_total", "1"),
                ("istio_tcp_received_bytes_total", "5"),
                ("istio_tcp_sent_bytes_total", "5"),
            ];
            all.iter().all(|(name, value)| of_tcp(name, value)).then_some(())
        })
        .await;
    });
}

#[test]
fn who_takes_no_connections_is_left_alone() {
    in_both(|dialect| async move {
        let world = echo(dialect, &[]).await;
        // Nobody listens there.
        world.put_workload(&workload("tcp-77", world.ip(77), "tcp", TunnelProtocol::Plain));
        let words = json!({"consecutive5xx": 3, "interval": 1_000, "base": 3_600_000, "max": 3_600_000, "ejectedMax": 1_000_000, "healthyMin": 0});
        let destination = json!({"settings": {"balancer": "roundRobin", "outlier": words}});
        world.say_of(&service_name("tcp"), &json!([]), &destination);
        let client = world.client().await;
        let told = |line: &Value| line["flags"] == "UF" && line["dst.workload"] == "tcp-77";
        // Of two in turn one fails, until it has failed three times one after the other.
        let mut row = 0;
        while row < 10 {
            let mut io = client.raw("tcp").await;
            let mut back = [0; 5];
            let sent = io.write_all(b"hello").await.is_ok();
            let answered = sent && io.read_exact(&mut back).await.is_ok();
            row = if answered && world.find_line(told).is_some() { row + 1 } else { 0 };
        }
    });
}

#[test]
fn a_policy_that_denies_ends_what_is_open() {
    in_both(|dialect| async move {
        let world = echo(dialect, &[]).await;
        let client = world.client().await;
        let mut io = open(&client).await;
        // One that denies others changes nothing.
        let others = json!([{"from": [{"principals": ["cluster.local/ns/shop/sa/other"]}]}]);
        world.policy("others", "deny", "enforced", &others);
        world.policy("dry", "deny", "dryRun", &json!([{}]));
        eventually(|| async {
            let mut other = client.raw("tcp").await;
            let _ = other.write_all(b"x").await;
            let _ = other.shutdown().await;
            let mut back = Vec::new();
            let _ = other.read_to_end(&mut back).await;
            world.find_line(|line| line["dry_run"] == "denied by policy shop/dry").map(|_| ())
        })
        .await;
        io.write_all(b"hello").await.unwrap();
        let mut back = [0; 5];
        io.read_exact(&mut back).await.unwrap();
        world.policy("all", "deny", "enforced", &json!([{"to": [{"ports": [80]}]}]));
        assert!(io.read_u8().await.is_err(), "it is ended, and nothing is said on it");
        let line = world.line_where(|line| line["end"] == "policy_changed").await;
        assert_eq!(line["bytes_received"], 10, "{line}");
        let mut refused = client.raw("tcp").await;
        let _ = refused.write_all(b"x").await;
        assert!(refused.read_u8().await.is_err());
        let line = world.line_where(|line| line["why"] == "denied by policy shop/all").await;
        assert_eq!((line["end"].as_str(), line["flags"].as_str()), (Some("refused"), Some("-")), "{line}");
    });
}

#[test]
fn what_idles_too_long_is_ended() {
    in_both(|dialect| async move {
        let world = echo(dialect, &[("WEFT_IDLE_TIMEOUT_SECONDS", "1")]).await;
        let client = world.client().await;
        let mut io = open(&client).await;
        assert!(io.read_u8().await.is_err());
        world.line_where(|line| line["end"] == "idle_timeout").await;
    });
}

#[test]
fn what_idles_longer_than_its_rule_allows_is_ended() {
    in_both(|dialect| async move {
        let world = echo(dialect, &[]).await;
        // What is said of connections of HTTP is nothing to it.
        let limits = json!({"idle": 3_600_000, "bytesIdle": 200});
        world.say("tcp", &[], &json!({"settings": {"limits": limits}}));
        let client = world.client().await;
        // Those that it had before it heard of the limit have none.
        eventually(|| async {
            let mut io = open(&client).await;
            tokio::time::timeout(Duration::from_secs(5), io.read_u8()).await.ok()?.err()
        })
        .await;
        world.line_where(|line| line["end"] == "idle_timeout").await;
    });
}

#[test]
fn what_lasts_too_long_is_ended() {
    in_both(|dialect| async move {
        let world = echo(dialect, &[]).await;
        world.put_service("tcp", AppProtocol::Tcp);
        world.say("tcp", &[], &json!({"settings": {"limits": {"age": 500}}}));
        let client = world.client().await;
        // Those that it had before it heard of the limit have none.
        eventually(|| async {
            let mut io = open(&client).await;
            let ended = tokio::time::timeout(Duration::from_secs(2), async {
                // It is never idle.
                while io.write_all(b"x").await.is_ok() && io.read_u8().await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            });
            ended.await.ok()
        })
        .await;
        let line = world.line_where(|line| line["end"] == "max_duration").await;
        assert!(line["duration_ms"].as_f64().unwrap() >= 500.0, "{line}");
    });
}

#[test]
fn a_server_that_breaks_off_resets_its_client() {
    in_both(|dialect| async move {
        let world = World::start().await.spoken_to_in(dialect);
        world.put_service("tcp", AppProtocol::Tcp);
        world.put_workload(&workload("tcp-10", world.ip(10), "tcp", TunnelProtocol::Plain));
        let listener = TcpListener::bind((world.ip(10), PORT)).await.unwrap();
        spawn_local(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                // Once it has said something: what came before counts.
                let said = stream.write_all(b"so far").await;
                let read = stream.read_u8().await;
                socket2::SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO)).unwrap();
                drop((said, read));
            }
        });
        let client = world.client().await;
        let error = eventually(|| async {
            let mut io = client.raw("tcp").await;
            let mut said = [0; 6];
            let came = io.read_exact(&mut said).await.is_ok() && said == *b"so far";
            let asked = io.write_all(b"x").await.is_ok();
            let end = io.read_u8().await.expect_err("nothing more was said");
            (came && asked).then_some(end)
        })
        .await;
        assert_eq!(Broken::find(&error), Some(Broken::Reset), "{error}");
    });
}

#[test]
fn series_go_when_nothing_is_counted_under_them() {
    in_both(|dialect| async move {
        let world = echo(dialect, &[("WEFT_METRICS_UNUSED_SECONDS", "1")]).await;
        world.put_service("b", AppProtocol::Tcp);
        let client = world.client().await;
        let mut held = open(&client).await;
        let series = |service: &str| {
            let text = world.http(15020, "/metrics").expect("metrics");
            let name = format!("destination_service_name=\"{service}\"");
            text.lines().filter(|line| line.starts_with("istio_tcp_") && line.contains(&name)).count()
        };
        eventually(|| async {
            // It has no endpoints.
            let mut refused = client.raw("b").await;
            drop(refused.read_to_end(&mut Vec::new()).await);
            (series("b") > 0).then_some(())
        })
        .await;
        eventually(|| async { (series("b") == 0).then_some(()) }).await;
        assert!(series("tcp") > 0, "a connection is open, and may count again");
        held.shutdown().await.unwrap();
        eventually(|| async { (series("tcp") == 0).then_some(()) }).await;
        drop(open(&client).await);
        assert!(series("tcp") > 0, "it is back");
    });
}

#[test]
fn who_reads_nothing_holds_up_nobody_else_of_its_tunnel() {
    in_both(|dialect| async move {
        let world = World::start().await.spoken_to_in(dialect);
        world.backend("web", 10, Backend::large(64 << 20)).await;
        world.put_service("a", AppProtocol::Http11);
        world.backend("a", 11, Backend::named("a")).await;
        world.routes("web", &all_to("web")).await;
        world.routes("a", &all_to("a")).await;
        let client = world.client().await;
        let mut lazy = client.raw("web").await;
        lazy.write_all(b"GET /large HTTP/1.1\r\nhost: web\r\n\r\n").await.unwrap();
        // Its response has begun, and nobody takes more of it.
        assert_eq!(lazy.read_u8().await.unwrap(), b'H');
        for _ in 0..50 {
            let answer = client.get("a", "/").await;
            assert_eq!((answer.status, &*answer.text()), (OK, "a"));
        }
        assert!(
            world.find_line(|line| line["path"] == "/large").is_none(),
            "64 MiB fit into no buffer on the way"
        );
    });
}
