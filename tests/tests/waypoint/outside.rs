//! Backends with TLS of their own, and services outside that are known by name.

use crate::scene::{
    LOCAL_NAME, LOCAL_TENANT, OTHER_TENANT, OUTSIDE_NAME, PATIENCE, Scene, TENANT, THROUGH_NAME,
};
use crate::{GATEWAY_API, NETWORKING, on_scene};
use anyhow::{Context as _, Result, ensure};
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use weft_tests::vault::{ask, authority, serve, server};
use weft_tests::waiting::eventually;

/// The name in the vault's certificate.
const VAULT: &str = "vault.example.org";
/// Where it takes anybody, and where only who has a certificate.
const OPEN: u16 = 8443;
const CLOSED: u16 = 8444;

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn a_backend_that_speaks_tls() -> Result<()> {
    on_scene(|scene| {
        let (servers, clients) = (authority()?, authority()?);
        let vault = scene.world.node(1).pod("shop", "vault").label("app", "vault").start()?;
        for (port, clients) in [(OPEN, None), (CLOSED, Some(&clients))] {
            let config = server(&servers, &[VAULT], clients)?;
            let listener = vault.enter(move || TcpListener::bind(("0.0.0.0", port)))??;
            drop(vault.background(move || serve(&listener, &config))?);
        }
        let service = scene.world.service("shop", "vault").select([("app", "vault")]);
        let service = service.port("http", 80, OPEN).port("http-closed", 81, CLOSED);
        service.label("weft.dev/waypoint", "gate").apply()?;
        let (open, closed) = ("http://vault.shop/", "http://vault.shop:81/");
        scene.await_answer("what speaks TLS only answers nobody", (&scene.client, open), |answer| {
            answer.status == 503
        })?;
        // In the words of Gateway API, for one port.
        let policy = json!({
            "targetRefs": [{"group": "", "kind": "Service", "name": "vault", "sectionName": "http"}],
            "validation": {
                "hostname": VAULT, "caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "vault-ca"}],
            },
        });
        scene.apply(GATEWAY_API, "BackendTLSPolicy", "vault", &policy)?;
        let missing = |answer: &weft_testkit::report::Answer| answer.status == 503;
        scene.await_answer("nobody vouches for it", (&scene.client, open), missing)?;
        put(scene, "ConfigMap", "vault-ca", "data", &json!({"ca.crt": servers.pem()}))?;
        let answered = |answer: &weft_testkit::report::Answer| answer.is_ok() && answer.body == "secret";
        scene.await_answer("the policy's authority vouches for it", (&scene.client, open), answered)?;
        let answer = scene.client.get(closed)?;
        ensure!(answer.status == 503, "the other port is not the policy's: {answer:?}");
        // In Istio's words, with a certificate of the waypoint's own.
        let rule = |mode: &str| {
            let tls = json!({"mode": mode, "credentialName": "vault", "sni": VAULT});
            json!({"host": "vault", "trafficPolicy": {"portLevelSettings": [{"port": {"number": 81}, "tls": tls}]}})
        };
        let key = KeyPair::generate()?;
        let leaf = CertificateParams::new(vec!["gate".to_owned()])?.signed_by(&key, &clients)?;
        let (chain, private) = (leaf.pem(), key.serialize_pem());
        let texts = json!({"tls.crt": chain, "tls.key": private, "ca.crt": servers.pem()});
        put(scene, "Secret", "vault", "stringData", &texts)?;
        scene.apply(NETWORKING, "DestinationRule", "vault", &rule("SIMPLE"))?;
        eventually("without a certificate the door stays closed", PATIENCE, || {
            let answer = scene.client.get(closed)?;
            ensure!(answer.status == 503, "{answer:?}");
            ensure!(scene.waypoint.log().contains("CertificateRequired"), "it is not TLS that fails yet");
            Ok(())
        })?;
        scene.apply(NETWORKING, "DestinationRule", "vault", &rule("MUTUAL"))?;
        scene.await_answer("the waypoint's certificate opens it", (&scene.client, closed), answered)?;
        let answer = scene.client.get(open)?;
        ensure!(answered(&answer), "the policy stands: {answer:?}");
        // The key went where it is shown, and nowhere else.
        let secret = private.lines().nth(1).context("a key in PEM")?;
        for process in [&*scene.waypoint, scene.mesh.control(), scene.mesh.proxy(1), scene.mesh.proxy(2)] {
            ensure!(!process.log().contains(secret), "a key is in a log");
        }
        Ok(())
    })
}

/// Writes an object of `shop` that has no spec.
fn put(scene: &Scene, kind: &str, name: &str, field: &str, texts: &Value) -> Result<()> {
    let metadata = json!({"name": name, "namespace": "shop"});
    scene
        .world
        .apply(&json!({"apiVersion": "v1", "kind": kind, "metadata": metadata, field: texts}))
        .map(drop)
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn a_service_outside_that_is_known_by_name() -> Result<()> {
    on_scene(|scene| {
        let labels = json!({"weft.dev/waypoint": "gate"});
        let entry = |name: &str, host: &str, resolution: &str, labels: &Value| {
            scene.world.apply(&json!({
                "apiVersion": NETWORKING, "kind": "ServiceEntry",
                "metadata": {"name": name, "namespace": "shop", "labels": labels},
                "spec": {
                    "hosts": [host], "resolution": resolution,
                    "ports": [{"number": 80, "name": "http", "protocol": "HTTP", "targetPort": 8080}],
                },
            }))
        };
        entry("out", OUTSIDE_NAME, "DNS", &labels)?;
        let url = format!("http://{OUTSIDE_NAME}/by-name");
        let from_outside =
            |answer: &weft_testkit::report::Answer| answer.is_ok() && answer.version() == "outside";
        eventually("the waypoint finds it", PATIENCE, || {
            let answer = scene.client.get(&url)?;
            ensure!(from_outside(&answer), "{answer:?}");
            ensure!(
                scene.waypoint.log().contains("/by-name"),
                "the waypoint has not told of the request yet"
            );
            Ok(())
        })?;
        // Its routes hold for it as for any Service.
        let fault = json!({"hosts": [OUTSIDE_NAME], "http": [{
            "directResponse": {"status": 418}, "match": [{"uri": {"prefix": "/tea"}}],
        }, {"route": [{"destination": {"host": OUTSIDE_NAME}}]}]});
        scene.apply(NETWORKING, "VirtualService", "out", &fault)?;
        let tea = format!("http://{OUTSIDE_NAME}/tea");
        scene.await_answer("a route holds", (&scene.client, &tea), |answer| answer.status == 418)?;
        let answer = scene.client.get(&url)?;
        ensure!(from_outside(&answer), "{answer:?}");
        // A name that leads to this machine leads nowhere.
        entry("in", LOCAL_NAME, "DNS_ROUND_ROBIN", &labels)?;
        eventually("the waypoint leaves it out", PATIENCE, || {
            let log = scene.waypoint.log();
            ensure!(log.contains("is of this machine or its link"), "it has not said so yet");
            Ok(())
        })?;
        let answer = scene.client.get(&format!("http://{LOCAL_NAME}/"))?;
        ensure!(answer.status == 503, "{answer:?}");
        Ok(())
    })
}

/// The address of the entry whose TLS goes through: documentation's (RFC 5737), and nobody's.
const THROUGH: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9)), 443);

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn any_name_below_a_domain() -> Result<()> {
    on_scene(|scene| {
        let servers = authority()?;
        let config = server(&servers, &[TENANT, THROUGH_NAME], None)?;
        let listener = scene.stranger.enter(|| TcpListener::bind(("0.0.0.0", OPEN)))??;
        drop(scene.stranger.background(move || serve(&listener, &config))?);
        let entry = |name: &str, labels: &Value, spec: &Value| {
            scene.world.apply(&json!({
                "apiVersion": NETWORKING, "kind": "ServiceEntry",
                "metadata": {"name": name, "namespace": "shop", "labels": labels}, "spec": spec,
            }))
        };
        let bound = json!({"weft.dev/waypoint": "gate"});
        let tenants = json!({
            "hosts": ["*.tenants.example"], "resolution": "DYNAMIC_DNS",
            "ports": [
                {"number": 80, "name": "http", "protocol": "HTTP", "targetPort": 8080},
                {"number": 81, "name": "http-secured", "protocol": "HTTP", "targetPort": OPEN},
            ],
        });
        entry("tenants", &bound, &tenants)?;
        let url = format!("http://{TENANT}/by-any-name");
        eventually("the waypoint looks the name up", PATIENCE, || {
            let answer = scene.client.get(&url)?;
            ensure!(answer.is_ok() && answer.version() == "outside", "{answer:?}");
            ensure!(scene.waypoint.log().contains("/by-any-name"), "it has not told of the request yet");
            Ok(())
        })?;
        // Each name stands for itself: for nothing, or for what is no endpoint.
        for (host, why) in [
            ("nobody.tenants.example", "nobody.tenants.example has no address"),
            (LOCAL_TENANT, "127.0.0.1 is of this machine or its link"),
        ] {
            let answer = scene.client.get(&format!("http://{host}/"))?;
            ensure!(answer.status == 503, "{host}: {answer:?}");
            eventually("the waypoint says why", PATIENCE, || {
                ensure!(scene.waypoint.log().contains(why), "not yet");
                Ok(())
            })?;
        }
        // With TLS that the waypoint begins, for the name that is asked for.
        put(scene, "Secret", "tenants", "stringData", &json!({"ca.crt": servers.pem()}))?;
        let tls = json!({"mode": "SIMPLE", "credentialName": "tenants"});
        let rule = json!({"host": "*.tenants.example", "trafficPolicy": {
            "portLevelSettings": [{"port": {"number": 81}, "tls": tls}],
        }});
        scene.apply(NETWORKING, "DestinationRule", "tenants", &rule)?;
        let secured = format!("http://{TENANT}:81/");
        scene.await_answer("its certificate has the name", (&scene.client, &secured), |answer| {
            answer.is_ok() && answer.body == "secret"
        })?;
        let answer = scene.client.get(&format!("http://{OTHER_TENANT}:81/other"))?;
        ensure!(answer.status == 503, "the certificate is another name's: {answer:?}");
        let answer = scene.client.get(&format!("http://{OTHER_TENANT}/"))?;
        ensure!(answer.is_ok(), "in plain text the other port answers for it: {answer:?}");
        // With TLS of the client's own, by the name that its hello says.
        let through = json!({
            "hosts": ["*.through.example"], "resolution": "DYNAMIC_DNS", "addresses": [THROUGH.ip().to_string()],
            "ports": [{"number": THROUGH.port(), "name": "tls", "protocol": "TLS", "targetPort": OPEN}],
        });
        entry("through", &bound, &through)?;
        let roots = servers.der().clone();
        eventually("it goes through", PATIENCE, || {
            let roots = roots.clone();
            let secret = scene.client.enter(move || ask(THROUGH, THROUGH_NAME, roots))??;
            ensure!(secret.ends_with("secret"), "{secret:?}");
            Ok(())
        })?;
        let foreign = scene.client.enter(move || ask(THROUGH, TENANT, roots))?;
        ensure!(foreign.is_err(), "a name of another entry goes nowhere: {foreign:?}");
        // Without a waypoint nobody looks anything up, and everybody says so.
        entry("tenants", &json!({}), &tenants)?;
        eventually("it is refused", PATIENCE, || {
            let answer = scene.client.get(&url);
            ensure!(!answer.as_ref().is_ok_and(weft_testkit::report::Answer::is_ok), "{answer:?}");
            let (proxy, control) = (scene.mesh.proxy(1).log(), scene.mesh.control().log());
            ensure!(proxy.contains("*.tenants.example stands for, which only a waypoint looks up"), "proxy");
            ensure!(control.contains("has names looked up, which waypoints do"), "control");
            Ok(())
        })
    })
}
