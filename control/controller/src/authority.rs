//! The authority of this process: opened at the start, rotated on request, and the certificate of the
//! control plane's own port, renewed in time.

use crate::settings::AuthoritySettings;
use parking_lot::Mutex;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::watch;
use weft_control_ca::{
    Authority, CaDirectory, CaSettings, Cacerts, DropRoot, OpenError, Phase, PluggedError, RotateError,
    SignError,
};
use weft_pki::{ServingError, ServingSlot, renewal_time};

/// How long to wait after a renewal that failed.
const RETRY_AFTER: Duration = Duration::from_secs(10);
/// The least time between two renewals.
const RENEW_AFTER_MIN: Duration = Duration::from_secs(1);
/// Longest sleep: a timer stands still while the machine is suspended, and knows nothing of a clock that is set.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// How often the files of a plugged-in authority are looked at. Kubernetes takes up to a minute to change them.
const CACERTS_EVERY: Duration = Duration::from_secs(1);

/// The authority and what can be done with it. Clones are the same.
#[derive(Clone)]
pub(crate) struct Keys(Arc<Inner>);

struct Inner {
    keeper: Keeper,
    now: watch::Sender<Authority>,
    roots_file: Option<PathBuf>,
    /// What is wrong with a plugged-in authority's files at present.
    complaint: Mutex<Option<String>>,
}

/// Who keeps the keys.
enum Keeper {
    /// This process.
    Own(Mutex<CaDirectory>),
    /// Somebody else, who changes the files when he likes.
    Plugged(Mutex<Cacerts>),
}

/// Why there is no authority. The fault is on this side.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeysError {
    #[error("opening the authority")]
    Open(#[source] OpenError),
    #[error("reading the plugged-in authority")]
    Plugged(#[source] PluggedError),
    #[error("writing the roots to {}", .path.display())]
    Roots { path: PathBuf, source: io::Error },
}

/// Why a step of a rotation was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StepError {
    #[error("the authority is plugged in; whoever keeps it rotates it")]
    NotOurs,
    #[error("rotating the roots")]
    Rotate(#[source] RotateError),
    #[error("the step is taken; writing the roots to {}", .path.display())]
    Roots { path: PathBuf, source: io::Error },
}

/// Why the port has no certificate.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServingCertError {
    #[error("signing the certificate of this port")]
    Sign(#[source] SignError),
    #[error("using the certificate of this port")]
    Use(#[source] ServingError),
}

/// A step of a rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Announce,
    Switch,
    Drop(DropRoot),
}

impl Keys {
    pub(crate) fn open(settings: &AuthoritySettings) -> Result<Self, KeysError> {
        let mut ca = CaSettings::new(settings.trust_domain.clone());
        ca.authority.leaf_lifetime_max = settings.leaf_lifetime_max;
        let now = SystemTime::now();
        let (keeper, authority) = match &settings.cacerts {
            Some(folder) => {
                let (cacerts, authority) =
                    Cacerts::open(folder, ca.authority, now).map_err(KeysError::Plugged)?;
                (Keeper::Plugged(Mutex::new(cacerts)), authority)
            }
            None => {
                let own = CaDirectory::open_or_create(&settings.folder, ca, now).map_err(KeysError::Open)?;
                let authority = own.authority();
                (Keeper::Own(Mutex::new(own)), authority)
            }
        };
        let keys = Self(Arc::new(Inner {
            keeper,
            now: watch::Sender::new(authority),
            roots_file: settings.roots_file.clone(),
            complaint: Mutex::default(),
        }));
        keys.write_roots().map_err(|(path, source)| KeysError::Roots { path, source })?;
        Ok(keys)
    }

    pub(crate) fn authority(&self) -> watch::Receiver<Authority> {
        self.0.now.subscribe()
    }

    /// Where the rotation stands: the phase, and the root that signs.
    pub(crate) fn rotation(&self) -> Option<(Phase, String, SystemTime)> {
        let Keeper::Own(own) = &self.0.keeper else { return None };
        let own = own.lock();
        let rotation = own.rotation();
        Some((rotation.phase(), rotation.signing().as_str().to_owned(), rotation.since()))
    }

    /// Why the files of a plugged-in authority are not those that are in force.
    pub(crate) fn complaint(&self) -> Option<String> {
        self.0.complaint.lock().clone()
    }

    /// Takes up what is changed in the files of a plugged-in authority, until dropped; there is nothing to do for an own one.
    pub(crate) async fn follow(self) {
        if let Keeper::Own(_) = self.0.keeper {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(CACERTS_EVERY).await;
            let keys = self.clone();
            if let Err(error) = tokio::task::spawn_blocking(move || keys.look_again()).await {
                tracing::error!(%error, "looking at the plugged-in authority failed badly");
            }
        }
    }

    /// Blocks on the disk.
    fn look_again(&self) {
        let Keeper::Plugged(cacerts) = &self.0.keeper else { return };
        let found = cacerts.lock().read_again(SystemTime::now()).map_err(KeysError::Plugged);
        let taken = found.and_then(|found| {
            if let Some(authority) = found {
                tracing::info!("the plugged-in authority has changed");
                self.0.now.send_replace(authority);
            } else if self.complaint().is_none() {
                return Ok(());
            }
            self.write_roots().map_err(|(path, source)| KeysError::Roots { path, source })
        });
        let complaint = taken.err().map(|error| Chain(&error).to_string());
        let before = std::mem::replace(&mut *self.0.complaint.lock(), complaint.clone());
        if let Some(complaint) = complaint.filter(|complaint| before.as_ref() != Some(complaint)) {
            tracing::error!(error = complaint, "the plugged-in authority's files are not in force");
        }
    }

    /// Takes a step; everybody who signs or serves sees it at once. Blocks on the disk for a moment.
    pub(crate) fn rotate(&self, step: Step) -> Result<(), StepError> {
        let Keeper::Own(own) = &self.0.keeper else { return Err(StepError::NotOurs) };
        let mut own = own.lock();
        let now = SystemTime::now();
        let stepped = match step {
            Step::Announce => own.announce_root(now),
            Step::Switch => own.switch_root(now),
            Step::Drop(drop) => own.drop_old_root(drop, now),
        };
        // Also after an error: a step may be taken and only the tidying up have failed.
        self.0.now.send_replace(own.authority());
        let written = self.write_roots();
        stepped.map_err(StepError::Rotate)?;
        written.map_err(|(path, source)| StepError::Roots { path, source })?;
        tracing::info!(?step, "the roots are rotated");
        Ok(())
    }

    fn write_roots(&self) -> Result<(), (PathBuf, io::Error)> {
        let Some(path) = &self.0.roots_file else {
            return Ok(());
        };
        replace(path, self.0.now.borrow().roots_pem()).map_err(|error| (path.clone(), error))
    }
}

fn replace(path: &Path, content: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    std::fs::write(&fresh, content)?;
    std::fs::rename(fresh, path)
}

/// The certificate of the control plane's own port.
pub(crate) struct OwnCertificate {
    authority: watch::Receiver<Authority>,
    names: Vec<String>,
    slot: Arc<ServingSlot>,
    /// When the one in force began and ends.
    validity: watch::Sender<(SystemTime, SystemTime)>,
}

impl OwnCertificate {
    pub(crate) fn new(keys: &Keys, names: Vec<String>) -> Result<Self, ServingCertError> {
        let mut authority = keys.authority();
        let now = SystemTime::now();
        let serving = authority.borrow_and_update().serving_certificate(&names, now);
        let serving = serving.map_err(ServingCertError::Sign)?;
        let slot = ServingSlot::new(&serving.chain_pem, &serving.key_pem).map_err(ServingCertError::Use)?;
        let validity = watch::Sender::new((now, serving.not_after));
        Ok(Self { authority, names, slot: Arc::new(slot), validity })
    }

    pub(crate) fn slot(&self) -> Arc<ServingSlot> {
        self.slot.clone()
    }

    pub(crate) fn validity(&self) -> watch::Receiver<(SystemTime, SystemTime)> {
        self.validity.subscribe()
    }

    /// Renews it at half its life and after each step of a rotation, until dropped.
    pub(crate) async fn keep(mut self) {
        loop {
            let (from, to) = *self.validity.borrow();
            let left = renewal_time(from, to, 0.0).duration_since(SystemTime::now()).unwrap_or_default();
            let sleep = left.clamp(RENEW_AFTER_MIN, LOOK_EVERY);
            tokio::select! {
                () = tokio::time::sleep(sleep) => if sleep < left {
                    continue;
                },
                changed = self.authority.changed() => if changed.is_err() {
                    return;
                },
            }
            while let Err(error) = self.renew() {
                tracing::error!(error = %Chain(&error), "cannot renew the certificate of this port");
                tokio::time::sleep(RETRY_AFTER).await;
            }
        }
    }

    fn renew(&mut self) -> Result<(), ServingCertError> {
        let now = SystemTime::now();
        let serving = self.authority.borrow_and_update().serving_certificate(&self.names, now);
        let serving = serving.map_err(ServingCertError::Sign)?;
        self.slot.replace(&serving.chain_pem, &serving.key_pem).map_err(ServingCertError::Use)?;
        self.validity.send_replace((now, serving.not_after));
        tracing::info!("the certificate of this port is renewed");
        Ok(())
    }
}

/// An error with its causes, on one line.
pub(crate) struct Chain<'a>(pub(crate) &'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(one) = cause {
            write!(f, ": {one}")?;
            cause = one.source();
        }
        Ok(())
    }
}
