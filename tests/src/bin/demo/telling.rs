//! How the story looks: chapters, facts that were checked, and details. Coloured only on a terminal.

use std::io::IsTerminal as _;

/// The teller.
pub(crate) struct Telling {
    coloured: bool,
}

impl Telling {
    /// Tells it to whoever reads standard output.
    pub(crate) fn to_stdout() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none();
        Self { coloured: wanted && std::io::stdout().is_terminal() }
    }

    /// A new part.
    pub(crate) fn chapter(&self, title: &str) {
        println!("\n{}", self.paint("1", title));
    }

    /// Something that has just been seen to be so.
    pub(crate) fn fact(&self, text: &str) {
        println!("  {} {text}", self.paint("32", "✓"));
    }

    /// Something as it is: an address, a log line.
    pub(crate) fn detail(&self, text: &str) {
        println!("    {}", self.paint("2", text));
    }

    /// What was not so.
    pub(crate) fn failure(&self, text: &str) {
        println!("\n  {} {text}", self.paint("1;31", "✗"));
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.coloured { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
