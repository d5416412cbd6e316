//! Fetching what the origin lacks from whoever says that it holds it.

use std::sync::Arc;

use landfall_catalog::PIECE_SIZE;
use landfall_content::{HttpSource, PieceList, Source, TransferLimits, Want, transfer};
use landfall_proto::status::chain;
use url::Url;

use super::examine::Seen;
use super::objects::Target;
use super::run::{Auditor, Outcome};

/// Mirrors that are asked for one object.
const MOST_MIRRORS: usize = 8;

impl Auditor<'_> {
    /// Takes what is wrong out of sight and brings the right object, with its
    /// piece list if one was made.
    pub(super) async fn mend(&self, object: &Target, seen: &Seen) -> (Outcome, Option<PieceList>) {
        let failed = |error: &dyn std::error::Error| (Outcome::Failed(chain(error)), None);
        let (store, item) = (&self.parts.store, &object.item);
        // Wrong bytes first: nobody is to be served them any longer, even if
        // there are no others.
        if *seen != Seen::Missing
            && let Err(error) = store.set_aside(item).await
        {
            return failed(&error);
        }
        let sources = self.holders(object);
        if sources.is_empty() {
            let why = "no mirror says that it holds it".to_owned();
            return (Outcome::Lost(why), None);
        }
        let want = Want {
            digest: item.digest,
            size: item.size,
            pieces: None,
            make_pieces: store.keeps_files() && item.size > PIECE_SIZE,
        };
        let limits = TransferLimits::default();
        let brought = transfer(store.destination(item), &want, &sources, &limits, |_| {}).await;
        let list = match brought {
            Ok(fetched) => fetched.pieces,
            Err(error) if error.is_absent() => {
                let why = format!("no mirror has it: {}", chain(&error));
                return (Outcome::Lost(why), None);
            }
            Err(error) => return failed(&error),
        };
        if let Some(why) = self.still_wrong(object).await {
            return (Outcome::Failed(why), None);
        }
        match store.forget_aside(item).await {
            Ok(()) => (Outcome::Repaired, list),
            Err(error) => failed(&error),
        }
    }

    /// A registry may go on giving the bytes that it had, whatever it is sent:
    /// it takes what it has once taken for the same digest for right.
    async fn still_wrong(&self, object: &Target) -> Option<String> {
        if self.parts.store.keeps_files() {
            return None;
        }
        if let Seen::Right(_) = self.read_object(object).await {
            return None;
        }
        let hidden = self.parts.store.set_aside(&object.item).await;
        let hidden = hidden.map_or_else(|error| chain(&error), |_| "it is hidden".to_owned());
        Some(format!(
            "the registry took the right bytes and still gives wrong ones ({hidden}): collect its garbage, and repair again"
        ))
    }

    /// Who says that it holds the object, healthy ones first.
    fn holders(&self, object: &Target) -> Vec<Arc<dyn Source>> {
        let holders = self.parts.fleet.holders(object.ordinal);
        let sources = holders.into_iter().filter_map(|mirror| {
            let hex = object.item.digest.to_hex();
            let url = format!("{}/blobs/sha256/{hex}", mirror.public_url);
            let url: Url = url.parse().ok()?;
            if let Err(error) = self.parts.reach.check(&url) {
                tracing::warn!(mirror = mirror.name, %error, "a mirror is not asked for a repair");
                return None;
            }
            let source = HttpSource::new(self.client.clone(), url);
            Some(Arc::new(source) as Arc<dyn Source>)
        });
        sources.take(MOST_MIRRORS).collect()
    }
}
