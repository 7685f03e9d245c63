//! What becomes of a request on its way: what the waypoint answers itself, what it changes, and of what it makes copies.

use anyhow::{Context as _, Result, ensure};
use std::time::Duration;
use weft_testkit::{Get, Pod, Speaks};
use weft_tests::requests::{asks, has};
use weft_tests::waiting::eventually;

use crate::scene::{PATIENCE, Scene};

const URL: &str = "http://reviews/";
/// What a copy may take before the route is asked for once more.
const A_COPY: Duration = Duration::from_millis(200);

pub(crate) fn redirects(scene: &Scene) -> Result<()> {
    asks(&scene.client, "http://reviews/old/1?page=2").is_redirected(301, "http://reviews/new/1?page=2")?;
    asks(&scene.client, "http://reviews/secure").is_redirected(308, "https://shop.example/secure")
}

pub(crate) fn answers(scene: &Scene) -> Result<()> {
    asks(&scene.client, "http://reviews/pay/1").is_answered(503, |answer| {
        ensure!(answer.body == "closed until noon", "it says {:?}", answer.body);
        has(answer, "retry-after", Some("3600"))
    })?;
    asks(&scene.client, URL).is_answered(200, |answer| {
        answer.hello().context("not by a server")?;
        has(answer, "retry-after", None)
    })
}

pub(crate) fn rewrites(scene: &Scene) -> Result<()> {
    is_rewritten(scene, "/books?page=2")
}

pub(crate) fn patterns(scene: &Scene) -> Result<()> {
    is_rewritten(scene, "/books/of/2?page=2")?;
    asks(&scene.client, "http://reviews/version/2").arrives(&scene.v1, |got| {
        ensure!(got.path == "/version/2" && got.host == "reviews", "{} of {}", got.path, got.host);
        Ok(())
    })
}

/// What is asked of version 2 arrives there under this path, of another host, and with other headers.
fn is_rewritten(scene: &Scene, path: &str) -> Result<()> {
    let asked = asks(&scene.client, "http://reviews/v2/books?page=2").with(&[("x-debug", "on")]);
    asked.arrives(&scene.v2, |got| {
        ensure!(got.path == path && got.host == "reviews.internal", "{} of {}", got.path, got.host);
        ensure!(got.headers.get("x-version").is_some_and(|value| value == "2"), "{:?}", got.headers);
        ensure!(!got.headers.contains_key("x-debug"), "{:?}", got.headers);
        Ok(())
    })?;
    asked.is_answered(200, |answer| has(answer, "x-served-by", Some("reviews-v2")))
}

pub(crate) fn one_backend(scene: &Scene) -> Result<()> {
    let get = Get { keep: 40, ..Get::url(URL).times(40) };
    eventually("what goes to version 2 says so, and nothing else", PATIENCE, || {
        let report = scene.client.run_tool(&get)?;
        ensure!(report.ok == get.count && report.versions.len() == 2, "{:?}", report.versions);
        for answer in &report.answers {
            let got = answer.hello().context("not by a server")?;
            let canary = got.headers.get("x-canary").map(String::as_str);
            let want = (got.version == "v2").then_some("yes");
            ensure!(canary == want, "x-canary of {}: {canary:?}", got.version);
        }
        Ok(())
    })
}

pub(crate) fn mirror(scene: &Scene) -> Result<()> {
    is_mirrored(scene, ("http://reviews", Speaks::Http1), "GET")
}

pub(crate) fn mirrored_calls(scene: &Scene) -> Result<()> {
    is_mirrored(scene, ("http://reviews:7070", Speaks::Grpc), "POST")
}

/// What version 1 answers comes to version 2 as well.
fn is_mirrored(scene: &Scene, (host, speaks): (&str, Speaks), method: &str) -> Result<()> {
    let get = |path: &str| Get::url(&format!("{host}{path}")).speaks(speaks);
    let got = |pod: &Pod, path: &str| {
        let asked = format!("asked: {method} {path} of");
        pod.log().lines().filter(|line| line.contains(&asked)).count()
    };
    let mut number = 0;
    eventually("both versions get a request", PATIENCE, || {
        number += 1;
        let path = format!("/before.{method}/{number}");
        let report = scene.client.run_tool(&get(&path))?;
        ensure!(report.versions.get("v1") == Some(&1), "{:?} {:?}", report.versions, report.failures);
        eventually("a copy", A_COPY, || {
            ensure!(got(&scene.v2, &path) == 1, "version 2 has none");
            Ok(())
        })
    })?;
    // The route is in force, and each request comes to both, once.
    let path = format!("/mirrored.{method}/all");
    let report = scene.client.run_tool(&get(&path).times(50))?;
    ensure!(report.versions.get("v1") == Some(&50), "{:?} {:?}", report.versions, report.failures);
    eventually("copies of all", PATIENCE, || {
        let found = [&scene.v1, &scene.v2].map(|pod| got(pod, &path));
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
