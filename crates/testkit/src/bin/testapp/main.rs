//! `weft-testapp`: the small servers and clients that pods run in tests, in the demo and in the benchmark. Servers say
//! `listening` on standard error; clients print one JSON report (see `weft_testkit::report`) on standard output.

mod dns;
mod http;
mod load;
mod probe;
mod servers;
mod socket;

use std::time::Duration;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use weft_testkit::report::GetReport;

#[derive(Parser)]
#[command(about = "Small servers and clients for Weft's tests")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// An HTTP server that says who it is, whom it sees and what it was asked.
    Http {
        #[command(flatten)]
        server: Server,
        #[arg(long, default_value = "v1")]
        version: String,
        #[arg(long, default_value_t = 0)]
        delay_ms: u64,
        /// While this file is there, answers every Nth request with 503; it holds the N.
        #[arg(long)]
        fail_file: Option<std::path::PathBuf>,
        /// Asks this URL before it answers, and hands on what the request says of its trace.
        #[arg(long)]
        next: Option<String>,
    },
    /// A TCP server that sends back what it gets, and half-closes when the client has.
    Echo {
        #[command(flatten)]
        server: Server,
    },
    /// A TCP server that sends a banner first, and then echoes.
    First {
        #[command(flatten)]
        server: Server,
        #[arg(long, default_value = "hello")]
        banner: String,
    },
    /// A UDP server that sends back what it gets.
    UdpEcho {
        #[command(flatten)]
        server: Server,
    },
    /// A DNS server with a fixed list of names.
    Dns {
        #[command(flatten)]
        server: Server,
        /// `name=address`, as often as needed.
        #[arg(long)]
        record: Vec<String>,
    },
    /// The server of the integrity probe.
    ProbeServer {
        #[command(flatten)]
        server: Server,
    },
    /// The client of the integrity probe.
    Probe(probe::ProbeArgs),
    /// HTTP requests.
    Get(http::GetArgs),
    /// New connections at a steady rate.
    Connects(load::ConnectsArgs),
    /// Connections that stay open until SIGTERM.
    Hold(load::HoldArgs),
}

/// What every server takes.
#[derive(Args, Clone)]
struct Server {
    #[arg(long, default_value = "weft-testapp")]
    name: String,
    #[arg(long)]
    port: u16,
    /// Both families, unless told.
    #[arg(long, default_value = "::")]
    bind: std::net::IpAddr,
}

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run(Cli::parse().command))
}

async fn run(command: Command) -> Result<()> {
    match command {
        Command::Http { server, version, delay_ms, fail_file, next } => {
            let delay = Duration::from_millis(delay_ms);
            http::serve(&server, http::Behaviour { version, delay, fail_file, next }).await
        }
        Command::Echo { server } => servers::echo(&server, None).await,
        Command::First { server, banner } => servers::echo(&server, Some(banner)).await,
        Command::UdpEcho { server } => servers::udp_echo(&server).await,
        Command::Dns { server, record } => dns::serve(&server, &record).await,
        Command::ProbeServer { server } => probe::serve(&server).await,
        Command::Probe(args) => print(&probe::run(args).await),
        Command::Get(args) if args.body => print_bodies(http::get(args).await?),
        Command::Get(args) => print(&http::get(args).await?),
        Command::Connects(args) => print(&load::connects(args).await?),
        Command::Hold(args) => print(&load::hold(&args).await?),
    }
}

fn print_bodies(report: GetReport) -> Result<()> {
    for answer in report.answers {
        anyhow::ensure!(answer.is_ok(), "status {} {}", answer.status, answer.error);
        println!("{}", answer.body);
    }
    Ok(())
}

fn print(report: &impl serde::Serialize) -> Result<()> {
    println!("{}", serde_json::to_string(report)?);
    Ok(())
}
