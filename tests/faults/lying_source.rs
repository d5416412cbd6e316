//! A mirror that flips a bit in what it hands on.

use std::{path::Path, process::Command, time::Duration};

use crate::support::{
    cluster::{Cluster, MIRRORS, Setup},
    content::noise,
    eventually, free_port, ok,
    proxy::{Mischief, Proxy},
    sha256sum,
};

#[test]
fn a_flipped_bit_is_never_stored_and_the_content_arrives_from_another_source() {
    // The liar stands where mirror 0 says it can be reached.
    let relay = format!("127.0.0.1:{}", free_port("127.0.0.1"));
    let liar = Proxy::start(&relay, Mischief::FlipBit);
    let mut cluster = Cluster::start(Setup {
        mirrors: Some(2),
        public_urls: vec![(0, format!("http://{}", liar.host()))],
        ..Setup::default()
    });
    // What the liar hands on is what mirror 0 really serves.
    let _relay = tcp_relay(&relay, cluster.mirror(0));
    cluster.agents[1].kill_9();
    let digest = cluster.stage_file("tool", &noise(5, 13_000_000));
    let done = cluster.promote();
    assert_eq!(done["copied"], 1, "{done}");
    cluster.wait_complete(&[0], Duration::from_secs(20));
    let name = "binaries/test/tool";
    cluster.wait_route("192.0.2.7", name, MIRRORS[0].name, Duration::from_secs(10));

    cluster.agents[1] = cluster.again("agent", MIRRORS[1].name);
    let blob = cluster
        .store(1)
        .join("blobs/sha256")
        .join(digest.trim_start_matches("sha256:"));
    let seen_wrong = |blob: &Path| blob.try_exists().unwrap() && sha256sum(blob) != digest;
    eventually("mirror 1 has the content", Duration::from_secs(30), || {
        assert!(!seen_wrong(&blob), "wrong bytes under the right name");
        if blob.try_exists().unwrap() {
            Ok(())
        } else {
            Err("not there yet".into())
        }
    });
    cluster.wait_complete(&[1], Duration::from_secs(20));
    assert!(liar.blobs() > 0, "the liar was never asked");
    assert_eq!(sha256sum(&blob), digest);
    assert_eq!(
        sha256sum(&cluster.store(1).join("binaries/test/tool")),
        digest
    );
    eventually("the liar is named", Duration::from_secs(10), || {
        let status = cluster.status().to_string();
        if status.contains("wrong-bytes") && status.contains(MIRRORS[0].name) {
            Ok(())
        } else {
            Err(status)
        }
    });
}

/// Forwards TCP from a fixed port to an address, by a program of its own.
fn tcp_relay(listen: &str, to: String) -> impl Drop {
    struct Relay(std::process::Child);
    impl Drop for Relay {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
    let script = "import socket,sys,threading\n\
        def pipe(a,b):\n\
        \x20try:\n\
        \x20 while (d:=a.recv(65536)): b.sendall(d)\n\
        \x20except OSError: pass\n\
        \x20finally:\n\
        \x20 for s in (a,b):\n\
        \x20  try: s.shutdown(socket.SHUT_RDWR)\n\
        \x20  except OSError: pass\n\
        h,p=sys.argv[1].rsplit(':',1); uh,up=sys.argv[2].rsplit(':',1)\n\
        l=socket.create_server((h,int(p)))\n\
        while True:\n\
        \x20c,_=l.accept()\n\
        \x20try: u=socket.create_connection((uh,int(up)))\n\
        \x20except OSError: c.close(); continue\n\
        \x20for a,b in ((c,u),(u,c)): threading.Thread(target=pipe,args=(a,b),daemon=True).start()\n";
    let child = Command::new("python3")
        .args(["-c", script, listen, &to])
        .spawn()
        .expect("cannot start python3");
    let relay = Relay(child);
    eventually("the relay answers", Duration::from_secs(10), || {
        crate::support::peers::curl_status(&format!("http://{listen}/healthz"), &[])
    });
    // Prove that the path works before it is relied on.
    ok(Command::new("curl").args([
        "-sS",
        "-o",
        "/dev/null",
        &format!("http://{listen}/healthz"),
    ]));
    relay
}
