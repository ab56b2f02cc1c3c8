//! What to read.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// What to read, and what the command line says about it.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Each is merged over those before it.
    pub files: Vec<PathBuf>,
    /// Variables for `${X}`, in place of `.env` beside the first file.
    pub env_file: Option<PathBuf>,
    /// Which profiles are on; `*` for all.
    pub profiles: Vec<String>,
    /// Service to number of replicas.
    pub scale: BTreeMap<String, usize>,
    /// Service to image.
    pub images: BTreeMap<String, String>,
    /// If not empty: only these, whatever their profiles, and what they depend on.
    pub services: Vec<String>,
    /// The caller's environment: values for `${X}`, `environment` and `secrets`. It wins over `env_file`.
    pub environment: BTreeMap<String, String>,
}
