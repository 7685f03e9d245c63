//! The words of a request (wire facts §1): what it asks for, who asks, and for whom. Pure functions on texts from the
//! wire; nothing here knows which dialect carries them.

pub mod authority;
pub mod baggage;
pub mod forwarded;
pub mod trace;

pub use authority::{Authority, BadAuthority};
pub use baggage::{BadBaggage, Baggage, Owner, OwnerKind};
pub use forwarded::{BadForwarded, Forwarded};
pub use trace::is_traceparent;

/// Port numbers are written in decimal digits alone; zero is no port to connect to.
fn parse_port(text: &str) -> Option<u16> {
    let digits = (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits || text.starts_with('0') {
        return None;
    }
    text.parse().ok()
}
