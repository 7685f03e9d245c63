//! Who may ask for what, however it is written.

use crate::backend::Backend;
use crate::client::{Client, get};
use crate::words::workload;
use crate::world::{OK, World, all_to, eventually, run};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use weft_core::service::AppProtocol;
use weft_core::workload::TunnelProtocol;

#[test]
fn a_denied_path_is_denied_in_all_of_its_forms() {
    run(async {
        let world = World::start().await;
        let web = world.backend("web", 10, Backend::named("web")).await;
        world.policy("admin", "deny", "enforced", &json!([{"to": [{"paths": ["/admin", "/admin/*"]}]}]));
        world.policy("dry", "deny", "dryRun", &json!([{"to": [{"paths": ["/dry"]}]}]));
        world.routes("web", &all_to("web")).await;
        let client = world.client().await;
        assert_eq!(client.get("web", "/public").await.status, OK);
        let before = web.hits();
        for path in [
            "/admin",
            "/admin/users",
            "/a/../admin",
            "/./admin",
            "//admin",
            "/%61dmin",
            "/%2e/admin",
            "/x/%2e%2e/admin",
            "/x/%2E%2E/admin",
            "/x%2f..%2fadmin",
            "/admin?x=1",
            "/admin/../admin/",
            "/x/..%5cadmin",
        ] {
            let answer = client.get("web", path).await;
            assert_eq!((answer.status.as_u16(), &*answer.text()), (403, "RBAC: access denied"), "{path}");
        }
        for path in ["/a%00", "/%zz", "/%"] {
            assert_eq!(client.get("web", path).await.status, 400, "{path}");
        }
        assert_eq!(web.hits(), before, "nothing of it got through");
        let line = world.line("/%61dmin").await;
        assert_eq!(
            (line["flags"].as_str(), line["why"].as_str()),
            (Some("-"), Some("denied by policy shop/admin")),
            "{line}"
        );
        assert_eq!(client.get("web", "/dry").await.status, OK);
        assert_eq!(world.line("/dry").await["dry_run"], "denied by policy shop/dry");
    });
}

#[test]
fn only_whom_an_allow_names() {
    run(async {
        let world = World::start().await;
        let _web = world.backend("web", 10, Backend::named("web")).await;
        world.put_workload(&workload("other", world.ip(3), "", TunnelProtocol::Hbone));
        let principals = json!([{"from": [{"principals": ["cluster.local/ns/shop/sa/client"]}], "to": [{"methods": ["GET"]}]}]);
        world.policy("clients", "allow", "enforced", &principals);
        world.routes("web", &all_to("web")).await;
        let client = world.client().await;
        assert_eq!(client.get("web", "/").await.status, OK);
        let post =
            http::Request::post("/").header("host", "web").body(http_body_util::Full::default()).unwrap();
        assert_eq!(client.ask("web", post).await.status, 403);
        let other = Client::connect(&world, "other", world.ip(3)).await;
        assert_eq!(other.ask("web", get("/", &[])).await.status, 403);
    });
}

#[test]
fn bytes_do_not_get_around_a_policy_for_requests() {
    run(async {
        let world = World::start().await;
        world.put_service("tcp", AppProtocol::Tcp);
        let tcp = world.backend("tcp", 10, Backend::named("tcp")).await;
        let client = world.client().await;
        let ask = async || {
            let mut io = client.raw("tcp").await;
            // A refused connection may be closed before it is written to.
            let _ = io.write_all(b"GET /admin HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
            let mut text = String::new();
            let _ = io.read_to_string(&mut text).await;
            text
        };
        eventually(|| async { ask().await.starts_with("HTTP/1.1 200").then_some(()) }).await;
        world.policy("admin", "deny", "enforced", &json!([{"to": [{"paths": ["/admin"]}]}]));
        eventually(|| async { ask().await.is_empty().then_some(()) }).await;
        let before = tcp.hits();
        assert_eq!(ask().await, "");
        assert_eq!(tcp.hits(), before);
    });
}
