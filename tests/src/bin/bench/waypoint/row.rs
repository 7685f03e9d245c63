//! What is measured of a waypoint: where requests go, which tool makes them, and what it says of them.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::load::{Measured, read_wrk, wrk};

use super::pace;

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contender {
    /// Weft's waypoint.
    Weft,
    /// Envoy, told to do the same.
    Envoy,
    /// The same Envoy, which clients reach without a tunnel: no waypoint does so little.
    Untunnelled,
}

/// Which of several waypoints: each is told other things.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scene {
    /// A few services.
    Usual,
    /// [`MANY`] services, each with a route of its own.
    Crowd,
    /// A service with [`MANY`] rules.
    Rules,
}

/// Services of one scene, and rules of another.
pub(crate) const MANY: usize = 1000;

impl Scene {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Usual, Self::Crowd, Self::Rules];

    /// The name of its Gateway; a Service of that name would be the Gateway's own.
    pub(crate) fn gate(self) -> &'static str {
        match self {
            Self::Usual => "usual-gate",
            Self::Crowd => "crowd-gate",
            Self::Rules => "rules-gate",
        }
    }
}

/// A service that is asked for, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// Its pods are outside the mesh: the waypoint reaches them in plain text.
    Plain,
    /// The same pods, by gRPC.
    Grpc,
    /// Its pods are in the mesh: the waypoint reaches them by HBONE.
    Tunnelled,
    /// Other pods in the mesh: clients and Weft's waypoint speak Weft's own dialect, and Envoy's go on with HBONE.
    Native,
    /// Plain, one service among [`MANY`].
    Crowd,
    /// Plain, behind [`MANY`] rules.
    Rules,
}

impl Entry {
    /// All of them.
    pub(crate) const ALL: [Self; 6] =
        [Self::Plain, Self::Grpc, Self::Tunnelled, Self::Native, Self::Crowd, Self::Rules];

    /// The Service, and the host that requests name.
    pub(crate) fn service(self) -> &'static str {
        match self {
            Self::Plain | Self::Grpc => "plain",
            Self::Tunnelled => "tunnelled",
            Self::Native => "native",
            Self::Crowd => "crowd",
            Self::Rules => "rules",
        }
    }

    /// The Service's port.
    pub(crate) fn port(self) -> u16 {
        if self == Self::Grpc { GRPC_SERVICE_PORT } else { SERVICE_PORT }
    }

    /// The waypoint before it.
    pub(crate) fn scene(self) -> Scene {
        match self {
            Self::Plain | Self::Grpc | Self::Tunnelled | Self::Native => Scene::Usual,
            Self::Crowd => Scene::Crowd,
            Self::Rules => Scene::Rules,
        }
    }
}

/// Where Services are asked for HTTP/1.1, and for gRPC.
pub(crate) const SERVICE_PORT: u16 = 80;
pub(crate) const GRPC_SERVICE_PORT: u16 = 81;
/// Where the pods serve gRPC.
pub(crate) const GRPC_PORT: u16 = 8081;
/// The path of all requests but for [`BODY_PATH`]: that of the rule with the split.
pub(crate) const PATH: &str = "/api/items";
/// Something large.
pub(crate) const BODY_PATH: &str = "/api/body";
/// How large.
pub(crate) const BODY_BYTES: usize = 1 << 20;

/// What makes requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// HTTP/1.1 over so many connections, as fast as they go.
    KeepAlive(u32),
    /// Answers of [`BODY_BYTES`], over a few connections.
    Bodies,
    /// gRPC: many calls at a time on one connection.
    Grpc,
    /// So many requests a second, for their times.
    Paced,
}

/// Connections of [`Work::Bodies`].
const BODY_CONNECTIONS: u32 = 8;
/// Calls at a time of [`Work::Grpc`].
const CALLS: u32 = 32;

/// A measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) entry: Entry,
    pub(crate) work: Work,
}

/// All of them.
pub(crate) const ROWS: [Row; 15] = [
    Row { entry: Entry::Plain, work: Work::KeepAlive(32) },
    Row { entry: Entry::Plain, work: Work::KeepAlive(1) },
    Row { entry: Entry::Crowd, work: Work::KeepAlive(32) },
    Row { entry: Entry::Rules, work: Work::KeepAlive(32) },
    Row { entry: Entry::Grpc, work: Work::Grpc },
    Row { entry: Entry::Tunnelled, work: Work::KeepAlive(32) },
    Row { entry: Entry::Tunnelled, work: Work::KeepAlive(1) },
    Row { entry: Entry::Native, work: Work::KeepAlive(32) },
    Row { entry: Entry::Native, work: Work::KeepAlive(1) },
    Row { entry: Entry::Plain, work: Work::Bodies },
    Row { entry: Entry::Tunnelled, work: Work::Bodies },
    Row { entry: Entry::Native, work: Work::Bodies },
    Row { entry: Entry::Plain, work: Work::Paced },
    Row { entry: Entry::Tunnelled, work: Work::Paced },
    Row { entry: Entry::Native, work: Work::Paced },
];

impl Row {
    /// `HBONE, HTTP/1.1, 32 connections`.
    pub(crate) fn name(self) -> String {
        let work = match self.work {
            Work::KeepAlive(1) => "HTTP/1.1, 1 connection".to_owned(),
            Work::KeepAlive(count) => format!("HTTP/1.1, {count} connections"),
            Work::Bodies => "1 MiB bodies".to_owned(),
            Work::Grpc => format!("gRPC, 1 connection of {CALLS} streams"),
            Work::Paced => format!("{} requests a second", pace::RATE),
        };
        match self.entry {
            Entry::Plain | Entry::Grpc => format!("plain, {work}"),
            Entry::Tunnelled => format!("HBONE, {work}"),
            Entry::Native => format!("own dialect, {work}"),
            Entry::Crowd => format!("plain, {work}, {MANY} clusters"),
            Entry::Rules => format!("plain, {work}, {MANY} rules"),
        }
    }

    /// Who is compared.
    pub(crate) fn contenders(self) -> &'static [Contender] {
        match self.entry {
            Entry::Tunnelled | Entry::Native => &[Contender::Weft, Contender::Envoy],
            Entry::Plain | Entry::Grpc | Entry::Crowd | Entry::Rules => {
                &[Contender::Weft, Contender::Envoy, Contender::Untunnelled]
            }
        }
    }

    /// Envoy's share of CPU time that is aimed at.
    pub(crate) fn aim(self) -> f64 {
        match (self.entry, self.work) {
            (Entry::Tunnelled | Entry::Native, Work::Bodies) => 1.0 / 3.0,
            _ => 2.0 / 3.0,
        }
    }

    /// The command that makes it. `folder` is for what a tool reads.
    pub(crate) fn command(self, target: &str, folder: &Path, time: Duration) -> Result<Vec<String>> {
        let host = self.entry.service();
        let with = |mut words: Vec<String>, headers: &[&str]| {
            words.extend(headers.iter().flat_map(|header| ["-H".to_owned(), (*header).to_owned()]));
            words
        };
        Ok(match self.work {
            Work::KeepAlive(connections) => {
                let words = wrk(1, connections, time, &format!("http://{target}{PATH}"));
                with(words, &[&format!("Host: {host}")])
            }
            Work::Bodies => {
                let words = wrk(1, BODY_CONNECTIONS, time, &format!("http://{target}{BODY_PATH}"));
                with(words, &[&format!("Host: {host}")])
            }
            Work::Grpc => {
                let (seconds, call) = (time.as_secs(), folder.join(CALL));
                let words = format!(
                    "h2load -t1 -D{seconds} -c1 -m{CALLS} -d{} http://{target}{PATH}",
                    call.display()
                );
                let words = words.split(' ').map(str::to_owned).collect();
                let authority = format!(":authority: {GRPC_HOST}");
                with(words, &["content-type: application/grpc", "te: trailers", &authority])
            }
            Work::Paced => pace::command(target, host, PATH, time)?,
        })
    }

    /// What the tool has said: how much it was, and the time of each request where those are looked at, in microseconds.
    pub(crate) fn read(self, output: &str, time: Duration) -> Result<(Measured, Vec<f64>)> {
        match self.work {
            Work::KeepAlive(_) | Work::Bodies => Ok((read_wrk(output)?, Vec::new())),
            Work::Grpc => Ok((read_h2load(output)?, Vec::new())),
            Work::Paced => pace::read(output, time),
        }
    }
}

/// The host of calls by gRPC.
pub(crate) const GRPC_HOST: &str = "grpc";
/// What a call says: a message of gRPC.
pub(crate) const CALL: &str = "call";

fn read_h2load(output: &str) -> Result<Measured> {
    let line = |name: &str| output.lines().find_map(|line| line.strip_prefix(name));
    let number = |line: &str, word: &str| {
        let mut parts = line.split(',').map(str::trim);
        parts.find_map(|part| part.strip_suffix(word)?.trim().parse::<f64>().ok())
    };
    let requests = line("requests:").with_context(|| format!("h2load counts no requests: {output}"))?;
    let count = |word: &str| number(requests, word).unwrap_or(0.0);
    let done = count("succeeded");
    ensure!(done > 0.0, "not one request was answered: {output}");
    let rate = line("finished in").and_then(|line| number(line, "req/s")).unwrap_or(f64::NAN);
    // At the end of the time some requests are under way; h2load counts them as failed and errored.
    let statuses = line("status codes:").unwrap_or_default();
    let bad = ["3xx", "4xx", "5xx"].map(|class| number(statuses, class).unwrap_or(0.0));
    let errors = bad.iter().sum::<f64>() as u64;
    Ok(Measured { rate, amount: done, median_micros: None, errors })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_of_h2load_are_understood() {
        let text = "starting benchmark...\n\nfinished in 1.00s, 24112.50 req/s, 3.15MB/s\n\
                    requests: 24112 total, 24144 started, 24112 done, 24110 succeeded, 2 failed, 0 errored, 0 timeout\n\
                    status codes: 24110 2xx, 0 3xx, 0 4xx, 2 5xx\n";
        let measured = read_h2load(text).expect("a report");
        assert!((measured.rate - 24_112.5).abs() < 1e-6 && (measured.amount - 24_110.0).abs() < 1e-6);
        assert_eq!(measured.errors, 2);
        assert!(read_h2load("").is_err());
    }

    #[test]
    fn rows_have_names_of_their_own() {
        let names: std::collections::BTreeSet<String> = ROWS.iter().map(|row| row.name()).collect();
        assert_eq!(names.len(), ROWS.len());
    }
}
