//! What a debug build says of its verdicts (`cargo xtask build-ebpf --debug`); nothing in any other.

/// Says what became of a packet, with its ends. A function of its own for each, because a program's stack is small.
#[cfg(feature = "log")]
macro_rules! say {
    ($what:literal, $ends:expr) => {{
        #[inline(never)]
        fn said(ends: &weft_ebpf_programs::packet::Ends) {
            aya_log_ebpf::debug!((), $what, ends.src.0, ends.src_port, ends.dst.0, ends.dst_port);
        }
        said(&$ends);
    }};
    ($what:literal) => {
        aya_log_ebpf::debug!((), $what);
    };
}

#[cfg(not(feature = "log"))]
macro_rules! say {
    ($($all:tt)*) => {};
}

pub(super) use say;
