//! Everything that runs in the kernel.

mod log;
mod maps;
mod facts;
mod acceleration;
mod pod;
mod node;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier refuses a program that could get here, so nothing does.
    loop {}
}

/// The kernel asks for it. Acceleration reads its structures, which it allows to programs under the GPL only; so the
/// programs may be had under that as well as under Weft's own licence.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";
