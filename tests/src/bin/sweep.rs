//! `weft-sweep`: removes worlds that were kept, or whose program was killed.
#![forbid(unsafe_code)]

fn main() -> anyhow::Result<()> {
    for name in weft_testkit::sweep()? {
        println!("removed {name}");
    }
    Ok(())
}
