//! Embeds the kernel's programs if they have been built. Without them the crate still compiles, and opening the host
//! says what to run.

use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-env-changed=WEFT_EBPF_OBJECT");
    println!("cargo::rustc-check-cfg=cfg(weft_ebpf_object)");
    let object = object();
    // Cargo watches a path that does not exist yet as well; it then asks again at every build.
    println!("cargo::rerun-if-changed={}", object.display());
    if fs::metadata(&object).is_ok_and(|found| found.len() > 0) {
        println!("cargo::rustc-env=WEFT_EBPF_OBJECT_PATH={}", object.display());
        println!("cargo::rustc-cfg=weft_ebpf_object");
    }
}

#[expect(clippy::disallowed_methods, reason = "a build script's settings are cargo's")]
fn object() -> PathBuf {
    match env::var("WEFT_EBPF_OBJECT") {
        Ok(path) => PathBuf::from(path),
        Err(_) => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/ebpf/weft.bpf.o"),
    }
}
