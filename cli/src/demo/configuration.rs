//! The configuration files of the demo's programs: the same that an operator
//! would write, in a temporary folder and on loopback.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
};

use landfall_runtime::ports::listen_below_ephemeral;
use url::Url;

use super::{
    manifests::{PRODUCTION_FILES, PRODUCTION_REGISTRY, PROJECT, STAGING_FILES, STAGING_REGISTRY},
    places::{self, DONORS, Donor},
};
use crate::failure::Failure;

/// The catalog's public name.
const NAME: &str = "artifacts.example.org";

/// Where everything listens.
#[derive(Debug)]
pub(super) struct Addresses {
    grpc: SocketAddr,
    http: SocketAddr,
    public: SocketAddr,
    /// In the order of [`DONORS`].
    mirrors: Vec<SocketAddr>,
}

impl Addresses {
    /// Free ports, as far as that can be known before they are used.
    pub(super) fn reserve() -> Result<Self, Failure> {
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        // All are held at once, so that none is given out twice.
        let [(_grpc, grpc), (_http, http), (_public, public)] =
            [bind(local)?, bind(local)?, bind(local)?];
        let mirrors = DONORS
            .iter()
            .map(|donor| {
                let address: IpAddr = donor.address.parse().map_err(|error| {
                    Failure::failed("the table of donors has no address", &error)
                })?;
                bind(address)
            })
            .collect::<Result<Vec<_>, Failure>>()?;
        Ok(Self {
            grpc,
            http,
            public,
            mirrors: mirrors.iter().map(|(_, address)| *address).collect(),
        })
    }

    /// The coordinator's gRPC.
    pub(super) fn coordinator(&self) -> String {
        format!("http://{}", self.grpc)
    }

    /// The coordinator's pages, log and origin.
    pub(super) fn status_page(&self) -> String {
        format!("http://{}/", self.http)
    }

    /// Host and port of the public name.
    pub(super) fn public(&self) -> SocketAddr {
        self.public
    }

    /// What a mirror's URLs begin with; nothing for a name that is no mirror's.
    pub(super) fn mirror_url(&self, name: &str) -> Option<String> {
        let address = self.mirror(name)?;
        Some(format!("http://{address}/"))
    }

    /// Where a mirror listens; nothing for a name that is no mirror's.
    pub(super) fn mirror(&self, name: &str) -> Option<SocketAddr> {
        let at = DONORS.iter().position(|donor| donor.name == name)?;
        self.mirrors.get(at).copied()
    }
}

fn bind(address: IpAddr) -> Result<(TcpListener, SocketAddr), Failure> {
    listen_below_ephemeral(address)
        .and_then(|listener| {
            let address = listener.local_addr()?;
            Ok((listener, address))
        })
        .map_err(|error| {
            let hint = if cfg!(target_os = "macos") {
                format!(" (sudo ifconfig lo0 alias {address} makes it one of this machine)")
            } else {
                String::new()
            };
            Failure::failed(&format!("cannot listen on {address}{hint}"), &error)
        })
}

/// Writes `coordinator.toml` below `dir`.
pub(super) fn write_coordinator(
    dir: &Path,
    at: &Addresses,
    registry: &str,
) -> Result<PathBuf, Failure> {
    let text = coordinator(dir, at, registry).map_err(undescribable)?;
    put(dir, "coordinator.toml", &text)
}

/// Writes the configuration of a mirror's agent, which is to believe the log of
/// those `keys` alone.
pub(super) fn write_agent(
    dir: &Path,
    at: &Addresses,
    donor: &Donor,
    keys: &[String],
) -> Result<PathBuf, Failure> {
    let text = agent(dir, at, donor, keys).map_err(undescribable)?;
    put(dir, &format!("{}.toml", donor.name), &text)
}

/// Writes `redirector.toml` and the tables of addresses that it names.
pub(super) fn write_redirector(
    dir: &Path,
    at: &Addresses,
    keys: &[String],
) -> Result<PathBuf, Failure> {
    put(dir, "ranges.csv", &places::ranges_csv())?;
    put(dir, "country.csv", &places::country_csv())?;
    let text = redirector(dir, at, keys).map_err(undescribable)?;
    put(dir, "redirector.toml", &text)
}

fn put(dir: &Path, name: &str, text: &str) -> Result<PathBuf, Failure> {
    let path = dir.join(name);
    match fs::write(&path, text) {
        Ok(()) => Ok(path),
        Err(error) => {
            let what = format!("cannot write {}", path.display());
            Err(Failure::failed(&what, &error))
        }
    }
}

fn undescribable(error: io::Error) -> Failure {
    Failure::failed("cannot describe the demo's folder", &error)
}

fn coordinator(dir: &Path, at: &Addresses, registry: &str) -> io::Result<String> {
    let Addresses {
        grpc, http, public, ..
    } = at;
    let data_dir = path(&dir.join("coordinator"))?;
    let origin = file_url(&dir.join("origin"))?;
    let staging = file_url(&dir.join("staging/files"))?;
    let mirrors: String = DONORS
        .iter()
        .map(|donor| {
            let serves = if donor.everything {
                "everything"
            } else {
                "verified"
            };
            format!(
                "[[mirror]]\nname = \"{}\"\nserves = \"{serves}\"\n",
                donor.name
            )
        })
        .collect();
    Ok(format!(
        r#"name = "{NAME}"
data_dir = {data_dir}
public_url = "http://{public}"
listen = {{ grpc = "{grpc}", http = "{http}" }}
state = "sqlite"
[origin]
store = {origin}
public_url = "http://{http}/origin"
[[production]]
registries = ["{PRODUCTION_REGISTRY}"]
repository_prefix = ""
[[production]]
filestores = ["{PRODUCTION_FILES}"]
path_prefix = "binaries/"
[[staging]]
prefix = "{STAGING_REGISTRY}"
endpoint = "http://{registry}/{PROJECT}"
[[staging]]
prefix = "{STAGING_FILES}"
endpoint = {staging}
{mirrors}"#
    ))
}

fn agent(dir: &Path, at: &Addresses, donor: &Donor, keys: &[String]) -> io::Result<String> {
    let Donor { name, place, .. } = donor;
    let coordinator = at.coordinator();
    let listen = at
        .mirror(name)
        .ok_or_else(|| io::Error::other("it has no such mirror"))?;
    let keys = toml::Value::from(keys.to_vec());
    let data_dir = path(&dir.join(name).join("agent"))?;
    let store = file_url(&dir.join(name).join("store"))?;
    Ok(format!(
        r#"coordinator = "{coordinator}"
log_keys = {keys}
data_dir = {data_dir}
listen = "{listen}"
[mirror]
name = "{name}"
public_url = "http://{listen}"
{place}[store]
url = {store}
"#
    ))
}

fn redirector(dir: &Path, at: &Addresses, keys: &[String]) -> io::Result<String> {
    let public = at.public;
    let keys = toml::Value::from(keys.to_vec());
    let coordinator = at.coordinator();
    let data_dir = path(&dir.join("redirector"))?;
    let ranges = path(&dir.join("ranges.csv"))?;
    let country = path(&dir.join("country.csv"))?;
    Ok(format!(
        r#"coordinator = "{coordinator}"
log_keys = {keys}
data_dir = {data_dir}
listen = {{ http = "{public}" }}
[locate]
ranges = [{ranges}]
country = {country}
# The demo's clients say where they are: X-Forwarded-For from this machine counts.
trusted_proxies = ["127.0.0.0/8"]
"#
    ))
}

/// A path as a TOML string.
fn path(path: &Path) -> io::Result<String> {
    let text = path
        .to_str()
        .ok_or_else(|| io::Error::other("its path is not UTF-8"))?;
    Ok(toml::Value::from(text).to_string())
}

/// A path as a `file://` URL in a TOML string.
fn file_url(path: &Path) -> io::Result<String> {
    let url =
        Url::from_file_path(path).map_err(|()| io::Error::other("its path is not absolute"))?;
    Ok(toml::Value::from(url.as_str()).to_string())
}

#[cfg(test)]
mod tests {
    use std::iter;

    use super::*;

    #[test]
    fn every_program_takes_its_configuration() {
        let dir = tempfile::tempdir().unwrap();
        let at = Addresses::reserve().unwrap();
        let signer = landfall_catalog::LogSigner::from_seeds(NAME, [1; 32], [2; 32]).unwrap();
        let keys = signer.keys().to_strings();
        let file = write_coordinator(dir.path(), &at, "127.0.0.1:5000").unwrap();
        landfall_coordinator::Config::load(&file, iter::empty(), &[]).unwrap();
        for donor in &DONORS {
            let file = write_agent(dir.path(), &at, donor, &keys).unwrap();
            let config = landfall_agent::Config::load(&file, iter::empty(), &[]).unwrap();
            assert_eq!(config.log_keys, keys);
        }
        let file = write_redirector(dir.path(), &at, &keys).unwrap();
        let config = landfall_redirector::Config::load(&file, iter::empty(), &[]).unwrap();
        assert_eq!(config.log_keys, keys);
    }
}
