//! What debug builds of the programs say, forwarded to this process's own log.

use std::os::fd::{AsRawFd, RawFd};

use aya::Ebpf;
use aya_log::EbpfLogger;

/// The map that it comes through, which only debug builds have. All copies share it.
pub(crate) const MAP: &str = "AYA_LOGS";

/// The words of the programs. When its descriptor is readable, [`Words::forward`] has something to do.
pub struct Words {
    logger: EbpfLogger<Forwarder>,
}

impl Words {
    /// Nothing where the programs have no words.
    pub(crate) fn take(node: &mut Ebpf) -> Option<Self> {
        node.map(MAP)?;
        let logger = EbpfLogger::init_with_logger(node, Forwarder).inspect_err(|error| {
            tracing::warn!(%error, "the words of the programs are not heard");
        });
        Some(Self { logger: logger.ok()? })
    }

    /// Forwards what has come, under the target `weft_ebpf`.
    pub fn forward(&mut self) {
        self.logger.flush();
    }
}

impl AsRawFd for Words {
    fn as_raw_fd(&self) -> RawFd {
        self.logger.as_raw_fd()
    }
}

struct Forwarder;

impl log::Log for Forwarder {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        tracing::debug!(target: "weft_ebpf", "{}", record.args());
    }

    fn flush(&self) {}
}
