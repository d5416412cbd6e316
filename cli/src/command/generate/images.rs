//! `landfall manifest generate images`: digests of tags, as a staging registry
//! has them now.

use std::{collections::BTreeSet, path::Path};

use futures::{StreamExt, TryStreamExt, stream};
use landfall_catalog::{Repository, Tag};
use landfall_content::oci::{Credentials, Reference, Registry, RegistryAuth};
use landfall_promotion::{
    cosign_subject,
    generate::{ImageRow, image_names, merge_images},
    is_referrers_tag,
};
use landfall_runtime::{Clock, SystemClock, config};
use url::Url;

use super::{deliver, existing};
use crate::{
    args::GenerateImagesArgs,
    failure::{Failure, Verdict},
    output::{self, progress::Progress},
};

/// Requests that are under way at a time: registries limit clients.
const CONCURRENT: usize = 8;

pub(crate) async fn run(args: GenerateImagesArgs) -> Result<Verdict, Failure> {
    let before = existing(args.into.as_deref())?;
    let registry = registry(&args)?;
    let images = images(&args, &before)?;
    let wanted: Vec<Tag> = parsed("--tag", &args.tags)?;
    let asked = match wanted.as_slice() {
        [] => listed(&registry, &images).await?,
        tags => images
            .iter()
            .flat_map(|image| tags.iter().map(|tag| (image.clone(), tag.clone())))
            .collect(),
    };
    let rows = digests(&registry, asked).await?;
    if rows.is_empty() {
        return Err(Failure::Failed(
            "none of these images has one of these tags; nothing was written".to_owned(),
        ));
    }
    let found: BTreeSet<&Tag> = rows.iter().map(|row| &row.tag).collect();
    let missing: Vec<&str> = wanted
        .iter()
        .filter(|tag| !found.contains(tag))
        .map(Tag::as_str)
        .collect();
    deliver(
        args.into.as_deref(),
        merge_images(&before, &rows),
        args.json,
    )?;
    if missing.is_empty() {
        return Ok(Verdict::Done);
    }
    output::note(format!("no image has the tag {}", missing.join(", ")));
    Ok(Verdict::Incomplete)
}

fn registry(args: &GenerateImagesArgs) -> Result<Registry, Failure> {
    let wrong = |why: &dyn std::fmt::Display| {
        Failure::Usage(format!("{} is no registry to read: {why}", args.registry))
    };
    // Manifests write registries without a scheme.
    let text = if args.registry.contains("://") {
        args.registry.clone()
    } else {
        format!("https://{}", args.registry)
    };
    let mut url: Url = text.parse().map_err(|error| wrong(&error))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong(&"its scheme is not https"));
    }
    if let Some(project) = &args.project {
        url.set_path(&format!("{}/{project}", url.path().trim_end_matches('/')));
    }
    let credentials = Credentials::of_environment(config::process_environment());
    Registry::new(&url, RegistryAuth::Stored(credentials))
        .map_err(|error| wrong(&landfall_proto::status::chain(&error)))
}

/// The images that are named, else those that the list has already.
fn images(args: &GenerateImagesArgs, before: &str) -> Result<Vec<Repository>, Failure> {
    let mut images: Vec<Repository> = parsed("--image", &args.images)?;
    if images.is_empty() {
        images = image_names(before);
    }
    images.sort();
    images.dedup();
    if images.is_empty() {
        let into = args.into.as_deref().unwrap_or(Path::new("--into"));
        return Err(Failure::Usage(format!(
            "no --image is given, and {} lists none: registries can't be asked what they have",
            into.display()
        )));
    }
    Ok(images)
}

fn parsed<T>(flag: &str, texts: &[String]) -> Result<Vec<T>, Failure>
where
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    let parsed = texts.iter().map(|text| {
        let wrong = |error| Failure::Usage(format!("{flag} {text}: {error}"));
        text.parse().map_err(wrong)
    });
    parsed.collect()
}

/// All tags of the images, less `latest`, which moves, and what cosign keeps
/// under tags, which comes along by itself.
async fn listed(
    registry: &Registry,
    images: &[Repository],
) -> Result<Vec<(Repository, Tag)>, Failure> {
    let mut asked = Vec::new();
    let mut lists = stream::iter(images)
        .map(|image| async move { (image, registry.tags(image).await) })
        .buffered(CONCURRENT);
    while let Some((image, tags)) = lists.next().await {
        let tags = tags
            .map_err(|error| Failure::failed(&format!("cannot list the tags of {image}"), &error))?
            .ok_or_else(|| Failure::Failed(format!("the registry has no image {image}")))?;
        let (lists, tags): (Vec<Tag>, Vec<Tag>) = tags
            .into_iter()
            .filter(|tag| tag.as_str() != "latest" && cosign_subject(tag.as_str()).is_none())
            .partition(|tag| is_referrers_tag(tag.as_str()));
        if !lists.is_empty() {
            output::note(format!(
                "left out: {} tags of {image} under which the registry lists referrers; those come along with their images",
                lists.len()
            ));
        }
        let tags = tags.into_iter();
        asked.extend(tags.map(|tag| (image.clone(), tag)));
    }
    Ok(asked)
}

/// What each tag means now; those that are not there are left out.
async fn digests(
    registry: &Registry,
    asked: Vec<(Repository, Tag)>,
) -> Result<Vec<ImageRow>, Failure> {
    let total = asked.len() as u64;
    let mut progress = Progress::new("reading tags", false);
    let mut done = 0;
    let mut answers = stream::iter(asked)
        .map(|(name, tag)| async move {
            let reference = Reference::Tag(tag.clone());
            let found = registry.manifest(&name, &reference).await;
            match found {
                Ok(found) => Ok(found.map(|found| ImageRow {
                    digest: found.digest,
                    name,
                    tag,
                })),
                Err(error) => Err(Failure::failed(
                    &format!("cannot read {name}:{tag}"),
                    &error,
                )),
            }
        })
        .buffered(CONCURRENT);
    let mut rows = Vec::new();
    while let Some(row) = answers.try_next().await? {
        rows.extend(row);
        done += 1;
        progress.set(done, total, SystemClock.now());
    }
    progress.finish();
    Ok(rows)
}
