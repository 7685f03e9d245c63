//! Embeds the kernel's programs if they have been built. Without them the crate still compiles: the build says what to
//! run, and so does opening the host.

use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    let object = object();
    let found = fs::metadata(&object).is_ok_and(|found| found.len() > 0);
    for line in words(&object, found) {
        println!("{line}");
    }
}

#[expect(clippy::disallowed_methods, reason = "a build script's settings are cargo's")]
fn object() -> PathBuf {
    match env::var("WEFT_EBPF_OBJECT") {
        Ok(path) => PathBuf::from(path),
        Err(_) => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/ebpf/weft.bpf.o"),
    }
}

/// What cargo is told.
fn words(object: &Path, found: bool) -> Vec<String> {
    let path = object.display();
    let mut words = vec![
        "cargo::rerun-if-env-changed=WEFT_EBPF_OBJECT".to_owned(),
        "cargo::rustc-check-cfg=cfg(weft_ebpf_object)".to_owned(),
        // Cargo watches a path that does not exist yet as well; it then asks again at every build.
        format!("cargo::rerun-if-changed={path}"),
    ];
    if found {
        words.push(format!("cargo::rustc-env=WEFT_EBPF_OBJECT_PATH={path}"));
        words.push("cargo::rustc-cfg=weft_ebpf_object".to_owned());
    } else {
        words.push(format!(
            "cargo::warning=this build has no eBPF programs in it, and weft-agent will not capture: run `cargo xtask \
             build-ebpf` and build again ({path} is not there)"
        ));
    }
    words
}

// Run by tests/build_script.rs: cargo does not test build scripts.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_without_the_programs_says_what_to_run() {
        let object = Path::new("/target/ebpf/weft.bpf.o");
        let with = words(object, true).join("\n");
        assert!(with.contains("cargo::rustc-cfg=weft_ebpf_object") && !with.contains("warning"), "{with}");
        let without = words(object, false).join("\n");
        let warning = without.lines().find_map(|line| line.strip_prefix("cargo::warning="));
        assert!(warning.is_some_and(|warning| warning.contains("cargo xtask build-ebpf")), "{without}");
        assert!(!without.contains("cargo::rustc-cfg"), "{without}");
    }
}
