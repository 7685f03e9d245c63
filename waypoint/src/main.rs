//! `weft-waypoint`.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use weft_runtime::log::describe;

fn main() -> ExitCode {
    match weft_waypoint::app::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weft-waypoint: {}", describe(&*error));
            ExitCode::FAILURE
        }
    }
}
