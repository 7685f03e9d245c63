//! Clients of HTTP/1 that go while their answer is awaited: all that they have had is given up.

use crate::backend::Backend;
use crate::words::{forward, to};
use crate::world::{OK, World, eventually, run};
use serde_json::json;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use weft_tunnel::io::TunnelIo;

/// Sends until nothing more is taken.
async fn fill(io: &mut TunnelIo) {
    let piece = vec![b'x'; 1 << 20];
    while tokio::time::timeout(Duration::from_millis(500), io.write_all(&piece)).await.is_ok() {}
}

#[test]
fn a_client_that_goes_gives_everything_up() {
    run(async {
        let world = World::start().await;
        let hung = world.backend("web", 10, Backend::hanging("/hung")).await;
        // One request has all the room that there is.
        let destination = json!({"settings": {"limits": {"requests": 1}}});
        world.traffic("web", &[(json!({}), forward(&[to("web", 1)], json!({})))], &destination).await;
        let client = world.client().await;
        let get = "GET /hung HTTP/1.1\r\nHost: a\r\n\r\n";
        let post = format!("POST /hung HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", 1_u64 << 40);
        let next = "GET /next HTTP/1.1\r\nHost: a\r\n\r\n";
        for (number, (case, sends, fills, resets)) in [
            ("it resets", get.to_owned(), false, true),
            ("it closes its socket", get.to_owned(), false, false),
            ("it has pipelined, and resets", format!("{get}{next}"), false, true),
            ("it has pipelined, and closes its socket", format!("{get}{next}"), false, false),
            ("nobody takes its body, and it resets", post, true, true),
        ]
        .into_iter()
        .enumerate()
        {
            let mut io = client.raw("web").await;
            io.write_all(sends.as_bytes()).await.unwrap();
            eventually(|| async { (hung.hung() == number + 1).then_some(()) }).await;
            assert_eq!(client.get("web", "/other").await.status, 503, "{case}: there is no room beside it");
            if fills {
                fill(&mut io).await;
            }
            // A socket that is closed says that nothing more comes, and is reset only by what is sent to it then.
            let kept = if resets {
                drop(io);
                None
            } else {
                io.shutdown().await.unwrap();
                Some(io)
            };
            // A backend that reads nothing of a body hears of nothing behind it.
            eventually(|| async { (fills || hung.given_up() == number + 1).then_some(()) }).await;
            eventually(|| async { (client.get("web", "/other").await.status == OK).then_some(()) }).await;
            if let Some(mut io) = kept {
                let ended = io.read_u8().await;
                assert!(ended.is_err(), "{case}: {ended:?}");
            }
        }
        let line = world.line("/hung").await;
        assert_eq!((line["flags"].as_str(), line["status"].as_u64()), (Some("DC"), Some(0)), "{line}");
        assert!(world.find_line(|line| line["path"] == "/next").is_none(), "nobody was there to want it");
    });
}
