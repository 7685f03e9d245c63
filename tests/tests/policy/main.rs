//! Who may talk to whom: PeerAuthentication and AuthorizationPolicy on the real mesh.
#![forbid(unsafe_code)]

mod arena;

use anyhow::{Context as _, Result, ensure};
use arena::{Arena, Trial, Way, authorization, peers};
use serde_json::{Value, json};
use std::time::Duration;
use weft_testkit::{App, Pod};
use weft_tests::talk::{Ending, Talk};
use weft_tests::waiting::{await_line, eventually};

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(5);
const NOBODY: fn(&Way) -> bool = |_| false;
const EVERYBODY: fn(&Way) -> bool = |_| true;
const STRANGER: fn(&Way) -> bool = |way| way.client == "stranger";
const CLIENT: fn(&Way) -> bool = |way| way.client == "client";
const CLERK: fn(&Way) -> bool = |way| way.client == "clerk";

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn plain_text_is_accepted_until_strict_refuses_it() -> Result<()> {
    let mut arena = Arena::set()?;
    let strict = || json!({"mtls": {"mode": "STRICT"}});
    let selecting = |app: &str, rest: Value| {
        let mut spec = json!({"selector": {"matchLabels": {"app": app}}});
        spec.as_object_mut()
            .into_iter()
            .for_each(|spec| spec.extend(rest.as_object().cloned().unwrap_or_default()));
        spec
    };
    let mesh_wide = || peers("istio-system", "default", &strict());
    for trial in [
        Trial { case: "the whole mesh", objects: vec![mesh_wide()], refused: STRANGER },
        Trial {
            case: "one namespace",
            objects: vec![peers("bank", "default", &strict())],
            refused: STRANGER,
        },
        Trial {
            case: "another namespace",
            objects: vec![peers("shop", "default", &strict())],
            refused: NOBODY,
        },
        Trial {
            case: "one workload",
            objects: vec![peers("bank", "near", &selecting("near", strict()))],
            refused: |way| STRANGER(way) && way.server == "near",
        },
        Trial {
            case: "one port of a workload",
            objects: vec![peers(
                "bank",
                "far",
                &selecting("far", json!({"portLevelMtls": {"7000": {"mode": "STRICT"}}})),
            )],
            refused: |way| STRANGER(way) && way.server == "far" && way.to.port() == 7000,
        },
        Trial {
            case: "the whole mesh, except for one namespace",
            objects: vec![mesh_wide(), peers("bank", "default", &json!({"mtls": {"mode": "PERMISSIVE"}}))],
            refused: NOBODY,
        },
        Trial {
            case: "the whole mesh, except for one workload",
            objects: vec![
                mesh_wide(),
                peers("bank", "near", &selecting("near", json!({"mtls": {"mode": "PERMISSIVE"}}))),
            ],
            refused: |way| STRANGER(way) && way.server == "far",
        },
        Trial {
            case: "one workload, except for one port",
            objects: vec![peers(
                "bank",
                "far",
                &selecting(
                    "far",
                    json!({"mtls": {"mode": "STRICT"}, "portLevelMtls": {"7100": {"mode": "PERMISSIVE"}}}),
                ),
            )],
            refused: |way| STRANGER(way) && way.server == "far" && way.to.port() == 7000,
        },
    ] {
        arena.try_out(&trial)?;
    }
    arena.assert_prompt()
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn authorization_policies_decide_who_may() -> Result<()> {
    let mut arena = Arena::set()?;
    let ips: Vec<String> = arena.clients[0].ips().iter().map(ToString::to_string).collect();
    let from = |action: &str, source: Value| {
        authorization("bank", "trial", &json!({"action": action, "rules": [{"from": [{"source": source}]}]}))
    };
    let to = |action: &str, operation: Value| {
        authorization(
            "bank",
            "trial",
            &json!({"action": action, "rules": [{"to": [{"operation": operation}]}]}),
        )
    };
    let when = |action: &str, condition: Value| {
        authorization("bank", "trial", &json!({"action": action, "rules": [{"when": [condition]}]}))
    };
    let not_client: fn(&Way) -> bool = |way| !CLIENT(way);
    let not_clerk: fn(&Way) -> bool = |way| !CLERK(way);
    let client = "cluster.local/ns/shop/sa/client";
    for (case, policy, refused) in [
        ("DENY a principal", from("DENY", json!({"principals": [client]})), CLIENT),
        ("ALLOW a principal", from("ALLOW", json!({"principals": [client]})), not_client),
        (
            "ALLOW principals by prefix",
            from("ALLOW", json!({"principals": ["cluster.local/ns/shop/*"]})),
            not_client,
        ),
        ("ALLOW any principal", from("ALLOW", json!({"principals": ["*"]})), STRANGER),
        ("DENY all but a principal", from("DENY", json!({"notPrincipals": [client]})), not_client),
        ("ALLOW a namespace", from("ALLOW", json!({"namespaces": ["bank"]})), not_clerk),
        ("DENY a namespace", from("DENY", json!({"namespaces": ["bank"]})), CLERK),
        ("DENY all but a namespace", from("DENY", json!({"notNamespaces": ["bank"]})), not_clerk),
        ("ALLOW a service account", from("ALLOW", json!({"serviceAccounts": ["shop/client"]})), not_client),
        ("DENY an account of the own namespace", from("DENY", json!({"serviceAccounts": ["clerk"]})), CLERK),
        ("DENY all but an account", from("DENY", json!({"notServiceAccounts": ["clerk"]})), not_clerk),
        ("ALLOW addresses", from("ALLOW", json!({"ipBlocks": ips})), not_client),
        ("DENY all but addresses", from("DENY", json!({"notIpBlocks": ips})), not_client),
        ("DENY a port", to("DENY", json!({"ports": ["7100"]})), |way| way.to.port() == 7100),
        ("ALLOW all but a port", to("ALLOW", json!({"notPorts": ["7100"]})), |way| way.to.port() == 7100),
        ("DENY by an address condition", when("DENY", json!({"key": "source.ip", "values": ips})), CLIENT),
        (
            "ALLOW by a port condition",
            when("ALLOW", json!({"key": "destination.port", "values": ["7100"]})),
            |way| way.to.port() != 7100,
        ),
        ("ALLOW nobody", authorization("bank", "trial", &json!({})), EVERYBODY),
        ("ALLOW everybody", authorization("bank", "trial", &json!({"rules": [{}]})), NOBODY),
        ("ALLOW a method, which only a waypoint sees", to("ALLOW", json!({"methods": ["GET"]})), EVERYBODY),
        (
            "DENY a method, which only a waypoint sees, on a port",
            to("DENY", json!({"methods": ["GET"], "ports": ["7000"]})),
            |way| way.to.port() == 7000,
        ),
        ("CUSTOM, which nobody can ask", from("CUSTOM", json!({"principals": ["*"]})), EVERYBODY),
    ] {
        arena.try_out(&Trial { case, objects: vec![policy], refused })?;
    }
    arena.assert_prompt()
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn a_policy_reaches_what_its_scope_says() -> Result<()> {
    let mut arena = Arena::set()?;
    let no_client = json!({
        "action": "DENY", "rules": [{"from": [{"source": {"principals": ["cluster.local/ns/shop/sa/client"]}}]}],
    });
    let only = |app: &str| {
        let mut spec = no_client.clone();
        spec["selector"] = json!({"matchLabels": {"app": app}});
        spec
    };
    let anybody_to = |port: &str| json!({"rules": [{"to": [{"operation": {"ports": [port]}}]}]});
    for trial in [
        Trial {
            case: "a workload",
            objects: vec![authorization("bank", "far", &only("far"))],
            refused: |way| CLIENT(way) && way.server == "far",
        },
        Trial {
            case: "a namespace",
            objects: vec![authorization("bank", "all", &no_client)],
            refused: CLIENT,
        },
        Trial {
            case: "another namespace",
            objects: vec![authorization("shop", "all", &no_client)],
            refused: NOBODY,
        },
        Trial {
            case: "the mesh",
            objects: vec![authorization("istio-system", "all", &no_client)],
            refused: CLIENT,
        },
        Trial {
            case: "a workload, from the mesh's root namespace",
            objects: vec![authorization("istio-system", "near", &only("near"))],
            refused: |way| CLIENT(way) && way.server == "near",
        },
        Trial {
            case: "ALLOW of two policies adds up",
            objects: vec![
                authorization("bank", "one", &anybody_to("7000")),
                authorization("istio-system", "two", &anybody_to("7100")),
            ],
            refused: NOBODY,
        },
        Trial {
            case: "DENY comes before ALLOW",
            objects: vec![
                authorization("bank", "all", &no_client),
                authorization("bank", "some", &anybody_to("7000")),
            ],
            refused: |way| CLIENT(way) || way.to.port() != 7000,
        },
    ] {
        arena.try_out(&trial)?;
    }
    arena.assert_prompt()
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn a_policy_on_trial_is_only_reported() -> Result<()> {
    let mut arena = Arena::set()?;
    let mut policy = authorization(
        "bank",
        "trial",
        &json!({"action": "DENY", "rules": [{"from": [{"source": {"namespaces": ["shop"]}}]}]}),
    );
    policy["metadata"]["annotations"] = json!({"istio.io/dry-run": "true"});
    arena.try_out(&Trial { case: "on trial", objects: vec![policy.clone()], refused: NOBODY })?;
    arena.apply(&[policy])?;
    for way in arena.ways().into_iter().filter(|way| !STRANGER(way)) {
        let wanted = CLIENT(&way).then_some("would be denied by policy bank/trial");
        eventually(&format!("the log of {way}"), PATIENCE, || {
            let line = arena.line_of_a_new_connection(&way)?;
            ensure!(line["dry_run"].as_str() == wanted, "{line}");
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn what_cannot_be_understood_denies_until_it_is_mended() -> Result<()> {
    let arena = Arena::set()?;
    let spec = json!({
        "selector": {"matchLabels": {"app": "far"}},
        "rules": [{"from": [{"source": {"namespaces": ["shop", "bank"]}}]}],
    });
    let broken = |change: fn(&mut Value)| {
        let mut spec = spec.clone();
        change(&mut spec);
        authorization("bank", "trial", &spec)
    };
    let far: fn(&Way) -> bool = |way| way.server == "far";
    let stranger_to_far: fn(&Way) -> bool = |way| STRANGER(way) && way.server == "far";
    let not_far: fn(&Way) -> bool = |way| way.server != "far";
    arena.apply(&[authorization("bank", "trial", &spec)])?;
    arena.settles(stranger_to_far, not_far).context("as it is meant")?;
    for (case, policy) in [
        ("an unknown field", broken(|spec| spec["rulez"] = json!([]))),
        (
            "a misspelt one deep inside",
            broken(|spec| spec["rules"][0]["from"][0]["source"]["namespace"] = json!("x")),
        ),
        ("a wrong type", broken(|spec| spec["rules"] = json!("all"))),
        ("no port", broken(|spec| spec["rules"][0]["to"] = json!([{"operation": {"ports": ["http"]}}]))),
        ("no action", broken(|spec| spec["action"] = json!("REFUSE"))),
    ] {
        let way = arena.ways().into_iter().find(|way| CLIENT(way) && far(way)).context("a way")?;
        let open = Talk::begin(&way.from, way.to)?;
        let flow = open.flow()?;
        arena.apply(&[policy])?;
        arena.settles(far, not_far).context(case)?;
        open.wait_for_end(PATIENCE).context(case)?;
        let line = arena.line_at_server(&way, flow)?;
        ensure!(line["end"] == "policy_changed", "{case}: {line}");
        let explained = arena.explain(&way)?;
        let why = explained["why"].as_str().unwrap_or_default();
        ensure!(why.contains("bank/trial cannot be understood"), "{case}: {explained}");
        arena.apply(&[authorization("bank", "trial", &spec)])?;
        arena.settles(stranger_to_far, not_far).with_context(|| format!("mended after {case}"))?;
    }
    Ok(())
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn a_connection_that_a_policy_overtakes_is_ended_too() -> Result<()> {
    const PORT: u16 = 7200;
    let arena = Arena::set()?;
    let way = arena.ways().into_iter().find(|way| CLIENT(way) && way.server == "far").context("a way")?;
    let far = &arena.servers[1];
    let slow = far.start_app(&App::echo().port(PORT))?;
    slow.pause()?;
    let full = far.fill_accept_queue(far.addr(PORT), 15_000)?;
    // Policy lets it in, and then the application lets it wait.
    let talk = Talk::open(&way.from, far.addr(PORT))?;
    let flow = talk.flow()?;
    eventually("the proxy dials", PATIENCE, || {
        ensure!(is_dialled(far, PORT)?, "nothing is on its way to {PORT}");
        Ok(())
    })?;
    let no_shop = json!({"action": "DENY", "rules": [{"from": [{"source": {"namespaces": ["shop"]}}]}]});
    arena.apply(&[authorization("bank", "late", &no_shop)])?;
    arena.await_policy("late")?;
    drop(full);
    slow.resume()?;
    ensure!(talk.wait_for_end(PATIENCE)? == Ending::Reset, "a denied connection ended in order");
    let line = await_line(arena.mesh.proxy(2), flow, &["inbound"])?;
    ensure!(line["end"] == "policy_changed", "{line}");
    Ok(())
}

/// Whether a socket in the pod's namespace is connecting to this port and has got no answer.
fn is_dialled(pod: &Pod, port: u16) -> Result<bool> {
    const SYN_SENT: &str = "02";
    let table = pod.enter(|| std::fs::read_to_string("/proc/thread-self/net/tcp"))??;
    let mut sockets = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    Ok(sockets.any(|fields| {
        fields.get(2).is_some_and(|remote| remote.ends_with(&format!(":{port:04X}")))
            && fields.get(3) == Some(&SYN_SENT)
    }))
}
