//! `weft-control`: reads what was typed and hands over.
#![forbid(unsafe_code)]

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;
use weft_control::local_token::TokenArgs;
use weft_control::settings::{ControlSettings, read_index};
use weft_control::{analyze, app, local_token};
use weft_runtime::Settings;
use weft_runtime::log::describe;

/// Weft's control plane. Without a subcommand it serves; its settings are environment variables, WEFT_….
#[derive(Parser)]
#[command(name = "weft-control", version)]
struct Args {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Subcommand)]
enum What {
    /// Writes a local token: what Kubernetes gives to pods, where there is no Kubernetes.
    Token(TokenArgs),
    /// Writes everything that is wrong in a folder of manifests as JSON, with file, line and field.
    Check {
        /// The folder.
        folder: PathBuf,
    },
}

fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weft-control: {}", describe(&*error));
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> anyhow::Result<()> {
    let mut settings = Settings::from_env();
    match args.what {
        Some(What::Token(args)) => local_token::write(&args, settings),
        Some(What::Check { folder }) => {
            let config = read_index(&mut settings);
            let config = settings.finish(config)?;
            let problems = analyze::folder(&folder, config)?;
            println!("{:#}", analyze::json(&problems));
            Ok(())
        }
        None => {
            let read = ControlSettings::read(&mut settings);
            for name in settings.unread("WEFT_") {
                eprintln!("weft-control: {name} is set and means nothing to it");
            }
            let settings = settings.finish(read)?;
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
            runtime.context("starting the runtime")?.block_on(app::run(settings))
        }
    }
}
