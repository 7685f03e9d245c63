//! The world's folder of Kubernetes manifests: one file per object, written by atomic rename.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::yaml::to_yaml;

/// A folder of manifests, as the control plane's directory source reads it.
#[derive(Clone, Debug)]
pub struct Manifests {
    folder: PathBuf,
    /// Beside the folder, so that a half-written file is never inside it.
    drafts: PathBuf,
}

impl Manifests {
    /// Makes the folder under `parent`.
    pub(crate) fn create(parent: &Path) -> Result<Self> {
        let made = Self { folder: parent.join("manifests"), drafts: parent.join("drafts") };
        for folder in [&made.folder, &made.drafts] {
            std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        }
        Ok(made)
    }

    /// Where the files are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes an object, or replaces it. Its file is named after kind, namespace and name.
    pub fn apply(&self, object: &Value) -> Result<PathBuf> {
        let name = file_name(object).context("a manifest needs kind and metadata.name")?;
        self.write(&name, to_yaml(object).as_bytes())
    }

    /// Removes the object's file, if it is there.
    pub fn remove(&self, object: &Value) -> Result<()> {
        let name = file_name(object).context("a manifest needs kind and metadata.name")?;
        self.remove_file(&name)
    }

    /// Writes any text under a file name of the caller's choice, also text that is no YAML at all.
    pub fn write(&self, file_name: &str, text: &[u8]) -> Result<PathBuf> {
        let (draft, path) = (self.drafts.join(file_name), self.folder.join(file_name));
        std::fs::write(&draft, text).with_context(|| format!("writing {}", draft.display()))?;
        std::fs::rename(&draft, &path).with_context(|| format!("renaming to {}", path.display()))?;
        Ok(path)
    }

    /// Writes a text in place, in pieces, the way a careless tool does: no rename, the file is incomplete for a while.
    pub fn write_in_place(
        &self,
        file_name: &str,
        pieces: &[&[u8]],
        pause: std::time::Duration,
    ) -> Result<()> {
        use std::io::Write as _;
        let path = self.folder.join(file_name);
        let mut file = std::fs::File::create(&path).with_context(|| format!("opening {}", path.display()))?;
        for (index, piece) in pieces.iter().enumerate() {
            if index > 0 {
                std::thread::sleep(pause);
            }
            file.write_all(piece).with_context(|| format!("writing {}", path.display()))?;
        }
        Ok(())
    }

    /// Removes a file by its name, if it is there.
    pub fn remove_file(&self, file_name: &str) -> Result<()> {
        let path = self.folder.join(file_name);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("removing {}", path.display()))
            }
            _ => Ok(()),
        }
    }
}

/// `pod.default.reviews-v1.yaml`; objects without a namespace leave it out.
fn file_name(object: &Value) -> Option<String> {
    let kind = object["kind"].as_str()?.to_ascii_lowercase();
    let name = object["metadata"]["name"].as_str()?;
    Some(match object["metadata"]["namespace"].as_str() {
        Some(namespace) => format!("{kind}.{namespace}.{name}.yaml"),
        None => format!("{kind}.{name}.yaml"),
    })
}
