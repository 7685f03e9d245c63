//! The pods that the next agent should know of, on disk: it may start while control is away.

use crate::reconcile::{ExistingRule, Key, Wanted};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use weft_agent_link::Workers;
use weft_core::enrolment::Acceleration;
use weft_core::names::WorkloadUid;

/// The format; a file of another one is as good as none.
const VERSION: u32 = 1;
/// Bytes that are read back: far more than a node's pods need.
const BYTES_MAX: u64 = 16 * 1024 * 1024;

/// What is written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// The pods that were wanted, with their keys in the kernel.
    pub pods: Vec<(Key, Wanted)>,
    /// The workers of the last proxy.
    pub workers: Option<Workers>,
}

/// It could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// It could not be written.
    #[error("writing {}", path.display())]
    Write {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is there and could not be read.
    #[error("reading {}", path.display())]
    Read {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is there and is not what it should be.
    #[error("{} is not the agent's state", path.display())]
    Format {
        /// Where.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// An agent of another age has written it.
    #[error("{} has the format {found}; {VERSION} is read", path.display())]
    Version {
        /// Where.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
}

#[derive(Serialize, Deserialize)]
struct FileBody {
    version: u32,
    workers: Option<Workers>,
    pods: Vec<PodBody>,
}

#[derive(Serialize, Deserialize)]
struct PodBody {
    key: String,
    uid: String,
    pod_uid: String,
    namespace: String,
    name: String,
    addresses: Vec<IpAddr>,
    netns: Option<PathBuf>,
    /// Absent where an agent without it has written.
    #[serde(default)]
    acceleration: Level,
}

/// How far a pod is accelerated, in the file's words.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    #[default]
    Standard,
    Proxy,
    Full,
    Off,
}

impl From<Acceleration> for Level {
    fn from(of: Acceleration) -> Self {
        match of {
            Acceleration::Standard => Self::Standard,
            Acceleration::Proxy => Self::Proxy,
            Acceleration::Full => Self::Full,
            Acceleration::Off => Self::Off,
        }
    }
}

impl From<Level> for Acceleration {
    fn from(of: Level) -> Self {
        match of {
            Level::Standard => Self::Standard,
            Level::Proxy => Self::Proxy,
            Level::Full => Self::Full,
            Level::Off => Self::Off,
        }
    }
}

/// A file in the agent's state folder.
#[derive(Debug, Clone)]
pub struct Memory {
    path: PathBuf,
}

impl Memory {
    /// In this folder.
    pub fn new(folder: &Path) -> Self {
        Self { path: folder.join("pods.json") }
    }

    /// What was written down; nothing if nothing was.
    ///
    /// # Errors
    /// As [`MemoryError`] says.
    pub fn read(&self) -> Result<Remembered, MemoryError> {
        let failed = |source| MemoryError::Read { path: self.path.clone(), source };
        let file = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Remembered { pods: Vec::new(), workers: None });
            }
            opened => opened.map_err(failed)?,
        };
        let mut text = String::new();
        io::Read::read_to_string(&mut io::Read::take(file, BYTES_MAX), &mut text).map_err(failed)?;
        let body: FileBody = serde_json::from_str(&text)
            .map_err(|source| MemoryError::Format { path: self.path.clone(), source })?;
        if body.version != VERSION {
            return Err(MemoryError::Version { path: self.path.clone(), found: body.version });
        }
        Ok(Remembered {
            pods: body.pods.into_iter().filter_map(PodBody::into_pod).collect(),
            workers: body.workers,
        })
    }

    /// Writes it whole or not at all. It may block.
    ///
    /// # Errors
    /// As [`MemoryError`] says.
    pub fn write(&self, remembered: &Remembered) -> Result<(), MemoryError> {
        let pods = remembered.pods.iter().map(PodBody::of).collect();
        let body = FileBody { version: VERSION, workers: remembered.workers, pods };
        let written = || {
            if let Some(folder) = self.path.parent() {
                fs::create_dir_all(folder)?;
            }
            let next = self.path.with_extension("next");
            let mut file = File::create(&next)?;
            file.write_all(&serde_json::to_vec_pretty(&body)?)?;
            file.sync_all()?;
            fs::rename(&next, &self.path)
        };
        written().map_err(|source| MemoryError::Write { path: self.path.clone(), source })
    }

    /// Forgets everything.
    ///
    /// # Errors
    /// As [`MemoryError`] says.
    pub fn clear(&self) -> Result<(), MemoryError> {
        match fs::remove_file(&self.path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(MemoryError::Write { path: self.path.clone(), source })
            }
            _ => Ok(()),
        }
    }
}

impl PodBody {
    fn of((key, wanted): &(Key, Wanted)) -> Self {
        Self {
            key: key.as_str().to_owned(),
            uid: wanted.uid.to_string(),
            pod_uid: wanted.pod_uid.to_string(),
            namespace: wanted.namespace.to_string(),
            name: wanted.name.to_string(),
            addresses: wanted.addresses.clone(),
            netns: wanted.netns.clone(),
            acceleration: wanted.acceleration.into(),
        }
    }

    /// Nothing for a key that cannot be one: the pod is as good as unknown then.
    fn into_pod(self) -> Option<(Key, Wanted)> {
        let wanted = Wanted {
            uid: WorkloadUid::new(self.uid),
            pod_uid: self.pod_uid.into(),
            namespace: self.namespace.into(),
            name: self.name.into(),
            addresses: self.addresses,
            netns: self.netns,
            // Control says it anew; until then nothing is ended by an old word.
            existing: ExistingRule::default(),
            acceleration: self.acceleration.into(),
        };
        Some((Key::parse(&self.key)?, wanted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let folder = tempfile::tempdir().expect("folder");
        let memory = Memory::new(&folder.path().join("below"));
        let nothing = Remembered { pods: Vec::new(), workers: None };
        assert_eq!(memory.read().expect("no file"), nothing);
        let pod = Wanted {
            uid: WorkloadUid::new("c//Pod/default/a"),
            pod_uid: "u".into(),
            namespace: "default".into(),
            name: "a".into(),
            addresses: vec!["fd00::1".parse().expect("address")],
            netns: Some("/run/netns/a".into()),
            existing: ExistingRule::default(),
            acceleration: Acceleration::Full,
        };
        let remembered = Remembered { pods: vec![(Key::of(&pod), pod)], workers: Some(Workers::clamped(2)) };
        memory.write(&remembered).expect("written");
        assert_eq!(memory.read().expect("read"), remembered);
        memory.clear().expect("cleared");
        memory.clear().expect("once more");
        assert_eq!(memory.read().expect("no file"), nothing);
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let folder = tempfile::tempdir().expect("folder");
        for (case, text) in [
            ("another format", r#"{"version":9,"pods":[]}"#),
            ("half a file", r#"{"version":1,"pods":[{"#),
            ("workers out of bounds", r#"{"version":1,"workers":0,"pods":[]}"#),
        ] {
            fs::write(folder.path().join("pods.json"), text).expect("written");
            assert!(Memory::new(folder.path()).read().is_err(), "{case}");
        }
    }
}
