//! Services that are not the cluster's, behind the waypoint as an egress gateway.

use anyhow::{Context as _, Result, ensure};
use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr, TcpListener};
use weft_testkit::Pod;
use weft_tests::requests::asks;
use weft_tests::vault::{SECRET, ask, authority, serve, server};
use weft_tests::waiting::eventually;

use crate::page;
use crate::scene::{OUTSIDE, PATIENCE, Scene, TENANT, lives_at};

pub(crate) fn payments_and_ratings(scene: &Scene) -> Result<()> {
    is_reached(scene, "api.payments.example", "/pay", &OUTSIDE)?;
    is_reached(scene, "ratings.example", "/rate", &OUTSIDE[..1])?;
    ensure!(
        scene.machine.log().contains("asked: GET /pay of api.payments.example"),
        "the machine was not asked"
    );
    Ok(())
}

pub(crate) fn range(scene: &Scene) -> Result<()> {
    is_reached(scene, "198.51.100.7", "/first", &OUTSIDE[..1])?;
    is_reached(scene, "198.51.100.250", "/last", &OUTSIDE[..1])
}

pub(crate) fn names(scene: &Scene) -> Result<()> {
    is_reached(scene, "rates.example", "/rates", &OUTSIDE[1..])
}

/// Requests come through the waypoint to all of these addresses, and to no other.
fn is_reached(scene: &Scene, host: &str, path: &str, addresses: &[&str]) -> Result<()> {
    let mut missing: Vec<&str> = addresses.to_vec();
    eventually(&format!("{host} is reached through the waypoint"), PATIENCE, || {
        let answer = scene.client.get(&format!("http://{host}{path}"))?;
        let Some(hello) = answer.hello() else { anyhow::bail!("{answer:?}") };
        let met = hello.local.ip().to_string();
        ensure!(hello.version == "machine" && hello.host == host, "{hello:?}");
        ensure!(addresses.contains(&&*met), "it came to {met}");
        // Of all that stand on the way only a waypoint reads requests.
        ensure!(hello.headers.contains_key("x-forwarded-proto"), "it came past the waypoint: {hello:?}");
        missing.retain(|address| *address != met);
        ensure!(missing.is_empty(), "{missing:?} were not asked yet");
        Ok(())
    })
}

pub(crate) fn tenants(scene: &Scene) -> Result<()> {
    let authority = authority()?;
    serves_tls(&scene.machine, 8443, (&authority, &[TENANT]), None)?;
    put(scene, "Secret", "tenants", &json!({"stringData": {"ca.crt": authority.pem()}}))?;
    // The waypoint begins TLS with the name that is asked for.
    answers_within_tls(scene, &format!("http://{TENANT}/"))?;
    // The client begins it, at whatever address the mesh answers with.
    let found = scene.client.run(["getent", "ahostsv4", TENANT])?;
    let ip = found.stdout.split_whitespace().next().and_then(|word| word.parse::<IpAddr>().ok());
    let to = SocketAddr::new(ip.with_context(|| format!("no address: {found:?}"))?, 443);
    eventually("a client's own TLS goes through", PATIENCE, || {
        let root = authority.der().clone();
        let said = scene.client.enter(move || ask(to, TENANT, root))??;
        ensure!(said.ends_with(SECRET), "{said:?}");
        Ok(())
    })
}

pub(crate) fn backends_with_tls(scene: &Scene) -> Result<()> {
    // The service outside speaks TLS from now on, and only with who shows a certificate.
    let [servers, clients] = [authority()?, authority()?];
    let vault = scene.world.node(1).outside("vault").start()?;
    serves_tls(&vault, 8080, (&servers, &["api.payments.example"]), Some(&clients))?;
    OUTSIDE.iter().try_for_each(|address| lives_at(&vault, &scene.world.node(1), address))?;
    let sections = page::sections()?;
    let entry = sections.iter().find(|section| section.title == "Services outside");
    scene.world.apply_yaml("payments.yaml", &entry.context("no section about it")?.manifest)?;
    let key = KeyPair::generate()?;
    let leaf = CertificateParams::new(vec!["wp".to_owned()])?.signed_by(&key, &clients)?;
    let texts = json!({"tls.crt": leaf.pem(), "tls.key": key.serialize_pem(), "ca.crt": servers.pem()});
    put(scene, "Secret", "payments", &json!({"stringData": texts}))?;
    answers_within_tls(scene, "http://api.payments.example/")?;
    // Servers that speak none are asked for it all the same, and are told nothing.
    put(scene, "ConfigMap", "reviews-ca", &json!({"data": {"ca.crt": servers.pem()}}))?;
    asks(&scene.client, "http://reviews/before").is_answered(503, |_| Ok(()))?;
    asks(&scene.client, "http://reviews/within-tls").is_answered(503, |_| Ok(()))?;
    for pod in [&scene.v1, &scene.v2] {
        ensure!(!pod.log().contains("/within-tls"), "{} was asked in plain text", pod.name());
    }
    eventually("nothing is missing", PATIENCE, || {
        let problems = scene.problems()?;
        ensure!(problems.is_empty(), "{problems:?}");
        Ok(())
    })
}

/// A pod answers within TLS at a port, under these names.
fn serves_tls(
    pod: &Pod,
    port: u16,
    (authority, names): (&CertifiedIssuer<'static, KeyPair>, &[&str]),
    clients: Option<&CertifiedIssuer<'static, KeyPair>>,
) -> Result<()> {
    let config = server(authority, names, clients)?;
    let listener = pod.enter(move || TcpListener::bind(("0.0.0.0", port)))??;
    pod.background(move || serve(&listener, &config)).map(drop)
}

/// Requests of the client, which speaks none, are answered by a server that speaks TLS.
fn answers_within_tls(scene: &Scene, url: &str) -> Result<()> {
    asks(&scene.client, url).is_answered(200, |answer| {
        ensure!(answer.body == SECRET, "it says {:?}", answer.body);
        Ok(())
    })
}

/// Writes an object of `shop` that has no spec.
fn put(scene: &Scene, kind: &str, name: &str, texts: &Value) -> Result<()> {
    let mut object =
        json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": "shop"}});
    for (field, value) in texts.as_object().into_iter().flatten() {
        object[field] = value.clone();
    }
    scene.world.apply(&object).map(drop)
}
