//! One client downloads everything, and is checked: where it was sent, and
//! every digest.

use std::{collections::BTreeSet, time::Duration};

use landfall_catalog::Digest;
use landfall_content::oci::Document;
use serde::Deserialize;

use super::{
    client::Client,
    configuration::Addresses,
    deliveries::Delivery,
    places::{DONORS, Place},
    staging::Staged,
};
use crate::{
    command::explain::{self, Explanation},
    failure::Failure,
};

/// How long the redirector may take to learn that the mirrors are complete.
const ROUTED_WITHIN: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(100);

/// Waits until the redirector knows what the coordinator knows: that mirrors
/// near the client may be named. What it says after that is not waited for.
pub(super) async fn wait_for_routes(at: &Addresses, staged: &Staged, place: &Place) {
    let names = [
        (staged.public_file(&staged.program), place.file_from),
        (staged.public_image(), place.image_from),
    ];
    let redirector = format!("http://{}", at.public());
    let settled = async {
        for (name, expected) in &names {
            loop {
                let explained = explain::fetch(&redirector, place.client, name).await;
                let mirror = explained.ok().and_then(|explained| explained.mirror);
                if mirror.is_some_and(|mirror| expected.contains(&mirror.as_str())) {
                    break;
                }
                tokio::time::sleep(POLL).await;
            }
        }
    };
    // If it never does, the downloads will tell in detail.
    let _late = tokio::time::timeout(ROUTED_WITHIN, settled).await;
}

/// Downloads the release file and the image from `place`.
pub(super) async fn visit(
    at: &Addresses,
    staged: &Staged,
    place: &Place,
) -> Result<[Delivery; 2], Failure> {
    let client = Client::new(at, place.client)?;
    let mut file = Visit::new(at, &client, place, Asked::File);
    file.release(staged).await;
    let mut image = Visit::new(at, &client, place, Asked::Image);
    if let Err(fault) = image.image(staged).await {
        image.faults.push(fault);
    }
    Ok([file.delivery(), image.delivery()])
}

/// The platform that is pulled.
const PLATFORM: &str = "amd64";

/// What is downloaded.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// By a client that checks nothing.
    File,
    /// By a client that checks every digest.
    Image,
}

impl Asked {
    const fn shown(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Image => "image",
        }
    }

    /// Who is expected to serve a client at `place` when all is well.
    const fn nearest(self, place: &Place) -> &'static [&'static str] {
        match self {
            Self::File => place.file_from,
            Self::Image => place.image_from,
        }
    }

    /// Whether this may be had from that mirror at all, however near it is.
    fn trusts(self, mirror: &str) -> bool {
        match self {
            Self::File => DONORS
                .iter()
                .all(|donor| donor.name != mirror || donor.everything),
            Self::Image => true,
        }
    }
}

/// A download under way.
struct Visit<'a> {
    redirector: String,
    client: &'a Client<'a>,
    place: &'a Place,
    asked: Asked,
    sent_to: BTreeSet<String>,
    tiers: BTreeSet<String>,
    passed_over: BTreeSet<String>,
    bytes: u64,
    digests: usize,
    faults: Vec<String>,
}

impl<'a> Visit<'a> {
    fn new(at: &Addresses, client: &'a Client<'a>, place: &'a Place, asked: Asked) -> Self {
        Self {
            redirector: format!("http://{}", at.public()),
            client,
            place,
            asked,
            sent_to: BTreeSet::new(),
            tiers: BTreeSet::new(),
            passed_over: BTreeSet::new(),
            bytes: 0,
            digests: 0,
            faults: Vec::new(),
        }
    }

    /// The release file, as `curl -L` would.
    async fn release(&mut self, staged: &Staged) {
        let name = staged.public_file(&staged.program);
        let expected = &staged.program.digest;
        if let Err(fault) = self.content(&format!("/{name}"), &name, expected).await {
            self.faults.push(fault);
        }
    }

    /// The image for one platform and what refers to it, as a container runtime
    /// and then a signature checker would.
    async fn image(&mut self, staged: &Staged) -> Result<(), String> {
        let repository = staged.repository();
        let manifests = format!("/v2/{repository}/manifests");
        let by_tag = format!("{manifests}/{}", staged.tag);
        let index = self.document(&by_tag, &staged.index).await?;
        let platform = platform(&index)?;
        self.with_children(&repository, &platform).await?;

        let list = self
            .client
            .document(&format!("/v2/{repository}/referrers/{}", staged.index))
            .await?;
        let referrers: Index = read("the list of referrers", &list)?;
        let found: Vec<Digest> = referrers.manifests.iter().map(|it| it.digest).collect();
        if found != [staged.signature] {
            return Err(format!(
                "the referrers are {} instead of the signature alone",
                found.len()
            ));
        }
        self.with_children(&repository, &staged.signature).await
    }

    /// An OCI manifest and all blobs that it needs.
    async fn with_children(&mut self, repository: &str, manifest: &Digest) -> Result<(), String> {
        let path = format!("/v2/{repository}/manifests/{manifest}");
        let bytes = self.document(&path, manifest).await?;
        let document = Document::parse(&bytes, None).map_err(|error| format!("{path}: {error}"))?;
        for child in &document.children {
            let path = format!("/v2/{repository}/blobs/{}", child.digest);
            let name = format!("{repository}@{}", child.digest);
            self.content(&path, &name, &child.digest).await?;
        }
        Ok(())
    }

    /// A document that the redirector answers by itself, checked.
    async fn document(&mut self, path: &str, expected: &Digest) -> Result<bytes::Bytes, String> {
        let bytes = self.client.document(path).await?;
        self.check(path, expected, &Digest::of(&bytes))?;
        self.bytes += bytes.len() as u64;
        Ok(bytes)
    }

    /// Content that a mirror serves, checked: where, why, and its digest.
    async fn content(&mut self, path: &str, name: &str, expected: &Digest) -> Result<(), String> {
        let followed = self.client.content(path).await?;
        let mirror = followed.mirror.as_str();
        let client = self.place.name;
        let nearest = self.asked.nearest(self.place);
        let mut is_right = nearest.contains(&mirror);
        match explain::fetch(&self.redirector, self.place.client, name).await {
            Err(failure) => self.faults.push(failure.message().to_owned()),
            Ok(explanation) => {
                let explained = explanation.mirror.as_deref();
                // Only an explanation of the very same decision has to agree.
                if explanation.decision == followed.decision && explained != Some(mirror) {
                    self.faults.push(format!(
                        "{path}: explained as {}, but sent to {mirror}",
                        explained.unwrap_or("nobody")
                    ));
                }
                is_right |= are_down(&explanation, nearest) && self.asked.trusts(mirror);
                self.understand(&explanation, mirror);
            }
        }
        if !is_right {
            let fault = format!("{client} must not be sent to {mirror} for {path}");
            self.faults.push(fault);
        }
        self.sent_to.insert(followed.mirror);
        self.bytes += followed.size;
        self.check(path, expected, &followed.digest)
    }

    fn check(&mut self, path: &str, expected: &Digest, found: &Digest) -> Result<(), String> {
        if found == expected {
            self.digests += 1;
            Ok(())
        } else {
            Err(format!(
                "{path}: wrong bytes: {found} instead of {expected}"
            ))
        }
    }

    /// Notes why that mirror: how near it is, and what spoke against nearer ones.
    fn understand(&mut self, explanation: &Explanation, mirror: &str) {
        for candidate in &explanation.candidates {
            if candidate.mirror == mirror {
                self.tiers.insert(candidate.tier.clone());
                return;
            }
            // Eligible ones before it are its equals: only the rendezvous differs.
            if !candidate.reasons.is_empty() {
                self.passed_over.insert(format!(
                    "{} is nearer ({}), but {}",
                    candidate.mirror,
                    candidate.tier,
                    candidate.reasons.join(", ")
                ));
            }
        }
    }

    fn delivery(self) -> Delivery {
        Delivery {
            client: self.place.name,
            what: self.asked.shown(),
            sent_to: self.sent_to,
            tiers: self.tiers,
            passed_over: self.passed_over,
            bytes: self.bytes,
            digests: self.digests,
            faults: self.faults,
        }
    }
}

/// Whether all of `mirrors` were left out for no other reason than that a busy
/// machine made them look down: then the next one is right.
fn are_down(explanation: &Explanation, mirrors: &[&str]) -> bool {
    mirrors.iter().all(|mirror| {
        explanation
            .candidates
            .iter()
            .any(|candidate| candidate.mirror == *mirror && candidate.reasons == ["down"])
    })
}

/// An index, as far as a client reads it.
#[derive(Deserialize)]
struct Index {
    manifests: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    digest: Digest,
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    architecture: String,
}

fn read<'a, T: Deserialize<'a>>(what: &str, bytes: &'a [u8]) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|error| format!("{what} is not understood: {error}"))
}

/// The OCI manifest of [`PLATFORM`].
fn platform(index: &[u8]) -> Result<Digest, String> {
    let index: Index = read("the image's index", index)?;
    index
        .manifests
        .iter()
        .find(|listed| {
            let platform = listed.platform.as_ref();
            platform.is_some_and(|platform| platform.architecture == PLATFORM)
        })
        .map(|listed| listed.digest)
        .ok_or_else(|| format!("the image has no {PLATFORM}"))
}

#[cfg(test)]
mod tests;
