//! Whose origin it is: another log's, ours, or one that is not the one it was.

use landfall_proto::v1;

use super::running::{Folders, Running, file_manifests, rule, write};
use crate::config::Config;
use crate::{RunError, RunOptions, run};
use landfall_runtime::Shutdown;

fn config(folders: &Folders) -> Config {
    let staging = folders.path("kops").display().to_string();
    folders.config(vec![rule("gs://staging/kops", format!("file://{staging}"))])
}

async fn promote(folders: &Folders, coordinator: &Running, name: &str) -> v1::OperationDone {
    let tree = folders.path("tree");
    write(&folders.path("kops").join(name), name);
    file_manifests(&tree, &[(name, name.as_bytes())]);
    let planned = coordinator.plan(&tree, v1::PlanOptions::default()).await;
    coordinator.promote(&planned).await.done
}

/// Why it does not start.
async fn refused(config: Config) -> RunError {
    let options = RunOptions {
        insecure_loopback: true,
        origin_is_lost: false,
        announce: Box::new(|line| panic!("it started: {line}")),
    };
    let error = run(config, options, Shutdown::new()).await.unwrap_err();
    assert!(error.is_configuration(), "{error}");
    error
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_origin_belongs_to_the_first_log_that_was_written_to_it() {
    let folders = Folders::new();
    let coordinator = Running::start(config(&folders)).await;
    let other = Config {
        data_dir: folders.path("other"),
        ..config(&folders)
    };
    // Also under the same name: its keys are others.
    let why = refused(other).await.to_string();
    assert!(
        why.contains("belongs to the log") && why.contains(".landfall/log"),
        "{why}"
    );
    assert_eq!(promote(&folders, &coordinator, "1.0/a").await.revision, 1);
    coordinator.stop().await;
    let coordinator = Running::start(config(&folders)).await;
    assert_eq!(promote(&folders, &coordinator, "1.0/b").await.revision, 2);
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_origin_that_is_not_the_one_it_was_is_not_taken_for_it() {
    let folders = Folders::new();
    let coordinator = Running::start(config(&folders)).await;
    assert_eq!(promote(&folders, &coordinator, "1.0/a").await.revision, 1);
    coordinator.stop().await;

    let mistyped = || {
        let mut config = config(&folders);
        config.origin.store = format!("file://{}", folders.path("mistyped").display());
        config
    };
    let why = refused(mistyped()).await.to_string();
    assert!(
        why.contains("mistyped") && why.contains("1.0/a") && why.contains("--origin-is-lost"),
        "{why}"
    );
    // Somebody says that it is lost: it goes on, with what mirrors have.
    let coordinator = Running::start_with_lost_origin(mistyped()).await;
    coordinator.stop().await;
    let coordinator = Running::start(mistyped()).await;
    coordinator.stop().await;

    // Content from before there were markers gets one.
    let marker = folders.path("origin").join(".landfall/log");
    std::fs::remove_file(&marker).unwrap();
    let coordinator = Running::start(config(&folders)).await;
    coordinator.stop().await;
    let text = std::fs::read_to_string(marker).unwrap();
    assert!(text.starts_with("artifacts.example.org\n"), "{text}");
}
