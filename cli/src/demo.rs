//! `landfall demo`: the whole of it in one process, on this machine alone.
//!
//! Staging, coordinator, three mirrors and a redirector are the same libraries
//! and the same configuration files as anywhere else; only the places are made
//! up: clients say where they are by `X-Forwarded-For`, which the redirector
//! believes of this machine.

mod client;
mod configuration;
mod deliveries;
mod filling;
mod image;
mod manifests;
mod places;
mod programs;
mod registry;
mod staging;
mod story;
mod tar;
mod visit;

use std::{iter, path::Path};

use landfall_runtime::{
    Shutdown, StopSignal, config,
    telemetry::{self, TelemetryOptions},
};

use crate::{
    args::{
        AcknowledgedArgs, ChangeArgs, CoordinatorArgs, DemoArgs, GateArgs, ProjectArgs, PromoteArgs,
    },
    command::promote,
    connect,
    failure::{Failure, Verdict},
    output,
};
use configuration::Addresses;
use places::{DONORS, PLACES};
use programs::Programs;
use staging::Staged;
use story::Story;

/// Runs the demo; with `--once` to its end, else until a signal.
pub(crate) async fn run(args: DemoArgs) -> Result<Verdict, Failure> {
    if connect::has_token() {
        return Err(Failure::Usage(
            "LANDFALL_TOKEN is set, and the demo's own coordinator does not know it: unset it"
                .into(),
        ));
    }
    let telemetry = telemetry::init("landfall-demo", &quiet())
        .map_err(|error| Failure::failed("cannot set up logs and traces", &error))?;
    let shutdown = Shutdown::on_signals()
        .map_err(|error| Failure::failed("cannot listen for signals", &error))?;
    let folder = tempfile::Builder::new()
        .prefix("landfall-demo-")
        .tempdir()
        .map_err(|error| Failure::failed("cannot make a temporary folder", &error))?;
    let mut story = Story::begin();
    let mut programs = Programs::default();
    let told =
        Box::pin(shutdown.unless_requested(tell(&args, folder.path(), &mut story, &mut programs)))
            .await;
    let ended = match told {
        Some(Ok(Verdict::Done)) if !args.once => stay(&shutdown, &programs).await,
        Some(told) => told,
        None => Err(Failure::Interrupted(
            shutdown.signal().unwrap_or(StopSignal::Interrupt),
        )),
    };
    let mut clean = true;
    for failure in programs.stop().await {
        clean = false;
        output::note(format!("error: {}", failure.message()));
    }
    telemetry.shutdown().await;
    let path = folder.path().to_owned();
    folder
        .close()
        .map_err(|error| Failure::failed(&format!("cannot remove {}", path.display()), &error))?;
    let verdict = ended?;
    if args.once && clean && verdict == Verdict::Done {
        let seconds = story.elapsed().as_secs_f64();
        output::line(format!(
            "\nAll of it held. Stopped and cleaned up after {seconds:.1} s."
        ))?;
    }
    Ok(if clean { verdict } else { Verdict::Incomplete })
}

/// Logs of what is wrong alone; `LANDFALL_LOG` and the like outweigh it.
fn quiet() -> TelemetryOptions {
    let warn = ("LANDFALL_LOG".to_owned(), "warn".to_owned());
    TelemetryOptions::from_environment(iter::once(warn).chain(config::process_environment()))
}

/// All of the story. What it started is in `programs`, however it ends.
async fn tell(
    args: &DemoArgs,
    folder: &Path,
    story: &mut Story,
    programs: &mut Programs,
) -> Result<Verdict, Failure> {
    output::line(format!(
        "Landfall {}: staging, coordinator, three mirrors and a redirector in this one process.\n\
         It uses 127.0.0.1 to 127.0.0.4 and {}, and no network.",
        env!("CARGO_PKG_VERSION"),
        folder.display()
    ))?;
    let (staged, registry) = staged(story, programs, folder).await?;
    let at = started(story, programs, folder, &registry).await?;
    let ended = programs.any_ended();
    let rest = Box::pin(async {
        promoted(story, folder, &staged, &at).await?;
        let faults = downloaded(story, &staged, &at).await?;
        for fault in &faults {
            story.say(&format!("FAILED  {fault}"))?;
        }
        if faults.is_empty() {
            if !args.once {
                suggest(story, &staged, &at)?;
            }
            Ok(Verdict::Done)
        } else {
            Ok(Verdict::Incomplete)
        }
    });
    tokio::select! {
        told = rest => told,
        name = ended => Err(Failure::Failed(format!("the {name} stopped by itself"))),
    }
}

/// Step 1: what a project has built.
async fn staged(
    story: &mut Story,
    programs: &mut Programs,
    folder: &Path,
) -> Result<(Staged, String), Failure> {
    story.step(
        "A project pushes a release to its staging",
        "Nobody has reviewed it yet. The release is this very program: as a file with its checksum,\n\
         and as an image for two platforms with a signature.",
    )?;
    let dir = folder.join("staging");
    std::fs::create_dir_all(&dir)
        .map_err(|error| Failure::failed("cannot make the staging folder", &error))?;
    let (staged, content) = tokio::task::spawn_blocking(move || staging::stage(&dir))
        .await
        .map_err(|error| Failure::failed("staging was cut short", &error))??;
    let (program, registry) = registry::start(content).await?;
    programs.push(program);
    let mut table = output::table::Table::new(&["STAGED", ">SIZE", "DIGEST"]);
    for file in [&staged.program, &staged.checksum] {
        table.row([
            format!("{}{}", manifests::STAGING_FILES, file.path),
            output::bytes(file.size),
            story::short(&file.digest),
        ]);
    }
    let image = &staged.image_name;
    table.row([
        format!("{}/{image}:{}", manifests::STAGING_REGISTRY, staged.tag),
        "image".to_owned(),
        story::short(&staged.index),
    ]);
    story.say(&table.render())?;
    Ok((staged, registry))
}

/// Step 2: the programs.
async fn started(
    story: &mut Story,
    programs: &mut Programs,
    folder: &Path,
    registry: &str,
) -> Result<Addresses, Failure> {
    story.step(
        "Coordinator, mirrors and redirector start",
        "The coordinator keeps the catalog of what is promoted, and signs it. An agent fills and serves each\n\
         mirror. The redirector is what users know; it sends each of them to the nearest ready mirror.",
    )?;
    let at = Addresses::reserve()?;
    let bad = |error: config::ConfigFaults| Failure::Failed(error.to_string());

    let file = configuration::write_coordinator(folder, &at, registry)?;
    let config = landfall_coordinator::Config::load(&file, iter::empty(), &[]).map_err(bad)?;
    // What a reader of the log is given, as an operator would.
    let keys = Box::pin(landfall_coordinator::init(&config))
        .await
        .map_err(|error| Failure::failed("cannot initialise the coordinator", &error))?;
    let ready = programs.start("coordinator", |announce, shutdown| {
        let options = landfall_coordinator::RunOptions {
            insecure_loopback: true,
            origin_is_lost: false,
            announce,
        };
        landfall_coordinator::run(config, options, shutdown)
    });
    Box::pin(ready).await?;
    story.tell(&format!("coordinator  {}", at.status_page()))?;

    for donor in &DONORS {
        let file = configuration::write_agent(folder, &at, donor, &keys)?;
        let config = landfall_agent::Config::load(&file, iter::empty(), &[]).map_err(bad)?;
        let name = format!("agent of {}", donor.name);
        let ready = programs.start(name, |announce, shutdown| {
            let options = landfall_agent::RunOptions {
                insecure_loopback: true,
                announce,
            };
            landfall_agent::run(config, options, shutdown)
        });
        Box::pin(ready).await?;
        let trusted = if donor.everything {
            "trusted with everything"
        } else {
            "only for clients that check digests"
        };
        let url = at.mirror_url(donor.name).unwrap_or_default();
        story.tell(&format!(
            "mirror       {url}  {}: {}, {trusted}",
            donor.name, donor.who
        ))?;
    }

    let file = configuration::write_redirector(folder, &at, &keys)?;
    let config = landfall_redirector::Config::load(&file, iter::empty(), &[]).map_err(bad)?;
    let ready = programs.start("redirector", |announce, shutdown| {
        let options = landfall_redirector::RunOptions {
            insecure_loopback: true,
            announce,
        };
        landfall_redirector::run(config, options, shutdown)
    });
    Box::pin(ready).await?;
    story.tell(&format!("redirector   http://{}/", at.public()))?;
    Ok(at)
}

/// Steps 3 and 4: the promotion, and the mirrors filling.
async fn promoted(
    story: &mut Story,
    folder: &Path,
    staged: &Staged,
    at: &Addresses,
) -> Result<(), Failure> {
    let dir = folder.join("manifests");
    manifests::write(&dir, staged)
        .map_err(|error| Failure::failed("cannot write the manifests", &error))?;
    story.step(
        "The release team promotes it",
        "What is to be published stands in reviewed manifests, digest by digest. The coordinator reads\n\
         staging, says what it would do, does exactly that, and signs it into the catalog.",
    )?;
    story.say("$ landfall promote manifests --confirm")?;
    let promotion = promote::run(PromoteArgs {
        dir,
        coordinator: CoordinatorArgs {
            coordinator: at.coordinator(),
        },
        only: ProjectArgs::default(),
        confirm: Some(String::new()),
        changes: ChangeArgs::default(),
        gate: GateArgs::default(),
        known: AcknowledgedArgs::default(),
        strict: true,
        why: format!("landfall {} is released", staged.tag),
        source: Some("demo".into()),
        verbose: false,
        json: false,
    });
    if Box::pin(promotion).await? != Verdict::Done {
        return Err(Failure::Failed("not everything was promoted".into()));
    }
    story.step(
        "The mirrors fill themselves",
        "Each agent sees the new revision, and fetches what its mirror lacks from whoever is nearest and\n\
         has it. Nothing counts before its SHA-256 is right and it is on disk.",
    )?;
    filling::watch(story, &at.coordinator()).await
}

/// Step 5: users; returns what was not as it must be.
async fn downloaded(
    story: &mut Story,
    staged: &Staged,
    at: &Addresses,
) -> Result<Vec<String>, Failure> {
    story.step(
        "Users in four places download it",
        &format!(
            "They install nothing and ask one name:\n\
             file   http://{public}/{file}\n\
             image  {public}/{image}\n\
             Container runtimes check digests, so any mirror that is ready will do for the image, piece by piece;\n\
             who just downloads a file checks nothing, and is sent to mirrors that are trusted with everything.",
            public = at.public(),
            file = staged.public_file(&staged.program),
            image = staged.public_image(),
        ),
    )?;
    let mut deliveries = Vec::new();
    for place in &PLACES {
        visit::wait_for_routes(at, staged, place).await;
        deliveries.extend(visit::visit(at, staged, place).await?);
    }
    story.say(&deliveries::table(&deliveries))?;
    Ok(deliveries
        .into_iter()
        .flat_map(|delivery| delivery.faults)
        .collect())
}

/// Commands to try while it runs.
fn suggest(story: &mut Story, staged: &Staged, at: &Addresses) -> Result<(), Failure> {
    let landfall = iter::once("landfall".to_owned())
        .chain(std::env::args().take(1))
        .last()
        .unwrap_or_default();
    let public = at.public();
    let coordinator = at.coordinator();
    let image = staged.public_image();
    let [_, gcp, norway, _] = &PLACES;
    let file = staged.public_file(&staged.program);
    let (norway, gcp) = (norway.client, gcp.client);
    let status_page = at.status_page();
    story.step(
        "Try it yourself",
        &format!(
            "All of it runs until Ctrl-C. In another terminal:\n\n\
             # the file, as somebody in Norway\n\
             curl -L -H 'X-Forwarded-For: {norway}' -o landfall.copy http://{public}/{file}\n\
             # the image; podman and containerd can pull it just so\n\
             skopeo copy --src-tls-verify=false docker://{public}/{image} oci:landfall-image:{tag}\n\
             # why a user in that cloud region is sent where\n\
             {landfall} explain --coordinator {coordinator} --from {gcp} {file}\n\
             # catalog and mirrors; also at {status_page}\n\
             {landfall} status --coordinator {coordinator}\n\
             # every signature, entry and tile of the catalog's log\n\
             {landfall} log verify --coordinator {coordinator}",
            tag = staged.tag,
        ),
    )?;
    Ok(())
}

/// Until somebody ends it, or something ends by itself.
async fn stay(shutdown: &Shutdown, programs: &Programs) -> Result<Verdict, Failure> {
    tokio::select! {
        () = shutdown.requested() => {
            output::line("\nStopping and cleaning up.")?;
            Ok(Verdict::Done)
        }
        name = programs.any_ended() => {
            Err(Failure::Failed(format!("the {name} stopped by itself")))
        }
    }
}
