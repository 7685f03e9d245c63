//! Every target for a moment, so that each change of a parser meets some thousand odd inputs.

use std::time::Duration;
use weft_fuzz::{ALL, Campaign};

/// How long each target runs: all of them together stay below a minute on two cores, and even the slowest sees
/// some hundred inputs. Longer runs are `cargo run -p weft-fuzz`.
const TIME: Duration = Duration::from_secs(2);
/// The same inputs every time: a test that fails tells of a change, not of luck.
const SEED: u64 = 1;

fn smoke(name: &str) {
    let target = ALL.iter().find(|target| target.name == name).expect("every test names a target");
    let report = Campaign { target, seed: SEED, time: TIME }.run();
    println!("{name}: {} executions, {:.0}/s", report.executions, report.executions_per_second());
    if let Some(failure) = report.failure {
        panic!(
            "{name}, seed {SEED}, case {}: {}\ninput: {}\nagain, with the input kept: \
             cargo run -p weft-fuzz -- {name} --seed {SEED}",
            failure.case,
            failure.message,
            failure.input.escape_ascii()
        );
    }
}

macro_rules! smoke {
    ($($target:ident)*) => {
        $(
            #[test]
            fn $target() {
                smoke(stringify!($target));
            }
        )*

        #[test]
        fn every_target_is_smoked() {
            let smoked = [$(stringify!($target)),*];
            let targets: Vec<_> = ALL.iter().map(|target| target.name).collect();
            assert_eq!(targets, smoked);
        }
    };
}

smoke! {
    authority forwarded baggage connect frames open dns dns_tcp
    address authorization agent_pod state manifests condition
    routes pattern path http1
    identity certificate leaf link packet
}
