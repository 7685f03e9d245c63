//! The attach points. Each fetches facts from the kernel, asks the library for a verdict, and carries it out.
//! Built for the kernel by `cargo xtask build-ebpf`; on any other target this is an empty program, so that the
//! workspace checks as a whole.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod kernel;

#[cfg(not(target_arch = "bpf"))]
fn main() {}
