//! Which backend a request meets, and what it looks like there.

use anyhow::{Context as _, Result, ensure};
use std::time::Duration;
use weft_testkit::{Get, Pod};
use weft_tests::requests::{asks, await_share, calls, has};
use weft_tests::waiting::eventually;

use crate::scene::{PATIENCE, Scene};

const URL: &str = "http://reviews/";
/// What a copy may take before the route is asked for once more.
const A_COPY: Duration = Duration::from_secs(1);
/// Of so many requests shares are told.
const REQUESTS: u64 = 1000;
const CHROME: &str =
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36";

pub(crate) fn canary(scene: &Scene) -> Result<()> {
    await_share(&scene.client, &Get::url(URL).times(REQUESTS), "v2", 0.1).map(drop)
}

pub(crate) fn split(scene: &Scene) -> Result<()> {
    await_share(&scene.client, &Get::url(URL).times(REQUESTS), "v2", 0.2).map(drop)
}

pub(crate) fn browsers(scene: &Scene) -> Result<()> {
    asks(&scene.client, URL).with(&[("user-agent", CHROME)]).reaches(&scene.v2)?;
    asks(&scene.client, URL).with(&[("user-agent", "curl/8")]).reaches(&scene.v1)?;
    asks(&scene.client, URL).reaches(&scene.v1)
}

pub(crate) fn redirects(scene: &Scene) -> Result<()> {
    asks(&scene.client, "http://reviews/old/1?page=2").is_redirected(301, "http://reviews/new/1?page=2")?;
    asks(&scene.client, "http://reviews/secure").is_redirected(308, "https://shop.example/secure")
}

pub(crate) fn rewrites(scene: &Scene) -> Result<()> {
    let asked = asks(&scene.client, "http://reviews/v2/books?page=2").with(&[("x-debug", "on")]);
    asked.arrives(&scene.v2, |got| {
        ensure!(
            got.path == "/books?page=2" && got.host == "reviews.internal",
            "{} of {}",
            got.path,
            got.host
        );
        ensure!(got.headers.get("x-version").is_some_and(|value| value == "2"), "{:?}", got.headers);
        ensure!(!got.headers.contains_key("x-debug"), "{:?}", got.headers);
        Ok(())
    })?;
    asked.is_answered(200, |answer| has(answer, "x-served-by", Some("reviews-v2")))
}

pub(crate) fn mirror(scene: &Scene) -> Result<()> {
    let got = |pod: &Pod, path: &str| {
        let asked = format!("asked: GET {path} of");
        pod.log().lines().filter(|line| line.contains(&asked)).count()
    };
    let mut number = 0;
    eventually("both versions get a request", PATIENCE, || {
        number += 1;
        let path = format!("/before/{number}");
        let answer = scene.client.get(&format!("http://reviews{path}"))?;
        ensure!(answer.version() == "v1", "{answer:?}");
        eventually("a copy", A_COPY, || {
            ensure!(got(&scene.v2, &path) == 1, "version 2 has none");
            Ok(())
        })
    })?;
    // The route is in force, and each request comes to both, once.
    let report = scene.client.run_tool(&Get::url("http://reviews/mirrored").times(50))?;
    ensure!(report.versions.get("v1") == Some(&50), "{:?} {:?}", report.versions, report.failures);
    eventually("copies of all", PATIENCE, || {
        let found = [&scene.v1, &scene.v2].map(|pod| got(pod, "/mirrored"));
        ensure!(found == [50, 50], "{found:?}");
        Ok(())
    })
}

pub(crate) fn cors(scene: &Scene) -> Result<()> {
    let ours = [("origin", "https://shop.example"), ("access-control-request-method", "PUT")];
    let preflight = |headers: &[(&str, &str)]| asks(&scene.client, URL).method("OPTIONS").with(headers);
    preflight(&ours).is_answered(200, |answer| {
        ensure!(answer.hello().is_none(), "it was answered by a server");
        has(answer, "access-control-allow-origin", Some("https://shop.example"))?;
        has(answer, "access-control-allow-credentials", Some("true"))?;
        has(answer, "access-control-max-age", Some("3600"))?;
        let methods = answer.headers.get("access-control-allow-methods").context("no methods")?;
        ensure!(methods.contains("GET") && methods.contains("PUT"), "{methods}");
        Ok(())
    })?;
    let allow = "access-control-allow-origin";
    let asked = asks(&scene.client, URL).with(&[("origin", "https://shop.example")]);
    asked.is_answered(200, |answer| has(answer, allow, Some("https://shop.example")))?;
    let foreign = asks(&scene.client, URL).with(&[("origin", "https://elsewhere.example")]);
    foreign.is_answered(200, |answer| has(answer, allow, None))
}

pub(crate) fn consumer(scene: &Scene) -> Result<()> {
    let late = [("answer-after-ms", "1500")];
    asks(&scene.teller, "http://reviews.shop/").with(&late).is_answered(504, |_| Ok(()))?;
    asks(&scene.client, "http://reviews.shop/").with(&late).is_answered(200, |_| Ok(()))
}

pub(crate) fn grpc(scene: &Scene) -> Result<()> {
    for (method, pod) in [("Write", &scene.v2), ("Read", &scene.v1)] {
        calls(&scene.client, &format!("http://reviews:7070/shop.Reviews/{method}")).arrives(pod, |got| {
            ensure!(got.protocol == "gRPC", "it got {}", got.protocol);
            Ok(())
        })?;
    }
    Ok(())
}
