//! The targets: what reads bytes from outside, and what has to hold whatever the bytes are.

mod authority;
mod forwarded;
mod baggage;
mod connect;
mod frames;
mod open;
mod dns;
mod dns_tcp;
mod address;
mod authorization;
mod agent_pod;
mod state;
mod routes;
mod manifests;
mod pattern;
mod path;
mod http1;
mod condition;
mod identity;
mod certificate;
mod leaf;
mod link;
mod packet;
mod samples;

/// Something that reads bytes.
pub struct Target {
    /// Its name, as `weft-fuzz` takes it.
    pub name: &'static str,
    /// Takes any bytes; panics if something does not hold.
    pub run: fn(&[u8]),
    /// Real encodings. The same ones every time, or no case could be run again.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Words of the format, to be put anywhere.
    pub words: &'static [&'static str],
}

macro_rules! targets {
    ($($name:ident)*) => {
        /// All of them.
        pub const ALL: &[Target] = &[$(
            Target { name: stringify!($name), run: $name::run, seeds: $name::seeds, words: $name::WORDS }
        ),*];
    };
}

targets! {
    authority forwarded baggage connect frames open dns dns_tcp
    address authorization agent_pod state manifests condition
    routes pattern path http1
    identity certificate leaf link packet
}

/// Texts as seeds.
fn texts(all: &[&str]) -> Vec<Vec<u8>> {
    all.iter().map(|text| text.as_bytes().to_vec()).collect()
}
