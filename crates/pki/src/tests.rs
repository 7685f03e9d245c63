//! Tests over several modules: chains from an authority made on the spot, judged, sealed and shaken hands with.

mod authority;
mod handshakes;
mod leaves;
mod peers;
