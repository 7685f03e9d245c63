//! `weft-control token`: writes what Kubernetes would give to a pod.

use crate::settings::{Account, ca_folder};
use anyhow::Context as _;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use weft_control_ca::token::AUDIENCE;
use weft_control_ca::{LocalTokens, TokenSubject};
use weft_core::names::NodeName;
use weft_runtime::Settings;

/// Whom a token is for, and where it goes.
#[derive(Debug, Clone, clap::Args)]
pub struct TokenArgs {
    /// Whose token it is, NAMESPACE/NAME.
    #[arg(long, value_name = "NAMESPACE/NAME")]
    service_account: Account,
    /// The pod that it is bound to.
    #[arg(long, requires = "pod_uid")]
    pod: Option<String>,
    /// That pod's uid.
    #[arg(long, requires = "pod")]
    pod_uid: Option<String>,
    /// The node where that pod runs.
    #[arg(long)]
    node: Option<String>,
    /// The file that is written, readable by its owner alone.
    #[arg(long)]
    out: PathBuf,
    /// How long it is good, in seconds.
    #[arg(long, default_value_t = 3600)]
    ttl: u64,
    /// The authority's folder; WEFT_CA_DIR if not given.
    #[arg(long)]
    ca_dir: Option<PathBuf>,
}

/// Writes the token. The authority's folder need not exist yet; a control plane may run on it.
///
/// # Errors
/// What went wrong, for a person.
pub fn write(args: &TokenArgs, mut settings: Settings<'_>) -> anyhow::Result<()> {
    let set = ca_folder(&mut settings);
    let folder = settings.finish(args.ca_dir.clone().unwrap_or(set))?;
    let tokens = LocalTokens::open_or_create(&folder)?;
    let pod = args.pod.as_deref().zip(args.pod_uid.as_deref());
    let subject = TokenSubject {
        service_account: args.service_account.0.clone(),
        pod: pod.map(|(name, uid)| (name.into(), uid.into())),
        node: args.node.as_deref().map(NodeName::new),
    };
    let lifetime = Duration::from_secs(args.ttl);
    let token = tokens.issue_token(&subject, &[AUDIENCE], lifetime, SystemTime::now())?;
    replace(&args.out, &token).with_context(|| format!("writing {}", args.out.display()))
}

/// A client that reads the file at any time finds a whole token.
fn replace(path: &Path, token: &str) -> std::io::Result<()> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = PathBuf::from(fresh);
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(token.as_bytes())?;
    drop(file);
    fs::rename(fresh, path)
}
