//! The integrity probe: both ends send at once, in writes of random sizes with random pauses, and check every byte of
//! the other side against the generator that both know.
//!
//! On the wire: the client begins with a header of four big-endian numbers (seed, bytes each way, biggest write,
//! longest pause in microseconds). Then each side sends its bytes. The client half-closes after its last; the server,
//! once it has seen that, sends a verdict (1 for good, and how many bytes it got) and closes.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use weft_testkit::report::ProbeReport;

use crate::Server;
use crate::socket::{accept, listen, resolve};

/// Told apart so that a side that echoes is found out.
const CLIENT_BYTES: u64 = 0xc11e;
const SERVER_BYTES: u64 = 0x5e27;
/// Biggest write that a server accepts to be told, because it allocates it.
const WRITE_MAX: u64 = 16 << 20;

#[derive(Args, Clone)]
pub(crate) struct ProbeArgs {
    target: String,
    #[arg(long, default_value_t = 8)]
    connections: u64,
    /// Bytes each way.
    #[arg(long, default_value_t = 1 << 20)]
    bytes: u64,
    #[arg(long, default_value_t = 40_000)]
    write_max: u64,
    #[arg(long, default_value_t = 3000)]
    pause_max_micros: u64,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[arg(long, default_value_t = 60_000)]
    timeout_ms: u64,
}

/// What both sides agree on.
#[derive(Clone, Copy)]
struct Plan {
    seed: u64,
    bytes: u64,
    write_max: u64,
    pause_max_micros: u64,
}

/// Runs all connections, and reports.
pub(crate) async fn run(args: ProbeArgs) -> ProbeReport {
    let mut connections = JoinSet::new();
    for number in 0..args.connections {
        let args = args.clone();
        connections.spawn(async move {
            let limit = Duration::from_millis(args.timeout_ms);
            let done = tokio::time::timeout(limit, connection(&args, number)).await;
            done.unwrap_or_else(|_elapsed| Err(anyhow::anyhow!("not done within {limit:?}")))
                .with_context(|| format!("connection {number}"))
        });
    }
    let mut report = ProbeReport::default();
    while let Some(done) = connections.join_next().await {
        match done.context("a connection's task").and_then(|done| done) {
            Ok(()) => {
                report.ok += 1;
                report.sent += args.bytes;
                report.received += args.bytes;
            }
            Err(error) => report.failures.push(format!("{error:#}")),
        }
    }
    report
}

async fn connection(args: &ProbeArgs, number: u64) -> Result<()> {
    let addr = resolve(&args.target).await.context("resolving")?;
    let mut stream = TcpStream::connect(addr).await.context("connecting")?;
    stream.set_nodelay(true).context("setting TCP_NODELAY")?;
    let plan = Plan {
        seed: args.seed.wrapping_mul(1000).wrapping_add(number),
        bytes: args.bytes,
        write_max: args.write_max,
        pause_max_micros: args.pause_max_micros,
    };
    for field in [plan.seed, plan.bytes, plan.write_max, plan.pause_max_micros] {
        stream.write_u64(field).await.context("sending the header")?;
    }
    let (mut reader, mut writer) = stream.split();
    let sending = async {
        send(&mut writer, plan, CLIENT_BYTES).await?;
        writer.shutdown().await.context("half-closing")
    };
    let receiving = async {
        receive(&mut reader, plan, SERVER_BYTES).await?;
        let good = reader.read_u8().await.context("waiting for the verdict")?;
        let got = reader.read_u64().await.context("reading the verdict")?;
        ensure!(
            good == 1 && got == plan.bytes,
            "the server got {got} bytes of {} (verdict {good})",
            plan.bytes
        );
        let more = reader.read(&mut [0]).await.context("waiting for the end")?;
        ensure!(more == 0, "bytes behind the verdict");
        Ok(())
    };
    tokio::try_join!(sending, receiving).map(drop)
}

/// Serves until killed.
pub(crate) async fn serve(server: &Server) -> Result<()> {
    let listener = listen(server)?;
    let mut connections = JoinSet::new();
    loop {
        let (stream, peer) = accept(&listener).await;
        connections.spawn(async move {
            if let Err(error) = serve_one(stream).await {
                eprintln!("{peer}: {error:#}");
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn serve_one(mut stream: TcpStream) -> Result<()> {
    let mut fields = [0; 4];
    for field in &mut fields {
        *field = stream.read_u64().await.context("reading the header")?;
    }
    let [seed, bytes, write_max, pause_max_micros] = fields;
    let plan = Plan { seed, bytes, write_max: write_max.min(WRITE_MAX), pause_max_micros };
    let (mut reader, mut writer) = stream.split();
    let receiving = async {
        let received = receive(&mut reader, plan, CLIENT_BYTES).await;
        let end = reader.read(&mut [0]).await;
        Ok(received.and_then(|()| {
            ensure!(end.context("waiting for the client's end")? == 0, "bytes behind the last one");
            Ok(())
        }))
    };
    let ((), verdict) = tokio::try_join!(send(&mut writer, plan, SERVER_BYTES), receiving)?;
    writer.write_u8(u8::from(verdict.is_ok())).await.context("sending the verdict")?;
    writer.write_u64(if verdict.is_ok() { plan.bytes } else { 0 }).await.context("sending the verdict")?;
    writer.shutdown().await.context("closing")?;
    verdict
}

async fn send(writer: &mut (impl AsyncWriteExt + Unpin), plan: Plan, direction: u64) -> Result<()> {
    let mut content = Generator::new(plan.seed ^ direction);
    let mut shape = Generator::new(plan.seed ^ direction ^ 0x5a5a);
    let (mut left, mut buffer) = (plan.bytes, Vec::new());
    while left > 0 {
        // Half of the writes are small: borders between records and frames are where bugs live.
        let limit = if shape.next().is_multiple_of(2) { 64 } else { plan.write_max.max(1) };
        let size = (1 + shape.next() % limit).min(left);
        buffer.clear();
        buffer.extend((0..size).map(|_| content.byte()));
        writer.write_all(&buffer).await.with_context(|| format!("sending, {left} bytes to go"))?;
        left -= size;
        if plan.pause_max_micros > 0 && shape.next().is_multiple_of(4) {
            tokio::time::sleep(Duration::from_micros(shape.next() % plan.pause_max_micros)).await;
        }
    }
    writer.flush().await.context("flushing")
}

async fn receive(reader: &mut (impl AsyncReadExt + Unpin), plan: Plan, direction: u64) -> Result<()> {
    let mut content = Generator::new(plan.seed ^ direction);
    let mut shape = Generator::new(plan.seed ^ direction ^ 0xa5a5);
    let mut buffer = vec![0; 64 << 10];
    let mut got = 0;
    while got < plan.bytes {
        let limit = usize::try_from(plan.bytes - got).unwrap_or(usize::MAX).min(buffer.len());
        let length = reader
            .read(&mut buffer[..limit])
            .await
            .with_context(|| format!("receiving after {got} bytes"))?;
        ensure!(length > 0, "the end came after {got} bytes of {}", plan.bytes);
        let wrong = buffer[..length].iter().position(|byte| *byte != content.byte());
        ensure!(wrong.is_none(), "byte {} is not the one that was sent", got + wrong.unwrap_or(0) as u64);
        got += length as u64;
        // A slow reader now and then, so that windows fill.
        if plan.pause_max_micros > 0 && shape.next().is_multiple_of(64) {
            tokio::time::sleep(Duration::from_micros(plan.pause_max_micros)).await;
        }
    }
    Ok(())
}

/// SplitMix64: small, fast, and the same on both sides.
struct Generator {
    state: u64,
    word: u64,
    left: u32,
}

impl Generator {
    fn new(seed: u64) -> Self {
        Self { state: seed, word: 0, left: 0 }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn byte(&mut self) -> u8 {
        if self.left == 0 {
            self.word = self.next();
            self.left = 8;
        }
        self.left -= 1;
        let byte = self.word as u8;
        self.word >>= 8;
        byte
    }
}
