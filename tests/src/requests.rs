//! Requests as tests write them, and what has to come of them: at once or after a while, until a change has come round.

use anyhow::{Context as _, Result, ensure};
use std::time::Duration;
use weft_testkit::report::{Answer, GetReport, Hello};
use weft_testkit::{Get, Pod, Speaks};

use crate::waiting::eventually;

/// How long a change may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// So many answers, one after the other, have to be as they should.
const IN_A_ROW: u64 = 3;

/// A request that a pod may send.
#[derive(Debug)]
#[must_use = "nothing is sent before it is said what has to come of it"]
pub struct Asked<'a> {
    from: &'a Pod,
    get: Get,
}

/// A pod asks for a URL.
pub fn asks<'a>(from: &'a Pod, url: &str) -> Asked<'a> {
    Asked { from, get: Get::url(url).times(IN_A_ROW) }
}

/// A pod calls a method of gRPC.
pub fn calls<'a>(from: &'a Pod, url: &str) -> Asked<'a> {
    Asked { from, get: Get::url(url).times(IN_A_ROW).speaks(Speaks::Grpc) }
}

impl Asked<'_> {
    /// With these headers.
    pub fn with(mut self, headers: &[(&str, &str)]) -> Self {
        self.get = headers.iter().fold(self.get, |get, (name, value)| get.header(name, value));
        self
    }

    /// With another method than GET.
    pub fn method(mut self, method: &str) -> Self {
        self.get = self.get.method(method);
        self
    }

    /// The server in this pod answers.
    ///
    /// # Errors
    /// If it has not in time, three times in a row.
    pub fn reaches(&self, pod: &Pod) -> Result<()> {
        self.arrives(pod, |_| Ok(()))
    }

    /// The server in this pod answers, and what it got is as it should be.
    ///
    /// # Errors
    /// If it has not in time, three times in a row.
    pub fn arrives(&self, pod: &Pod, got: impl Fn(&Hello) -> Result<()>) -> Result<()> {
        self.is_answered(200, |answer| {
            let hello = answer.hello().context("not by a server")?;
            ensure!(pod.ips().contains(&hello.local.ip()), "it reached {} ({})", hello.name, hello.local);
            got(&hello)
        })
    }

    /// The waypoint answers itself: go there instead.
    ///
    /// # Errors
    /// If it has not in time, three times in a row.
    pub fn is_redirected(&self, status: u16, location: &str) -> Result<()> {
        self.is_answered(status, |answer| has(answer, "location", Some(location)))
    }

    /// The answer has this status, and is as it should be.
    ///
    /// # Errors
    /// If it is not in time, three times in a row.
    pub fn is_answered(&self, status: u16, wanted: impl Fn(&Answer) -> Result<()>) -> Result<()> {
        let Get { url, headers, .. } = &self.get;
        eventually(&format!("{} asks for {url} {headers:?}", self.from.name()), PATIENCE, || {
            let answers = self.from.run_tool(&self.get)?.answers;
            ensure!(answers.len() as u64 == IN_A_ROW, "{} answers", answers.len());
            for answer in &answers {
                let said = || format!("{answer:?}");
                ensure!(answer.status == status && answer.error.is_empty(), "not {status}: {}", said());
                wanted(answer).with_context(said)?;
            }
            Ok(())
        })
    }
}

/// A header of an answer has this value, or is not there.
///
/// # Errors
/// If it has another one.
pub fn has(answer: &Answer, name: &str, want: Option<&str>) -> Result<()> {
    let found = answer.headers.get(name).map(String::as_str);
    ensure!(found == want, "{name} is {found:?}, not {want:?}");
    Ok(())
}

/// Waits until a version has its share of the answers: within six standard deviations, which chance leaves once in a
/// billion runs. None of the requests may fail.
///
/// # Errors
/// If it has another one all the time.
pub fn await_share(from: &Pod, get: &Get, version: &str, part: f64) -> Result<GetReport> {
    let count = get.count as f64;
    let (middle, spread) = (count * part, 6.0 * (count * part * (1.0 - part)).sqrt());
    eventually(&format!("{part} of the requests go to {version}"), PATIENCE, || {
        let report = from.run_tool(get)?;
        ensure!(report.ok == get.count, "{:?}", report.failures);
        let found = report.versions.get(version).copied().unwrap_or_default();
        ensure!((found as f64 - middle).abs() <= spread, "{found} of {} went to {version}", get.count);
        Ok(report)
    })
}
