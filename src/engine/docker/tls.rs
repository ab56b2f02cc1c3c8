//! TLS as Docker's own client does it: the engine's certificate must be of the authority in `ca.pem`, ours is in `cert.pem`.

use std::path::Path;

use rustls::pki_types::pem::{Error, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::engine::{EngineError, Result};

/// With the files of a directory. The engine may want no certificate of ours, so `cert.pem` and `key.pem` may be absent.
pub(super) fn config(dir: &Path) -> Result<ClientConfig> {
    let [ca, cert, key] = ["ca.pem", "cert.pem", "key.pem"].map(|name| dir.join(name));
    let mut roots = RootCertStore::empty();
    for authority in certificates(&ca)? {
        roots.add(authority).map_err(|error| unusable(&ca, &error.to_string()))?;
    }
    let config = ClientConfig::builder().with_root_certificates(roots);
    if !cert.exists() && !key.exists() {
        return Ok(config.with_no_client_auth());
    }
    let private = PrivateKeyDer::from_pem_file(&key).map_err(|error| unreadable(&key, error))?;
    config.with_client_auth_cert(certificates(&cert)?, private).map_err(|error| unusable(&cert, &error.to_string()))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let all = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<std::result::Result<Vec<_>, _>>);
    match all {
        Ok(all) if all.is_empty() => Err(unusable(file, "there is no certificate in it")),
        all => all.map_err(|error| unreadable(file, error)),
    }
}

fn unreadable(file: &Path, error: Error) -> EngineError {
    match error {
        Error::Io(error) => EngineError::Refused(format!("cannot read {}: {error}", file.display())),
        error => unusable(file, &error.to_string()),
    }
}

fn unusable(file: &Path, why: &str) -> EngineError {
    EngineError::Refused(format!("{} cannot be used: {why}", file.display()))
}
