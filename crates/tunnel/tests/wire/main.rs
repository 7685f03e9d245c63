//! Both dialects over real TLS and real sockets.
#![expect(clippy::unwrap_used, reason = "what a test sets up works, or the test fails")]

mod carry;
mod hbone;
mod io;
mod mux;
mod sessions;
mod support;
mod tunnels;
