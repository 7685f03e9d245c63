//! Loads: which tool makes them, and what it says of them.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// Where nginx listens.
pub(crate) const HTTP_PORT: u16 = 8080;
/// Where iperf3 listens.
pub(crate) const STREAM_PORT: u16 = 5201;

/// Something to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    /// So many TCP streams, as fast as they go.
    Streams(u32),
    /// HTTP requests over so many connections that stay open.
    KeepAlive(u32),
    /// HTTP requests, each on a new connection, so many at once.
    NewConnections(u32),
}

/// What a tool has measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    /// Gigabits or requests in a second.
    pub(crate) rate: f64,
    /// Gigabytes or requests in all.
    pub(crate) amount: f64,
    /// The median of requests' times, in microseconds.
    pub(crate) median_micros: Option<f64>,
    /// Requests that failed.
    pub(crate) errors: u64,
}

impl Load {
    /// What it is called.
    pub(crate) fn words(self) -> String {
        match self {
            Self::Streams(1) => "1 stream".to_owned(),
            Self::Streams(count) => format!("{count} streams"),
            Self::KeepAlive(count) => format!("keep-alive {count}"),
            Self::NewConnections(count) => format!("new connections {count}"),
        }
    }

    /// What is counted in a second.
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Self::Streams(_) => "Gbit/s",
            Self::KeepAlive(_) => "req/s",
            Self::NewConnections(_) => "conn/s",
        }
    }

    /// What CPU time is given for.
    pub(crate) fn cpu_unit(self) -> &'static str {
        match self {
            Self::Streams(_) => "s/GB",
            Self::KeepAlive(_) => "s/10k req",
            Self::NewConnections(_) => "s/10k conn",
        }
    }

    /// How much of [`Measured::amount`] that is.
    pub(crate) fn cpu_amount(self) -> f64 {
        match self {
            Self::Streams(_) => 1.0,
            Self::KeepAlive(_) | Self::NewConnections(_) => 10_000.0,
        }
    }

    /// The port that it goes to.
    pub(crate) fn port(self) -> u16 {
        match self {
            Self::Streams(_) => STREAM_PORT,
            Self::KeepAlive(_) | Self::NewConnections(_) => HTTP_PORT,
        }
    }

    /// The command that makes it.
    pub(crate) fn command(self, target: SocketAddr, time: Duration) -> Vec<String> {
        let url = format!("http://{target}/");
        // wrk wants at least a connection for each thread, and one thread cannot fill two cores.
        let wrk = |connections: u32| wrk(connections.min(2), connections, time, &url);
        let mut words: Vec<String> = match self {
            Self::Streams(count) => {
                let (ip, port) = (target.ip(), target.port());
                let seconds = time.as_secs();
                let words =
                    format!("iperf3 --client {ip} --port {port} --parallel {count} --time {seconds} --json");
                words.split(' ').map(str::to_owned).collect()
            }
            Self::KeepAlive(connections) => wrk(connections),
            Self::NewConnections(connections) => wrk(connections),
        };
        if matches!(self, Self::NewConnections(_)) {
            words.extend(["-H".to_owned(), "Connection: close".to_owned()]);
        }
        words
    }

    /// What the tool has printed.
    pub(crate) fn read(self, output: &str) -> Result<Measured> {
        match self {
            Self::Streams(_) => read_iperf(output),
            Self::KeepAlive(_) | Self::NewConnections(_) => read_wrk(output),
        }
    }
}

fn read_iperf(output: &str) -> Result<Measured> {
    let report: Value = serde_json::from_str(output).context("reading the report of iperf3")?;
    let sum = &report["end"]["sum_received"];
    let number = |name: &str| sum[name].as_f64().with_context(|| format!("iperf3 says no {name}: {output}"));
    Ok(Measured {
        rate: number("bits_per_second")? / 1e9,
        amount: number("bytes")? / 1e9,
        median_micros: None,
        errors: 0,
    })
}

/// `wrk`, with so many threads and connections.
pub(crate) fn wrk(threads: u32, connections: u32, time: Duration, url: &str) -> Vec<String> {
    let seconds = time.as_secs();
    let words = format!("wrk --latency -t{threads} -c{connections} -d{seconds}s {url}");
    words.split(' ').map(str::to_owned).collect()
}

/// What `wrk` has printed.
pub(crate) fn read_wrk(output: &str) -> Result<Measured> {
    let line = |name: &str| output.lines().find_map(|line| line.trim().strip_prefix(name));
    let rate = line("Requests/sec:").and_then(|text| text.trim().parse::<f64>().ok());
    let rate = rate.with_context(|| format!("wrk says no rate: {output}"))?;
    let requests = output.lines().find_map(|line| line.trim().split_once(" requests in ")?.0.parse().ok());
    let amount: f64 = requests.with_context(|| format!("wrk counts no requests: {output}"))?;
    ensure!(amount > 0.0, "not one request was answered: {output}");
    // Connect, read, write, timeout; wrk counts the end of a connection that was to be closed as no error.
    let socket_errors: u64 = line("Socket errors:")
        .into_iter()
        .flat_map(|text| text.split(','))
        .filter_map(|part| part.trim().rsplit(' ').next()?.parse::<u64>().ok())
        .sum();
    let bad_answers = line("Non-2xx or 3xx responses:").and_then(|text| text.trim().parse::<u64>().ok());
    Ok(Measured {
        rate,
        amount,
        median_micros: line("50%").and_then(|text| micros(text.trim())),
        errors: socket_errors + bad_answers.unwrap_or(0),
    })
}

/// `12.3us`, `4.5ms` or `1.2s`, in microseconds.
fn micros(text: &str) -> Option<f64> {
    let units = [("us", 1.0), ("ms", 1e3), ("s", 1e6)];
    units.iter().find_map(|(unit, factor)| Some(text.strip_suffix(unit)?.parse::<f64>().ok()? * factor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_of_the_tools_are_understood() {
        let wrk = "Running 1s test @ http://10.0.0.2:8080/\n  1 threads and 1 connections\n  Thread Stats   Avg \
                   Stdev     Max   +/- Stdev\n    Latency    43.05us   12.00us   1.01ms   98.00%\n  Latency \
                   Distribution\n     50%   41.50us\n     75%   44.00us\n  24112 requests in 1.10s, 28.54MB \
                   read\n  Socket errors: connect 0, read 2, write 0, timeout 1\nRequests/sec:  21919.21\n\
                   Transfer/sec:     25.94MB\n";
        let measured = Load::KeepAlive(1).read(wrk).expect("a report");
        assert!((measured.rate - 21_919.21).abs() < 1e-6 && (measured.amount - 24_112.0).abs() < 1e-6);
        assert_eq!((measured.median_micros, measured.errors), (Some(41.5), 3));
        let iperf = r#"{"end": {"sum_received": {"bytes": 2000000000, "bits_per_second": 8e9}}}"#;
        let measured = Load::Streams(1).read(iperf).expect("a report");
        assert!((measured.rate - 8.0).abs() < 1e-9 && (measured.amount - 2.0).abs() < 1e-9);
        for (case, text) in [("nothing", ""), ("an error", r#"{"error": "unable to connect"}"#)] {
            assert!(Load::Streams(1).read(text).is_err() && Load::KeepAlive(1).read(text).is_err(), "{case}");
        }
    }

    #[test]
    fn times_have_units() {
        for (text, want) in
            [("41.50us", Some(41.5)), ("1.50ms", Some(1500.0)), ("2.00s", Some(2e6)), ("x", None)]
        {
            assert_eq!(micros(text), want, "{text}");
        }
    }
}
