//! What a virtual machine starts from: busybox, the programs that the suites call, the modules that they need, and the
//! suites. Programs are this machine's, each with the libraries that its loader would take.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use super::image::Image;
use crate::{setup, steps};

const INIT: &str = include_str!("init.sh");
/// What the suites and [`INIT`] call.
const PROGRAMS: [&str; 6] = ["busybox", "ip", "tc", "nsenter", "timeout", "bash"];
/// The modules that the suites need, unless the kernel has them built in. Others that these need come along.
const MODULES: [&str; 6] = ["ipv6", "veth", "sch_ingress", "cls_bpf", "tun", "tcp_diag"];
/// Where things are mounted or put.
const FOLDERS: [&str; 9] = ["bin", "proc", "sys", "dev", "run", "tmp", "modules", "suites", "var/run"];

/// Packs everything into an archive beside the folder `tree`, which it leaves for whoever wants to look.
pub(super) fn build(image: &Image, suites: &[PathBuf], tree: &Path) -> Result<PathBuf> {
    if tree.exists() {
        fs::remove_dir_all(tree).with_context(|| format!("removing {}", tree.display()))?;
    }
    for folder in FOLDERS {
        fs::create_dir_all(tree.join(folder)).with_context(|| format!("making /{folder}"))?;
    }
    fs::write(tree.join("init"), INIT)
        .and_then(|()| fs::set_permissions(tree.join("init"), fs::Permissions::from_mode(0o755)))
        .context("writing /init")?;
    for program in PROGRAMS {
        let path = setup::find_in_path(program).with_context(|| format!("there is no {program} here"))?;
        copy(&path, &tree.join("bin").join(program))?;
        copy_libraries(&path, tree)?;
    }
    for (number, suite) in suites.iter().enumerate() {
        let name = super::name_of(suite).context("a suite without a name")?;
        let mut strip = Command::new("strip");
        strip.arg("-o").arg(tree.join(format!("suites/{number}-{name}"))).arg(suite);
        ensure!(steps::status(&mut strip)?.success(), "strip {}", suite.display());
        copy_libraries(suite, tree)?;
    }
    copy_modules(image, tree)?;
    pack(tree)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    }
    fs::copy(from, to).map(drop).with_context(|| format!("copying {} to {}", from.display(), to.display()))
}

fn copy_libraries(program: &Path, tree: &Path) -> Result<()> {
    let mut found = Vec::new();
    // It fails for a program that needs none.
    steps::listen(Command::new("ldd").arg(program).stderr(Stdio::null()), |line| {
        found.extend(library(line));
    })?;
    for library in found {
        let inside = tree.join(library.strip_prefix("/").unwrap_or(&library));
        if !inside.exists() {
            copy(&library, &inside)?;
        }
    }
    Ok(())
}

/// The file in a line of ldd's: `libc.so.6 => /lib/libc.so.6 (0x7f…)` or `/lib64/ld-linux.so.2 (0x7f…)`.
fn library(line: &str) -> Option<PathBuf> {
    let path = line.rsplit("=> ").next()?.trim().split(' ').next()?;
    path.starts_with('/').then(|| path.into())
}

/// Copies the modules under names that sort in the order in which they have to be loaded.
fn copy_modules(image: &Image, tree: &Path) -> Result<()> {
    let mut there = BTreeMap::new();
    list_modules(&image.modules, &mut there).context("listing the modules")?;
    let built_in =
        fs::read_to_string(image.modules.join("modules.builtin")).context("reading modules.builtin")?;
    let mut wanted: Vec<String> = MODULES.iter().rev().map(|name| (*name).to_owned()).collect();
    let mut order: Vec<(String, Vec<u8>)> = Vec::new();
    // Depth first: a module is put in when all that it needs are.
    while let Some(name) = wanted.last().cloned() {
        let known = |name: &String| order.iter().any(|(loaded, _)| loaded == name);
        if known(&name) || built_in.lines().any(|line| module_name(Path::new(line)).as_ref() == Some(&name)) {
            wanted.pop();
            continue;
        }
        let path = there.get(&name).with_context(|| format!("{} has no module {name}", image.release))?;
        let bytes = read_module(path)?;
        let missing: Vec<String> = needs(&bytes)?.into_iter().filter(|need| !known(need)).collect();
        ensure!(
            wanted.len() < there.len() + MODULES.len(),
            "the modules of {} need each other",
            image.release
        );
        if missing.is_empty() {
            order.push((name, bytes));
        }
        wanted.extend(missing);
    }
    for (number, (name, bytes)) in order.iter().enumerate() {
        fs::write(tree.join(format!("modules/{number:02}-{name}.ko")), bytes)
            .with_context(|| format!("writing the module {name}"))?;
    }
    Ok(())
}

fn list_modules(folder: &Path, found: &mut BTreeMap<String, PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        // Links lead to sources, which are not here.
        if path.is_dir() && !path.is_symlink() {
            list_modules(&path, found)?;
        } else if let Some(name) = module_name(&path) {
            found.insert(name, path);
        }
    }
    Ok(())
}

/// `sch_ingress`, of `sch-ingress.ko.xz`: the kernel itself does not tell `-` from `_`.
fn module_name(path: &Path) -> Option<String> {
    let (name, _) = path.file_name()?.to_str()?.split_once(".ko")?;
    Some(name.replace('-', "_"))
}

fn read_module(path: &Path) -> Result<Vec<u8>> {
    let told = |what: &str| format!("{what} {}", path.display());
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("ko") => fs::read(path).with_context(|| told("reading")),
        Some("xz") => {
            let unpacked = Command::new("busybox").arg("xzcat").arg(path).output();
            let unpacked = unpacked.with_context(|| told("unpacking"))?;
            ensure!(unpacked.status.success(), told("busybox xzcat"));
            Ok(unpacked.stdout)
        }
        _ => bail!(told("it is packed in an unknown way:")),
    }
}

/// The modules that one needs, as it says itself in its section `.modinfo`: `depends=udp_tunnel,libcrc32c`.
fn needs(module: &[u8]) -> Result<Vec<String>> {
    const KEY: &[u8] = b"depends=";
    let at = module.windows(KEY.len()).position(|window| window == KEY);
    let text = &module[at.context("a module that does not say what it needs")? + KEY.len()..];
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    let names = std::str::from_utf8(text).context("a module that needs what cannot be read")?;
    Ok(names.split(',').filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect())
}

fn pack(tree: &Path) -> Result<PathBuf> {
    let mut name = tree.as_os_str().to_owned();
    name.push(".cpio");
    let archive = PathBuf::from(name);
    // Not compressed: an emulated processor would take longer to unpack it than to read it.
    let mut sh = Command::new("sh");
    sh.args(["-c", "find . | cpio --quiet --create --format=newc --owner=0:0 >\"$0\""]);
    ensure!(steps::status(sh.arg(&archive).current_dir(tree))?.success(), "packing {}", archive.display());
    Ok(archive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_found_in_what_ldd_says() {
        for (line, want) in [
            ("\tlinux-vdso.so.1 (0x00007f)", None),
            (
                "\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)",
                Some("/lib/x86_64-linux-gnu/libc.so.6"),
            ),
            ("\t/lib64/ld-linux-x86-64.so.2 (0x00007f)", Some("/lib64/ld-linux-x86-64.so.2")),
            ("\tnot a dynamic executable", None),
            ("\tlibgone.so => not found", None),
        ] {
            assert_eq!(library(line).as_deref(), want.map(Path::new), "{line}");
        }
    }

    #[test]
    fn modules_say_what_they_need() {
        for (bytes, want) in [
            (
                &b"\x7fELF\0license=GPL\0depends=udp_tunnel,ip6-udp-tunnel\0name=x\0"[..],
                &["udp_tunnel", "ip6_udp_tunnel"][..],
            ),
            (b"\0depends=\0", &[]),
        ] {
            assert_eq!(needs(bytes).unwrap(), want);
        }
        assert!(needs(b"license=GPL\0").is_err());
        assert_eq!(module_name(Path::new("net/sched/cls-bpf.ko.xz")).as_deref(), Some("cls_bpf"));
        assert_eq!(module_name(Path::new("modules.order")), None);
    }
}
