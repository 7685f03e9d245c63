//! docs/traffic.md, as far as it shows manifests.

use anyhow::{Context as _, Result, ensure};
use std::path::Path;

/// The section with the Gateway that all others need.
pub(crate) const GATEWAY: &str = "Binding a waypoint";

/// A section with manifests.
pub(crate) struct Section {
    pub(crate) title: String,
    /// All of its manifests, as documents of one text.
    pub(crate) manifest: String,
}

/// All of them.
pub(crate) fn sections() -> Result<Vec<Section>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/traffic.md");
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let mut sections: Vec<Section> = Vec::new();
    let (mut title, mut inside) = (String::new(), false);
    for line in text.lines() {
        match line {
            "```yaml" => {
                ensure!(!inside, "a block of YAML in another one, below {title:?}");
                inside = true;
                match sections.last_mut() {
                    Some(section) if section.title == title => section.manifest += "---\n",
                    _ => sections.push(Section { title: title.clone(), manifest: String::new() }),
                }
            }
            "```" => inside = false,
            _ if inside => {
                let section = sections.last_mut().context("a block belongs to a section")?;
                section.manifest += &format!("{line}\n");
            }
            _ => {
                if let Some(heading) = line.strip_prefix("## ").or_else(|| line.strip_prefix("### ")) {
                    heading.clone_into(&mut title);
                }
            }
        }
    }
    ensure!(!inside, "a block of YAML without an end, below {title:?}");
    Ok(sections)
}
