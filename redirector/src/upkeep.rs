//! What time alone changes: the catalog grows stale, gauges age, files of places are replaced.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use landfall_proto::status::chain;
use landfall_runtime::{Clock, Shutdown};

use crate::config::Locate;
use crate::locate;
use crate::metrics::Metrics;
use crate::view::View;

/// How often the clock is looked at.
const TICK: Duration = Duration::from_secs(1);
/// Ticks from one look at the files of places to the next.
const TICKS_PER_RELOAD: u32 = 5;

/// Keeps the view up to date with the time until the stop is requested.
pub async fn tick(
    view: Arc<View>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    locate: Locate,
    shutdown: Shutdown,
) {
    let mut ticks = tokio::time::interval(TICK);
    let mut until_reload = TICKS_PER_RELOAD;
    let mut loaded = locate::fingerprint(&locate);
    while shutdown.unless_requested(ticks.tick()).await.is_some() {
        let now = clock.unix_seconds();
        view.tick(now);
        metrics.observe(&view, now);
        until_reload -= 1;
        if until_reload == 0 {
            until_reload = TICKS_PER_RELOAD;
            reload(&view, &locate, &mut loaded).await;
        }
    }
}

type Fingerprint = Vec<Option<(SystemTime, u64)>>;

/// Reads the files of places again if one was replaced. One that is of no use changes nothing.
async fn reload(view: &View, locate: &Locate, loaded: &mut Fingerprint) {
    let config = locate.clone();
    let before = loaded.clone();
    let read = move || {
        let found = locate::fingerprint(&config);
        (found != before).then(|| (locate::load(&config), found))
    };
    let Ok(Some((locator, found))) = tokio::task::spawn_blocking(read).await else {
        return;
    };
    match locator {
        Ok(locator) => {
            view.set_locator(locator);
            tracing::info!("the places of clients were read again");
        }
        Err(fault) => tracing::error!(
            error = chain(&fault),
            "the places of clients cannot be read again; the old ones stay"
        ),
    }
    *loaded = found;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn replaced_files_are_read_again_and_broken_ones_change_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("country.csv");
        std::fs::write(&file, "192.0.2.0/24,NO\n").unwrap();
        let config = Locate {
            country: Some(file.clone()),
            ..Locate::default()
        };
        let view = View::new(
            locate::load(&config).unwrap(),
            tokio::sync::watch::channel(None).1,
        );
        let mut loaded = locate::fingerprint(&config);
        let country = || {
            let place = view.locator().locate("192.0.2.1".parse().unwrap());
            place.country.map(|country| country.as_str().to_owned())
        };
        for (text, expect) in [
            ("192.0.2.0/24,DE\n# longer\n", "DE"),
            ("this is no table", "DE"),
            ("192.0.2.0/24,JP\nand so on", "DE"),
            ("", "DE"),
            ("192.0.2.0/24,JP\n# longer still\n", "JP"),
        ] {
            std::fs::write(&file, text).unwrap();
            reload(&view, &config, &mut loaded).await;
            assert_eq!(country().as_deref(), Some(expect), "{text}");
        }
        std::fs::remove_file(&file).unwrap();
        reload(&view, &config, &mut loaded).await;
        assert_eq!(country().as_deref(), Some("JP"));
    }
}
