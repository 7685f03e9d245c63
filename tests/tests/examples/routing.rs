//! Which backend a request meets.

use anyhow::{Result, ensure};
use weft_testkit::Get;
use weft_tests::requests::{asks, await_share, calls, has};

use crate::scene::{LATE, Scene};

const URL: &str = "http://reviews/";
/// Of so many requests shares are told.
pub(crate) const REQUESTS: u64 = 1000;
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

pub(crate) fn everything(scene: &Scene) -> Result<()> {
    let asked = |path: &str| asks(&scene.client, &format!("http://reviews{path}"));
    for path in ["/books/1?lang=de", "/Books/2?page=3&lang=fr"] {
        asked(path).reaches(&scene.v2)?;
    }
    asked("/books/1?lang=de").method("POST").reaches(&scene.v1)?;
    asked("/books/1?lang=de").with(&[("x-internal", "")]).reaches(&scene.v1)?;
    asked("/books/1?lang=deu").reaches(&scene.v1)?;
    asked("/authors?lang=de").reaches(&scene.v1)
}

pub(crate) fn who(scene: &Scene) -> Result<()> {
    let url = "http://reviews.shop/";
    asks(&scene.teller, url).reaches(&scene.v1)?;
    asks(&scene.client, url).reaches(&scene.v2)?;
    asks(&scene.v1, url).is_answered(404, |_| Ok(()))
}

pub(crate) fn delegated(scene: &Scene) -> Result<()> {
    for (path, pod, shelf) in [
        ("/books/new/1", &scene.v2, None),
        ("/books/1", &scene.v1, Some("old")),
        ("/authors", &scene.v1, None),
    ] {
        let asked = asks(&scene.client, &format!("http://reviews{path}"));
        asked.reaches(pod)?;
        asked.is_answered(200, |answer| has(answer, "x-shelf", shelf))?;
    }
    Ok(())
}

pub(crate) fn granted(scene: &Scene) -> Result<()> {
    asks(&scene.client, "http://reviews/ledger/1").reaches(&scene.teller)?;
    asks(&scene.client, URL).is_answered(200, |answer| {
        ensure!(["v1", "v2"].contains(&&*answer.version()), "by {}", answer.version());
        Ok(())
    })
}

pub(crate) fn consumer(scene: &Scene) -> Result<()> {
    asks(&scene.teller, "http://reviews.shop/").with(&[LATE]).is_answered(504, |_| Ok(()))?;
    asks(&scene.client, "http://reviews.shop/").with(&[LATE]).is_answered(200, |_| Ok(()))
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
