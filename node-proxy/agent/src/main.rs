//! `weft-agent`: runs, checks the machine, or gives everything back.

use clap::{Parser, Subcommand, ValueEnum};
use std::process::ExitCode;
use weft_agent::app;
use weft_agent::config::{CaptureConfig, Config, Paths};
use weft_agent::memory::Memory;
use weft_ebpf_host::{Found, Requirement, check, memory};
use weft_runtime::Settings;

/// For threads that are in the kernel when the agent ends.
const THREADS_WAIT: std::time::Duration = std::time::Duration::from_secs(2);

/// Threads that enter namespaces at most: enough that some that hang hold nobody up, and no more memory than that.
const BLOCKING_THREADS_MAX: usize = 16;

/// Enrols the pods of this node in the mesh.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Run the agent (the default). Settings are in the environment.
    Run,
    /// Say what this machine's kernel offers, and what is missing.
    Check {
        /// How to say it.
        #[arg(short, long, default_value = "table")]
        output: Output,
    },
    /// Release every pod and remove everything from the kernel. The agent must not be running.
    Uninstall,
}

#[derive(Clone, Copy, ValueEnum)]
enum Output {
    /// For people.
    Table,
    /// For machines.
    Json,
}

fn main() -> anyhow::Result<ExitCode> {
    match Arguments::parse().command.unwrap_or(Command::Run) {
        Command::Run => run().map(|()| ExitCode::SUCCESS),
        Command::Check { output } => Ok(report(&check(), output)),
        Command::Uninstall => uninstall().map(|()| ExitCode::SUCCESS),
    }
}

fn run() -> anyhow::Result<()> {
    let mut settings = Settings::from_env();
    let config = Config::read(&mut settings);
    let config = settings.finish(config)?;
    config.log.install()?;
    memory::keep_one_heap();
    // One thread waits and decides; those that enter namespaces are made as needed.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .enable_all()
        .build()?;
    let result = runtime.block_on(app::run(config));
    runtime.shutdown_timeout(THREADS_WAIT);
    result
}

fn uninstall() -> anyhow::Result<()> {
    let mut settings = Settings::from_env();
    let read = (CaptureConfig::read(&mut settings), Paths::read(&mut settings));
    let (capture, paths) = settings.finish(read)?;
    app::uninstall(&capture, &Memory::new(&paths.state), &paths.admin)
}

/// Prints what was found; a failure if something is missing that nothing takes the place of.
fn report(requirements: &[Requirement], output: Output) -> ExitCode {
    match output {
        Output::Table => requirements.iter().for_each(|one| {
            let (word, detail) = words(&one.found);
            let advice = if is_missing(&one.found) { one.advice } else { "" };
            let words: Vec<_> = [detail, advice].into_iter().filter(|text| !text.is_empty()).collect();
            println!("{}", format!("{:<20} {word:<8} {}", one.name, words.join(": ")).trim_end());
        }),
        Output::Json => {
            let rows = requirements.iter().map(|one| {
                let (word, detail) = words(&one.found);
                serde_json::json!({"name": one.name, "found": word, "detail": detail, "advice": one.advice})
            });
            println!("{:#}", serde_json::Value::Array(rows.collect()));
        }
    }
    let missing = requirements.iter().any(|one| is_missing(&one.found));
    if missing { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn is_missing(found: &Found) -> bool {
    match found {
        Found::Yes | Found::Instead(_) => false,
        Found::No | Found::InTheWay(_) | Found::Unknown(_) => true,
    }
}

fn words(found: &Found) -> (&'static str, &str) {
    match found {
        Found::Yes => ("yes", ""),
        Found::Instead(what) => ("instead", what),
        Found::No => ("no", ""),
        Found::InTheWay(what) => ("no", what),
        Found::Unknown(why) => ("unknown", why),
    }
}
