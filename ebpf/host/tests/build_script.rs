//! The build script's own tests.

#[expect(dead_code, reason = "cargo runs its main")]
#[path = "../build.rs"]
mod build_script;
