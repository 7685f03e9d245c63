//! `weft-node-proxy`: see the library.
#![forbid(unsafe_code)]

use weft_node_proxy::app;

fn main() -> anyhow::Result<()> {
    app::run()
}
