//! What a debug build says of its verdicts (`cargo xtask build-ebpf --debug`); nothing in any other.

/// Says what became of a packet: a word, and its ends.
#[cfg(feature = "log")]
macro_rules! say {
    ($what:literal, $ends:expr) => {{
        let ends: &weft_ebpf_programs::packet::Ends = &$ends;
        aya_log_ebpf::debug!(
            (),
            "pod {}: {} {:i} {} > {:i} {}",
            $crate::kernel::maps::slot(),
            $what,
            ends.src.0,
            ends.src_port,
            ends.dst.0,
            ends.dst_port
        );
    }};
    ($what:literal) => {
        aya_log_ebpf::debug!((), "pod {}: {}", $crate::kernel::maps::slot(), $what);
    };
}

#[cfg(not(feature = "log"))]
macro_rules! say {
    ($($all:tt)*) => {};
}

pub(super) use say;
