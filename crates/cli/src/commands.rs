//! What can be typed, and what it does.

use crate::analyze::{self, AnalyzeError};
use crate::answers::{self, Extent};
use crate::check::{self, CheckError};
use crate::explain::{self, Destination, ExplainError};
use crate::lists::{self, List};
use crate::output::{self, Output, PrintError};
use crate::places::{Chosen, Place, PlaceError};
use crate::routes::{self, RoutesError};
use crate::waypoint::{self, Wanted, WaypointError};
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
    /// What a service's requests meet at its waypoint, in order; `explain`: what would become of one.
    #[command(args_conflicts_with_subcommands = true, arg_required_else_help = true)]
    Routes {
        /// The service: NAMESPACE/NAME, its host name, or NAME.
        service: Option<String>,
        /// What would become of a request.
        #[command(subcommand)]
        explain: Option<RoutesCommand>,
    },
    /// Waypoints.
    #[command(subcommand)]
    Waypoint(WaypointCommand),
    /// Every mistake in a folder of manifests, with file, line and field.
    Analyze {
        /// The folder.
        #[arg(required_unless_present = "live", conflicts_with = "live")]
        folder: Option<PathBuf>,
        /// The folder of the control plane that runs here, as that reads it.
        #[arg(long)]
        live: bool,
    },
}

/// What there is to do with routes.
#[derive(Subcommand, Debug)]
pub enum RoutesCommand {
    /// Says which rule takes a request, to which backends it may go, and why.
    Explain {
        /// The service: NAMESPACE/NAME, its host name, or NAME.
        service: String,
        /// The method.
        method: String,
        /// The path, escaped as in a URL.
        path: String,
        /// A header of the request.
        #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
        headers: Vec<String>,
        /// The port, where the service has several.
        #[arg(long)]
        port: Option<u16>,
        /// The client.
        #[arg(long, value_name = "NAMESPACE/POD")]
        from: Option<String>,
    },
}

/// What there is to do with waypoints.
#[derive(Subcommand, Debug)]
pub enum WaypointCommand {
    /// All of them, and how many instances each has.
    List,
    /// What they stand before, and how their instances are.
    Status {
        /// One of them: NAME or NAMESPACE/NAME.
        name: Option<String>,
    },
    /// Writes the Gateway of a waypoint into the folder of manifests, or prints it.
    Apply(WaypointArgs),
    /// Removes what `apply` has written.
    Delete(WaypointArgs),
}

/// Which waypoint.
#[derive(clap::Args, Debug)]
pub struct WaypointArgs {
    /// Its namespace.
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// Its name.
    #[arg(long, default_value = "waypoint")]
    name: String,
    /// What it takes.
    #[arg(long = "for", default_value = "service", value_parser = ["service", "workload", "all", "none"])]
    takes: String,
    /// The folder of manifests, what weft-control has as WEFT_DIRECTORY.
    #[arg(long, value_name = "DIR")]
    manifests: Option<PathBuf>,
}

impl WaypointArgs {
    fn wanted(&self) -> Wanted {
        Wanted { namespace: self.namespace.clone(), name: self.name.clone(), takes: self.takes.clone() }
    }
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
    /// No waypoint answers.
    #[error(transparent)]
    Routes(#[from] RoutesError),
    /// Nobody tells of waypoints.
    #[error(transparent)]
    Waypoint(#[from] WaypointError),
    /// Manifests could not be looked at.
    #[error(transparent)]
    Analyze(#[from] AnalyzeError),
    /// `weft-agent` could not be run.
    #[error(transparent)]
    Check(#[from] CheckError),
    /// The answer is nobody's.
    #[error(transparent)]
    Print(#[from] PrintError),
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
            Self::Routes(error) => Some(error.advice()),
            Self::Waypoint(error) => Some(error.advice()),
            Self::Analyze(error) => Some(error.advice()),
            Self::Check(error) => Some(error.advice()),
            Self::Print(error) => Some(error.advice()),
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
    output::print(&said.answer)?;
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

impl Said {
    /// Nobody was silent, or who was is part of the answer.
    fn whole(answer: String, extent: Extent) -> Self {
        Self { answer, silences: String::new(), extent }
    }
}

async fn answer(command: &Command, chosen: &Chosen, output: Output) -> Result<Said, CommandError> {
    let list = match command {
        Command::Status => {
            let control = chosen.control();
            let status = status::gather(&chosen.places().await?, control.as_deref()).await;
            // Who is silent is part of this very answer.
            let answer = show(&status, output, status::render);
            return Ok(Said::whole(answer, status::extent(&status)));
        }
        Command::Policy(PolicyCommand::Explain { source, destination }) => {
            let places = chosen.places().await?;
            let explanation = explain::ask(&places, source, destination).await?;
            let answer = show(&explanation, output, explain::render);
            return Ok(Said::whole(answer, Extent::Whole));
        }
        Command::Routes { service, explain } => {
            return routes(service.as_deref(), explain.as_ref(), chosen, output).await;
        }
        Command::Waypoint(command) => return waypoints(command, chosen, output).await,
        Command::Analyze { folder, .. } => {
            let problems = match folder {
                Some(folder) => analyze::folder(folder)?,
                None => analyze::live(chosen.control().as_deref()).await?,
            };
            return Ok(Said::whole(show(&problems, output, analyze::render), analyze::extent(&problems)));
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

async fn routes(
    service: Option<&str>,
    explain: Option<&RoutesCommand>,
    chosen: &Chosen,
    output: Output,
) -> Result<Said, CommandError> {
    let waypoints = chosen.waypoints();
    let (answer, silent) = match explain {
        Some(RoutesCommand::Explain { service, method, path, headers, port, from }) => {
            let asked = routes::Ask {
                service: service.clone(),
                method: method.clone(),
                path: path.clone(),
                headers: headers.clone(),
                port: *port,
                from: from.clone(),
            };
            let (told, silent) = routes::explain(&waypoints, &asked).await?;
            (show(&told, output, routes::render_explanation), silent)
        }
        None => {
            // The command line asks for one of the two.
            let (listing, silent) = routes::list(&waypoints, service.unwrap_or_default()).await?;
            (show(&listing, output, routes::render), silent)
        }
    };
    // What one of them says is the whole: others would say the same, or stand before something else.
    Ok(Said { answer, silences: silent.iter().map(answers::tell).collect(), extent: Extent::Whole })
}

async fn waypoints(command: &WaypointCommand, chosen: &Chosen, output: Output) -> Result<Said, CommandError> {
    let control = chosen.control();
    match command {
        WaypointCommand::List => {
            let all = waypoint::gather(control.as_deref(), None).await?;
            Ok(Said::whole(show(&all, output, waypoint::render), Extent::Whole))
        }
        WaypointCommand::Status { name } => {
            let all = waypoint::gather(control.as_deref(), name.as_deref()).await?;
            let status = waypoint::status(all, &chosen.waypoints()).await;
            Ok(Said::whole(show(&status, output, waypoint::render_status), waypoint::extent(&status)))
        }
        WaypointCommand::Apply(args) => {
            let wanted = args.wanted();
            wanted.check()?;
            let manifest = match output {
                Output::Json => format!("{:#}\n", wanted.manifest()),
                Output::Table | Output::Yaml => yaml::render(&wanted.manifest()),
            };
            match &args.manifests {
                Some(folder) => {
                    let written = wanted.write(folder, &yaml::render(&wanted.manifest()))?;
                    Ok(Said::whole(written, Extent::Whole))
                }
                // So that the manifest alone can be redirected into a file.
                None => Ok(Said { answer: manifest, silences: wanted.next(), extent: Extent::Whole }),
            }
        }
        WaypointCommand::Delete(args) => {
            let wanted = args.wanted();
            wanted.check()?;
            let folder = args.manifests.as_deref().ok_or(WaypointError::NoFolder)?;
            Ok(Said::whole(wanted.remove(folder)?, Extent::Whole))
        }
    }
}

fn show(value: &Value, output: Output, table: impl Fn(&Value) -> String) -> String {
    match output {
        Output::Table => table(value),
        Output::Json => format!("{value:#}\n"),
        Output::Yaml => yaml::render(value),
    }
}
