//! Everything that runs in the kernel.

mod maps;
mod facts;
mod pod;
mod node;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier refuses a program that could get here, so nothing does.
    loop {}
}

/// The kernel asks for it. None of the helpers used is reserved for the GPL.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 11] = *b"Apache-2.0\0";
