//! `weft-control`: reads what was typed and hands over.
#![forbid(unsafe_code)]

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use weft_control::local_token::TokenArgs;
use weft_control::settings::ControlSettings;
use weft_control::{app, local_token};
use weft_runtime::Settings;

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
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let mut settings = Settings::from_env();
    match args.what {
        Some(What::Token(args)) => local_token::write(&args, settings),
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
