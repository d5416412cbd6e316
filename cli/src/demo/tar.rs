//! The little of the tar format that an image layer of one file needs (POSIX
//! ustar, IEEE Std 1003.1, "pax").

/// Records are of this many bytes; content is filled up to whole ones.
pub(super) const RECORD: usize = 512;
/// What an archive ends with: two empty records.
pub(super) const END: [u8; 2 * RECORD] = [0; 2 * RECORD];
/// Longest name that fits a header.
const MAX_NAME: usize = 100;

/// The header of a regular file that belongs to root, of 1970. `None` if the
/// name or the size does not fit one.
pub(super) fn header(name: &str, mode: u32, size: u64) -> Option<[u8; RECORD]> {
    if name.len() > MAX_NAME || size >= 1 << 33 {
        return None;
    }
    let mut header = [0; RECORD];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name.as_bytes());
    put(100, format!("{mode:07o}\0").as_bytes());
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{size:011o}\0").as_bytes());
    put(136, b"00000000000\0");
    // The checksum counts its own field as blanks.
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    put(265, b"root");
    put(297, b"root");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Some(header)
}

/// Zeros after content of `size` bytes.
pub(super) fn padding(size: u64) -> &'static [u8] {
    const RECORD_BYTES: u64 = RECORD as u64;
    let short = (RECORD_BYTES - size % RECORD_BYTES) % RECORD_BYTES;
    // Less than a record, so it fits.
    let short = usize::try_from(short).unwrap_or(0);
    &END[..short]
}

/// An archive of one file.
pub(super) fn archive(name: &str, mode: u32, content: &[u8]) -> Option<Vec<u8>> {
    let size = content.len() as u64;
    let mut archive = header(name, mode, size)?.to_vec();
    archive.extend_from_slice(content);
    archive.extend_from_slice(padding(size));
    archive.extend_from_slice(&END);
    Some(archive)
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        process::{Command, Stdio},
    };

    use super::*;

    #[test]
    fn tar_reads_what_is_written() {
        let content = vec![b'x'; 700];
        let archive = archive("usr/local/bin/landfall", 0o755, &content).unwrap();
        assert_eq!(archive.len() % RECORD, 0);
        for (flags, expected) in [("-tv", None), ("-xO", Some(&content))] {
            let mut tar = Command::new("tar")
                .args([flags, "-f", "-"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .expect("cannot run tar (apt-get install tar)");
            tar.stdin.take().unwrap().write_all(&archive).unwrap();
            let output = tar.wait_with_output().unwrap();
            assert!(output.status.success());
            match expected {
                Some(content) => assert_eq!(&output.stdout, content),
                None => {
                    let line = String::from_utf8(output.stdout).unwrap();
                    assert!(line.starts_with("-rwxr-xr-x root/root"), "{line}");
                    assert!(
                        line.trim_end().ends_with("usr/local/bin/landfall"),
                        "{line}"
                    );
                }
            }
        }
    }

    #[test]
    fn content_of_whole_records_is_not_filled_up() {
        for (size, short) in [(0, 0), (1, 511), (511, 1), (512, 0), (513, 511)] {
            assert_eq!(padding(size).len(), short, "{size}");
        }
    }

    #[test]
    fn what_does_not_fit_a_header_is_refused() {
        assert_eq!(header(&"x".repeat(101), 0o644, 0), None);
        assert_eq!(header("x", 0o644, 1 << 33), None);
    }
}
