//! What the administrative socket says, and what really happens.

use crate::backend::Backend;
use crate::client::get;
use crate::words::{forward, target, to};
use crate::world::{World, eventually, run};
use serde_json::{Value, json};
use weft_core::service::AppProtocol;

#[test]
fn what_is_explained_is_what_happens() {
    run(async {
        let world = World::start().await;
        world.put_service("a", AppProtocol::Http11);
        world.put_service("b", AppProtocol::Http11);
        let _a = world.backend("a", 10, Backend::named("a")).await;
        let _b = world.backend("b", 11, Backend::named("b")).await;
        let admin = json!([{"to": [{"paths": ["/admin*"]}]}]);
        world.policy("admin", "deny", "enforced", &admin);
        let chrome = json!({"headers": [{"name": "user-agent", "value": {"pattern": ".*Chrome.*"}}]});
        let gone = json!({"path": {"within": "/gone"}});
        let rules = [
            (chrome, forward(&[to("b", 1)], json!({}))),
            (gone, forward(&[to("a", 0)], json!({}))),
            (json!({"path": {"within": "/shop"}}), forward(&[to("a", 1)], json!({}))),
        ];
        world.routes("web", &rules).await;
        let client = world.client().await;
        for (path, agent, want) in [
            ("/shop", "curl/8", (200, "allowed", Some(3), "it goes to shop/a")),
            ("/shop", "Chrome/142 (X; Y)", (200, "allowed", Some(1), "it goes to shop/b")),
            ("/x/../shop/%61", "curl/8", (200, "allowed", Some(3), "it goes to shop/a")),
            ("/nothing", "curl/8", (404, "allowed", None, "it gets 404")),
            ("/gone", "curl/8", (500, "allowed", Some(2), "it gets 500")),
            ("/x/../admin", "Chrome/142", (403, "denied", None, "it gets 403")),
        ] {
            let answer = client.ask("web", get(path, &[("user-agent", agent)])).await;
            let (escaped, agent) = (path.replace('%', "%25"), agent.replace(' ', "%20"));
            let told = world.told(&format!(
                "/explain?service=shop/web&method=GET&path={escaped}&header=user-agent:%20{agent}&from=shop/client"
            ));
            let (status, verdict, rule, outcome) = want;
            assert_eq!(answer.status.as_u16(), status, "{path} {agent}");
            assert_eq!(told["verdict"], verdict, "{path} {agent}: {told:#}");
            assert!(told["outcome"].as_str().is_some_and(|text| text.contains(outcome)), "{path}: {told:#}");
            let by = told["rule"]["rule"].as_str();
            let rule = rule.map(|number| format!("HTTPRoute shop/web rule {number}"));
            assert_eq!(by, rule.as_deref(), "{path} {agent}: {told:#}");
            if status == 200 {
                let endpoint = told["backends"][0]["endpoints"][0].as_str().unwrap_or_default();
                assert!(endpoint.starts_with(&format!("shop/{}-", answer.text())), "{path}: {told:#}");
            }
        }
    });
}

#[test]
fn routes_endpoints_and_the_rest_are_told() {
    run(async {
        let world = World::start().await;
        world.put_service("a", AppProtocol::Http11);
        let _a = world.backend("a", 10, Backend::named("a")).await;
        world.routes("web", &[(json!({}), forward(&[to("a", 3), to("nobody", 1)], json!({})))]).await;
        let listing = world.told("/routes?service=web");
        let rules = listing["ports"][0]["rules"].as_array().expect("rules");
        let rows: Vec<(&Value, &Value)> = rules.iter().map(|rule| (&rule["match"], &rule["rule"])).collect();
        assert_eq!(rows[1], (&json!("every request"), &json!("HTTPRoute shop/web rule 1")), "{listing:#}");
        assert_eq!(rules[1]["backends"][0]["percent"], 75.0, "{listing:#}");
        let client = world.client().await;
        eventually(|| async {
            client.get("web", "/").await;
            let told = world.told("/endpoints");
            let name = |row: &Value| row["workload"] == "shop/a-10" && row["state"] == "healthy";
            told.as_array().expect("a list").iter().any(name).then_some(())
        })
        .await;
        let nowhere = world.told("/explain?service=web&path=/&method=GET");
        let problem = nowhere["backends"][1]["problem"].as_str().unwrap_or_default();
        assert!(problem.contains("there is no service"), "{nowhere:#}");
        assert_eq!(world.told("/certificates")[0]["valid"], true);
        let status = world.told("/status");
        assert_eq!(status["pod"], "shop/waypoint", "{status:#}");
        assert!(status["services"].as_array().expect("a list").iter().any(|one| one == &target_name("web")));
        for (path, status, why) in [
            ("/routes?service=nobody", 404, "is no service that this waypoint stands before"),
            ("/routes", 404, "which service?"),
            ("/explain?service=web&port=81", 400, "no port of the service"),
            ("/explain?service=web&header=x", 400, "it reads NAME: VALUE"),
            ("/explain?service=web&path=x", 400, "begins with a slash"),
            ("/explain?service=web&path=%zz", 400, "is no text"),
            ("/explain?service=web&from=shop/nobody", 400, "is no pod that discovery knows"),
        ] {
            let (got, body) = world.admin(path);
            assert_eq!(got, status, "{path}: {body}");
            assert!(body.contains(why), "{path}: {body}");
        }
    });
}

/// The service's name, as discovery has it.
fn target_name(service: &str) -> String {
    let target = target(service);
    target["service"]["service"].as_str().expect("a name").to_owned()
}
