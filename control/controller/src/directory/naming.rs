//! Which files of the folder are manifests, by their names.

use std::path::Path;

/// Whether a file of this name is read.
pub(crate) fn is_followed(path: &Path) -> bool {
    !is_hidden(path) && is_manifest(path)
}

/// Editors' and Kubernetes' own files and folders (`.x.swp`, `..data`) begin with a dot.
pub(crate) fn is_hidden(path: &Path) -> bool {
    path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// Whether a name has an ending that manifests have.
pub(crate) fn is_manifest(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "yaml" || end == "yml" || end == "json")
}
