//! What can be typed, and what it does.

use crate::answers::{self, Extent};
use crate::check::{self, CheckError};
use crate::explain::{self, Destination, ExplainError};
use crate::lists::{self, List};
use crate::output::Output;
use crate::places::{Chosen, Place, PlaceError};
use crate::{status, yaml};
use clap::{Parser, Subcommand};
use serde_json::Value;
use std::path::PathBuf;
use std::process::ExitCode;

/// Asks a node of the mesh how things are.
#[derive(Parser, Debug)]
#[command(name = "weft", version)]
pub struct Args {
    /// The administrative socket of a node proxy.
    #[arg(long, global = true, env = "WEFT_ADMIN_SOCKET", conflicts_with = "world")]
    pub socket: Option<PathBuf>,
    /// A folder with a folder for each node, such as a world of `cargo xtask demo --keep`.
    #[arg(long, global = true, visible_alias = "run-dir", value_name = "DIR")]
    pub world: Option<PathBuf>,
    /// The node to ask, where several can be.
    #[arg(long, global = true)]
    pub node: Option<String>,
    /// How to show the answer.
    #[arg(short, long, global = true, default_value = "table")]
    pub output: Output,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What there is to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// How the nodes are: pods, certificates, discovery; and what is wrong.
    Status,
    /// The workloads that the node proxy knows.
    Workloads,
    /// The services that it knows, and how many endpoints are healthy.
    Services,
    /// The authorization policies that it enforces.
    Policies,
    /// The certificates that it holds, and how long they live.
    Certificates,
    /// The connections that are open now.
    Connections,
    /// Whether this machine can run Weft (asks `weft-agent`; needs root).
    Check,
    /// Policies.
    #[command(subcommand)]
    Policy(PolicyCommand),
}

/// What there is to do with policies.
#[derive(Subcommand, Debug)]
pub enum PolicyCommand {
    /// Says which policy decides about a connection, and why.
    Explain {
        /// The client: NAMESPACE/POD, POD if only one has the name, or an address.
        source: String,
        /// The server: the same, and the application's port.
        #[arg(value_name = "DESTINATION[:PORT]")]
        destination: Destination,
    },
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It is not clear whom to ask.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The question cannot be asked.
    #[error(transparent)]
    Explain(#[from] ExplainError),
    /// `weft-agent` could not be run.
    #[error(transparent)]
    Check(#[from] CheckError),
    /// There is no runtime for asking.
    #[error("starting the runtime")]
    Runtime(#[source] std::io::Error),
}

impl CommandError {
    /// What the user can do about it.
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Place(error) => Some(error.advice()),
            Self::Explain(error) => Some(error.advice()),
            Self::Check(error) => Some(error.advice()),
            Self::Runtime(_) => None,
        }
    }
}

/// Does what was typed, and prints the answer.
///
/// # Errors
/// Why there is no answer.
pub fn run(args: Args) -> Result<ExitCode, CommandError> {
    if matches!(args.command, Command::Check) {
        return Ok(check::run(args.output)?);
    }
    let chosen = Chosen { socket: args.socket, world: args.world, node: args.node };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(CommandError::Runtime)?;
    let said = runtime.block_on(answer(&args.command, &chosen, args.output))?;
    eprint!("{}", said.silences);
    print!("{}", said.answer);
    Ok(said.extent.code())
}

/// What is printed, and where.
struct Said {
    /// On standard output.
    answer: String,
    /// On standard error.
    silences: String,
    extent: Extent,
}

async fn answer(command: &Command, chosen: &Chosen, output: Output) -> Result<Said, CommandError> {
    let list = match command {
        Command::Status => {
            let control = chosen.control();
            let status = status::gather(&chosen.places().await?, control.as_deref()).await;
            // Who is silent is part of this very answer.
            let answer = show(&status, output, status::render);
            return Ok(Said { answer, silences: String::new(), extent: status::extent(&status) });
        }
        Command::Policy(PolicyCommand::Explain { source, destination }) => {
            let places = chosen.places().await?;
            let explanation = explain::ask(&places, source, destination).await?;
            let answer = show(&explanation, output, explain::render);
            return Ok(Said { answer, silences: String::new(), extent: Extent::Whole });
        }
        Command::Workloads => List::Workloads,
        Command::Services => List::Services,
        Command::Policies => List::Policies,
        Command::Certificates => List::Certificates,
        Command::Connections | Command::Check => List::Connections,
    };
    let places: Vec<Place> = chosen.places().await?;
    let answers = lists::gather(list, &places).await;
    let shown = answers.value.map(|rows| show(&rows, output, |rows| lists::render(list, rows)));
    let silences = answers.silent.iter().map(answers::tell).collect();
    Ok(Said { answer: shown.unwrap_or_default(), silences, extent: answers.extent })
}

fn show(value: &Value, output: Output, table: impl Fn(&Value) -> String) -> String {
    match output {
        Output::Table => table(value),
        Output::Json => format!("{value:#}\n"),
        Output::Yaml => yaml::render(value),
    }
}
