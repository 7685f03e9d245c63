//! Clients that open connections: at a steady rate, or to keep them.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Args;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use weft_testkit::report::{ConnectsReport, HoldReport, Latency};

use crate::socket::{resolve, word};

/// Connections that a holder opens at once.
const OPEN_AT_ONCE: usize = 64;

#[derive(Args, Clone)]
pub(crate) struct ConnectsArgs {
    target: String,
    /// Connections begun in a second.
    #[arg(long, default_value_t = 100)]
    rate: u64,
    #[arg(long, default_value_t = 1000)]
    duration_ms: u64,
    #[arg(long, default_value_t = 10_000)]
    timeout_ms: u64,
    /// Sent on each connection; then the first byte of the answer is waited for.
    #[arg(long)]
    send: Option<String>,
    /// Waits for a first byte without having sent anything.
    #[arg(long)]
    wait: bool,
    /// Closes with a reset.
    #[arg(long)]
    reset: bool,
}

/// Opens connections at the rate asked for, however long each one takes.
pub(crate) async fn connects(args: ConnectsArgs) -> Result<ConnectsReport> {
    let addr = resolve(&args.target).await.with_context(|| format!("resolving {}", args.target))?;
    let total = args.rate * args.duration_ms / 1000;
    let step = Duration::from_secs(1) / u32::try_from(args.rate.max(1)).context("a rate beyond reason")?;
    let mut ticks = interval(step);
    // Behind its time it catches up, so that the number of connections is the one asked for.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (mut report, mut times, mut running) = (ConnectsReport::default(), Vec::new(), JoinSet::new());
    for _ in 0..total {
        let due = ticks.tick().await;
        report.late_max = report.late_max.max(micros(due.elapsed()));
        report.tried += 1;
        let args = args.clone();
        running.spawn(async move { timed(addr, &args).await });
        while let Some(done) = running.try_join_next() {
            note(&mut report, &mut times, done.context("a connection's task")?);
        }
    }
    while let Some(done) = running.join_next().await {
        note(&mut report, &mut times, done.context("a connection's task")?);
    }
    report.latency = Latency::of(times);
    Ok(report)
}

async fn timed(addr: SocketAddr, args: &ConnectsArgs) -> io::Result<u64> {
    let start = Instant::now();
    match timeout(Duration::from_millis(args.timeout_ms), one(addr, args)).await {
        Ok(done) => done.map(|()| micros(start.elapsed())),
        Err(_elapsed) => Err(io::ErrorKind::TimedOut.into()),
    }
}

async fn one(addr: SocketAddr, args: &ConnectsArgs) -> io::Result<()> {
    let mut stream = TcpStream::connect(addr).await?;
    if args.reset {
        stream.set_zero_linger()?;
    }
    if let Some(text) = &args.send {
        stream.write_all(text.as_bytes()).await?;
    }
    if args.wait || args.send.is_some() {
        stream.read_u8().await?;
    }
    Ok(())
}

fn note(report: &mut ConnectsReport, times: &mut Vec<u64>, done: io::Result<u64>) {
    let error = match done {
        Ok(micros) => {
            times.push(micros);
            report.ok += 1;
            return;
        }
        Err(error) => error,
    };
    match word(&error) {
        Some("refused") => report.refused += 1,
        Some("reset") => report.reset += 1,
        Some("closed") => report.closed += 1,
        Some("timeout") => report.timeout += 1,
        Some("no_port") => report.no_port += 1,
        _ => *report.other.entry(error.to_string()).or_default() += 1,
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[derive(Args)]
pub(crate) struct HoldArgs {
    target: String,
    #[arg(long, default_value_t = 1)]
    connections: u64,
}

/// Opens connections, keeps them until SIGTERM or SIGINT, and reports.
pub(crate) async fn hold(args: &HoldArgs) -> Result<HoldReport> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let addr = resolve(&args.target).await.with_context(|| format!("resolving {}", args.target))?;
    let (mut streams, mut report, mut opening) = (Vec::new(), HoldReport::default(), JoinSet::new());
    let mut left = args.connections;
    while left > 0 || !opening.is_empty() {
        while left > 0 && opening.len() < OPEN_AT_ONCE {
            opening.spawn(TcpStream::connect(addr));
            left -= 1;
        }
        match opening.join_next().await {
            Some(Ok(Ok(stream))) => streams.push(stream),
            Some(_) => report.failed += 1,
            None => {}
        }
    }
    eprintln!("holding {} connections, {} failed", streams.len(), report.failed);
    let mut watching = JoinSet::new();
    report.open = streams.len() as u64;
    for stream in streams {
        watching.spawn(until_closed(stream));
    }
    loop {
        tokio::select! {
            Some(_closed) = watching.join_next() => report.ended += 1,
            _ = terminate.recv() => return Ok(report),
            _ = interrupt.recv() => return Ok(report),
        }
    }
}

async fn until_closed(mut stream: TcpStream) {
    let mut buffer = [0; 1024];
    while stream.read(&mut buffer).await.is_ok_and(|length| length > 0) {}
}
