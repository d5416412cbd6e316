//! An agent is killed with -9 in the middle of a large transfer, three times.

use std::{
    fs,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use crate::support::{
    cluster::{Cluster, MIRRORS, Setup},
    content::noise,
    eventually, free_port,
    proxy::{Mischief, Proxy},
    sha256sum,
};

const SIZE: usize = 60_000_000;

#[test]
fn an_agent_killed_three_times_resumes_and_nothing_unverified_is_ever_readable() {
    // The origin is reached through a slow line, so that there is a middle.
    let http = free_port("127.0.0.1");
    let line = Proxy::start(&format!("127.0.0.1:{http}"), Mischief::Throttle(15_000_000));
    let mut cluster = Cluster::start(Setup {
        mirrors: Some(1),
        coordinator_http: Some(http),
        origin_url: Some(format!("http://{}/origin", line.host())),
        ..Setup::default()
    });
    let digest = cluster.stage_file("big", &noise(9, SIZE));
    let hex = digest.trim_start_matches("sha256:").to_owned();
    let done = cluster.promote();
    assert_eq!(done["copied"], 1, "{done}");

    // Somebody keeps asking the mirror itself, by digest and by path.
    let stop = Arc::new(AtomicBool::new(false));
    let whole = Arc::new(AtomicU64::new(0));
    let reader = {
        let (stop, whole) = (Arc::clone(&stop), Arc::clone(&whole));
        let urls = [
            format!("http://{}/blobs/sha256/{hex}", cluster.mirror(0)),
            format!("http://{}/binaries/test/big", cluster.mirror(0)),
        ];
        let to = cluster.dir.path().join("read");
        let digest = digest.clone();
        thread::spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                for url in &urls {
                    let got = Command::new("curl")
                        .args(["-sSf", "-m", "20", "-o"])
                        .arg(&to)
                        .arg(url)
                        .output()
                        .expect("cannot run curl");
                    if got.status.success() {
                        assert_eq!(sha256sum(&to), digest, "{url} gave something else");
                        whole.fetch_add(1, Ordering::SeqCst);
                    }
                }
                thread::sleep(Duration::from_millis(20));
            }
        })
    };

    let blob = cluster.store(0).join("blobs/sha256").join(&hex);
    let held = |cluster: &Cluster| partial_bytes(cluster);
    for part in 1..=3 {
        let until = SIZE as u64 * part / 5;
        eventually("the transfer goes on", Duration::from_secs(30), || {
            assert!(!blob.try_exists().unwrap(), "it was complete too early");
            let bytes = held(&cluster);
            if bytes >= until {
                Ok(())
            } else {
                Err(format!("{bytes} of {until} bytes"))
            }
        });
        cluster.agents[0].kill_9();
        assert!(!blob.try_exists().unwrap());
        cluster.agents[0] = cluster.again("agent", MIRRORS[0].name);
    }
    cluster.wait_complete(&[0], Duration::from_secs(60));
    assert_eq!(sha256sum(&blob), digest);
    eventually("a reader has got it whole", Duration::from_secs(20), || {
        if whole.load(Ordering::SeqCst) >= 2 {
            Ok(())
        } else {
            Err("not yet".into())
        }
    });
    stop.store(true, Ordering::SeqCst);
    reader.join().expect("a reader saw something unverified");
    // It resumed: three restarts from nothing would have moved 60 % more.
    let moved = line.bytes();
    println!("{moved} bytes crossed the line for {SIZE}");
    assert!(
        moved < SIZE as u64 * 14 / 10,
        "{moved} bytes crossed the line for {SIZE}"
    );
}

fn partial_bytes(cluster: &Cluster) -> u64 {
    let partials = cluster.store(0).join(".landfall/partial");
    let Ok(entries) = fs::read_dir(partials) else {
        return 0;
    };
    entries
        .filter_map(|entry| entry.ok()?.metadata().ok())
        .map(|metadata| metadata.len())
        .sum()
}
