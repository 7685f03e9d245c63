//! A kernel of Debian's with its modules: downloaded and unpacked once, never installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use crate::{setup, steps};

/// What Debian's kernels for virtual machines are called: this, the release, and the flavour.
const PREFIX: &str = "linux-image-";
const FLAVOUR: &str = "-cloud-amd64";

/// A kernel that lies ready.
pub(super) struct Image {
    /// What `uname -r` says on it.
    pub(super) release: String,
    /// The kernel itself.
    pub(super) kernel: PathBuf,
    /// The folder of its modules.
    pub(super) modules: PathBuf,
}

impl Image {
    fn open(package: &str, cache: &Path) -> Result<Self> {
        let folder = cache.join(package);
        let release = package.trim_start_matches(PREFIX).to_owned();
        let kernel = folder.join("boot").join(format!("vmlinuz-{release}"));
        ensure!(kernel.is_file(), "{package} has no kernel at {}", kernel.display());
        // Debian moves from the one to the other.
        let places = ["lib/modules", "usr/lib/modules"].map(|place| folder.join(place).join(&release));
        let modules = places.into_iter().find(|place| place.is_dir());
        let modules = modules.with_context(|| format!("{package} has no modules"))?;
        Ok(Self { release, kernel, modules })
    }
}

/// The newest kernel of a series that an earlier run has left.
pub(super) fn kept(series: &str, cache: &Path) -> Option<Image> {
    let folders = fs::read_dir(cache).ok()?.flatten();
    let names = folders.filter_map(|folder| folder.file_name().into_string().ok());
    Image::open(&newest(series, names)?, cache).ok()
}

/// Downloads the newest kernel of a series that this machine's package sources have.
pub(super) fn fetch(series: &str, cache: &Path) -> Result<Image> {
    // The lists may be missing, or name what has been replaced since.
    let package = match offered(series)? {
        Some(package) if download(&package, cache).is_ok() => package,
        _ => {
            setup::update_lists()?;
            let Some(package) = offered(series)? else {
                bail!(
                    "no package source here has {PREFIX}{series}.*{FLAVOUR}: add a suite of Debian that does, \
                     for example bookworm with its security updates, or its backports"
                );
            };
            download(&package, cache)?;
            package
        }
    };
    Image::open(&package, cache)
}

fn offered(series: &str) -> Result<Option<String>> {
    let pattern = format!("^{PREFIX}{}[.]", series.replace('.', "[.]"));
    let mut command = Command::new("apt-cache");
    command.args(["search", "--names-only", &pattern]);
    let mut names = Vec::new();
    let status = steps::listen(&mut command, |line| {
        names.extend(line.split(' ').next().map(str::to_owned));
    })?;
    ensure!(status.success(), "apt-cache search: {status}");
    Ok(newest(series, names.into_iter()))
}

/// The newest of the packages that are kernels of this series.
fn newest(series: &str, packages: impl Iterator<Item = String>) -> Option<String> {
    let of_series = |package: &String| {
        let version = package.strip_prefix(PREFIX).and_then(|rest| rest.strip_suffix(FLAVOUR));
        let rest = version.and_then(|version| version.strip_prefix(series));
        rest.is_some_and(|rest| rest.starts_with('.'))
    };
    packages.filter(of_series).max_by_key(|package| numbers(package))
}

/// The numbers in a name, which order versions.
fn numbers(name: &str) -> Vec<u64> {
    name.split(|letter: char| !letter.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
}

/// Puts a package's files into a folder of its name, whole or not at all.
fn download(package: &str, cache: &Path) -> Result<()> {
    let folder = cache.join(package);
    if folder.is_dir() {
        return Ok(());
    }
    let part = cache.join("unfinished");
    if part.exists() {
        fs::remove_dir_all(&part).with_context(|| format!("removing {}", part.display()))?;
    }
    fs::create_dir_all(&part).with_context(|| format!("making {}", part.display()))?;
    let mut apt = setup::apt(&["download", "-q", package]);
    // Its own user may not write here.
    apt.args(["-o", "APT::Sandbox::User=root"]).current_dir(&part);
    steps::run(&format!("apt-get download {package} (about 30 MB)"), &mut apt)?;
    let unpacked = part.join("unpacked");
    let archive = fs::read_dir(&part).context("looking for the package")?.flatten().next();
    let archive = archive.with_context(|| format!("apt-get has downloaded no {package}"))?.path();
    steps::run("dpkg -x", Command::new("dpkg").arg("-x").arg(&archive).arg(&unpacked))?;
    fs::rename(&unpacked, &folder).with_context(|| format!("keeping {}", folder.display()))?;
    fs::remove_dir_all(&part).with_context(|| format!("removing {}", part.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_kernel_of_a_series_is_found() {
        let packages = [
            "linux-image-6.1.0-47-cloud-amd64",
            "linux-image-6.1.0-6-cloud-amd64",
            "linux-image-6.1.0-50-cloud-amd64-unsigned",
            "linux-image-6.1.0-50-amd64",
            "linux-image-6.12-cloud-amd64",
            "linux-image-6.12.100+deb12-cloud-amd64",
            "linux-image-6.12.99+deb12-cloud-amd64",
        ];
        for (series, want) in [
            ("6.1", Some("linux-image-6.1.0-47-cloud-amd64")),
            ("6.12", Some("linux-image-6.12.100+deb12-cloud-amd64")),
            ("5.10", None),
            ("6", Some("linux-image-6.12.100+deb12-cloud-amd64")),
        ] {
            let found = newest(series, packages.iter().map(|package| (*package).to_owned()));
            assert_eq!(found.as_deref(), want, "{series}");
        }
    }
}
