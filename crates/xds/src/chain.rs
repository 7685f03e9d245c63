//! An error with all of its causes, as one text.

use std::error::Error;
use std::fmt::Write as _;

/// `outer: cause: cause of the cause`.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(one) = cause {
        // Writing to a String cannot fail.
        let _ = write!(text, ": {one}");
        cause = one.source();
    }
    text
}
