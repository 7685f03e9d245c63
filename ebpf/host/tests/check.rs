//! What `weft-agent check` finds, on a machine that has what is needed and with something in the way.
//! They need root: `cargo xtask test`, or `cargo test -p weft-ebpf-host -- --ignored`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod world;

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use socket2::{Domain, Socket, Type};
use weft_ebpf_host::{Found, TcMode};
use world::World;

/// The host's end of the pod's device in a [`World`].
const END: &str = "v0";

fn found(name: &str) -> Found {
    weft_ebpf_host::check().into_iter().find(|one| one.name == name).unwrap().found
}

fn in_the_way() -> Found {
    Found::InTheWay(END.to_owned())
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn the_kernel_has_what_is_needed() {
    for requirement in weft_ebpf_host::check() {
        let fine = matches!(requirement.found, Found::Yes | Found::Instead(_));
        assert!(fine, "{requirement:?}");
    }
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn gro_on_the_end_of_an_enrolled_pod_is_named() {
    for mode in [TcMode::Tcx, TcMode::Clsact] {
        let mut world = World::with(Some(mode), false);
        switch_gro_on(END);
        // An end that nobody guards is of no concern, and enrolment switches it off.
        assert_eq!(found("veths without GRO"), Found::Yes, "{mode:?}");
        world.enrol();
        switch_gro_on(END);
        assert_eq!(found("veths without GRO"), in_the_way(), "{mode:?}");
    }
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn native_xdp_on_the_end_of_a_pods_device_is_named() {
    const GENERIC: u32 = 1 << 1;
    const NATIVE: u32 = 1 << 2;
    let _world = World::new();
    let program = xdp_program();
    let generic = attach_xdp(&program, END, GENERIC);
    assert_eq!(found("veths without XDP"), Found::Yes, "that one comes after the packet");
    drop(generic);
    let native = attach_xdp(&program, END, NATIVE);
    assert_eq!(found("veths without XDP"), in_the_way());
    drop(native);
    assert_eq!(found("veths without XDP"), Found::Yes);
}

/// As `ethtool -K` does (ethtool(8), `ETHTOOL_SGRO`).
fn switch_gro_on(device: &str) {
    const SIOCETHTOOL: libc::c_ulong = 0x8946;
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
    let mut value: [u32; 2] = [0x2c, 1];
    // SAFETY: all zeros is a request without a name; name and value outlive the call, which has that layout.
    let result = unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        for (place, byte) in std::iter::zip(&mut request.ifr_name, device.bytes()) {
            *place = byte.cast_signed();
        }
        request.ifr_ifru.ifru_data = value.as_mut_ptr().cast();
        libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request)
    };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
}

/// bpf(2) with these words as its attributes; gives the descriptor that it returns.
fn bpf(command: libc::c_long, words: &[u32]) -> OwnedFd {
    // SAFETY: the attributes are as long as is said, and live through the call; what it returns is nobody else's.
    unsafe {
        let fd = libc::syscall(libc::SYS_bpf, command, words.as_ptr(), size_of_val(words));
        assert!(fd >= 0, "bpf({command}): {}", io::Error::last_os_error());
        OwnedFd::from_raw_fd(fd as i32)
    }
}

/// A program that lets everything pass.
fn xdp_program() -> OwnedFd {
    const PROG_LOAD: libc::c_long = 5;
    const PROG_TYPE_XDP: u32 = 6;
    // r0 = XDP_PASS; exit
    let code: [u64; 2] = [2 << 32 | 0xb7, 0x95];
    let license = c"GPL";
    let halves = |address: u64| [address as u32, (address >> 32) as u32];
    let ([low, high], [license_low, license_high]) =
        (halves(code.as_ptr() as u64), halves(license.as_ptr() as u64));
    bpf(PROG_LOAD, &[PROG_TYPE_XDP, 2, low, high, license_low, license_high])
}

/// Attached for as long as the link is held.
fn attach_xdp(program: &OwnedFd, device: &str, flags: u32) -> OwnedFd {
    const LINK_CREATE: libc::c_long = 28;
    const XDP: u32 = 37;
    let index = nix::net::if_::if_nametoindex(device).unwrap();
    bpf(LINK_CREATE, &[program.as_raw_fd() as u32, index, XDP, flags])
}
