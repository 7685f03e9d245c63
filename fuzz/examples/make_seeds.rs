//! Makes the files of `seeds/` that hold a certificate: a root, and a leaf with its key, sealed. They stand in the
//! repository because a campaign has to be the same every time, and keys never are. Nobody trusts this root; the
//! authority that signed with it is gone when this ends.

use anyhow::{Context as _, Result};
use std::path::Path;
use std::time::SystemTime;
use weft_control_ca::{CaDirectory, CaSettings, Granted};
use weft_core::identity::Identity;
use weft_pki::CertificateRequest;

fn main() -> Result<()> {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    let folder = tempfile::tempdir().context("making a folder")?;
    let now = SystemTime::now();
    let authority = CaDirectory::open_or_create(folder.path(), CaSettings::new("cluster.local"), now)
        .context("making an authority")?
        .authority();
    let identity = Identity::new("cluster.local", "shop", "web")?;
    let request = CertificateRequest::generate(&identity)?;
    let granted = Granted::without_a_caller(identity);
    let chain = authority.sign(request.csr_pem(), &granted, None, now).context("signing")?;
    let leaf = request.complete(&chain)?;
    std::fs::write(seeds.join("leaf.sealed"), leaf.to_sealed()).context("writing the leaf")?;
    std::fs::write(seeds.join("root.pem"), authority.roots_pem()).context("writing the root")
}
