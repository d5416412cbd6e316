//! Writing into a store that is reached over the network: bytes are looked at
//! here, sent off in parts, and published by one last request that is made only
//! when all of them are right.

use bytes::Bytes;
use futures::future::BoxFuture;
use landfall_catalog::Digest;
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;

use super::assay::Assay;
use super::claim::Claim;
use super::{StoreError, WriterOptions};
use crate::piece::PieceList;

/// Where parts of one object go, in order. Nothing is visible before
/// [`Upload::finish`].
pub(crate) trait Upload: Send {
    /// Bytes of each part but the last.
    fn part_size(&self) -> usize;

    /// Takes the next part; may return before it has arrived.
    fn part(&mut self, part: Vec<Bytes>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Lets parts under way come along. Never ends if there are none; may be
    /// dropped at any time.
    fn advance(&mut self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(std::future::pending())
    }

    /// Publishes the object, of which `rest` is the end, with its piece list.
    fn finish(
        self: Box<Self>,
        rest: Vec<Bytes>,
        pieces: Option<PieceList>,
    ) -> BoxFuture<'static, Result<(), StoreError>>;

    /// Throws everything away, as far as that is possible.
    fn abandon(self: Box<Self>) -> BoxFuture<'static, ()>;
}

/// Keeps the object in memory, to send it in one request.
pub(crate) struct InOne<T>(pub(crate) T);

/// Sends a whole object.
pub(crate) trait PutWhole: Send + 'static {
    fn put_whole(
        self,
        content: Vec<Bytes>,
        pieces: Option<PieceList>,
    ) -> BoxFuture<'static, Result<(), StoreError>>;
}

impl<T: PutWhole> Upload for InOne<T> {
    fn part_size(&self) -> usize {
        usize::MAX
    }

    fn part(&mut self, _: Vec<Bytes>) -> BoxFuture<'_, Result<(), StoreError>> {
        // No part is as large as that.
        Box::pin(std::future::ready(Ok(())))
    }

    fn finish(
        self: Box<Self>,
        rest: Vec<Bytes>,
        pieces: Option<PieceList>,
    ) -> BoxFuture<'static, Result<(), StoreError>> {
        self.0.put_whole(rest, pieces)
    }

    fn abandon(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// Begins an upload: again after [`StreamWriter::start_over`].
pub(crate) trait Begin: Send + Sync {
    fn begin(&self) -> BoxFuture<'_, Result<Box<dyn Upload>, StoreError>>;
}

/// Writes one object. Dropping it leaves nothing visible; what has arrived is
/// removed by whoever writes the object next.
pub(crate) struct StreamWriter {
    digest: Digest,
    size: u64,
    options: WriterOptions,
    begin: Box<dyn Begin>,
    /// None only while a blocking thread has it, or after it died there.
    assay: Option<Assay>,
    /// Begun with the first byte.
    upload: Option<Box<dyn Upload>>,
    /// Right bytes that are no part yet.
    buffer: Vec<Bytes>,
    buffered: usize,
    _claim: Claim,
}

impl StreamWriter {
    pub(crate) fn new(
        claim: Claim,
        size: u64,
        options: WriterOptions,
        begin: Box<dyn Begin>,
    ) -> Result<Self, StoreError> {
        let digest = *claim.digest();
        Ok(Self {
            assay: Some(Assay::new(digest, size, &options)?),
            digest,
            size,
            options,
            begin,
            upload: None,
            buffer: Vec::new(),
            buffered: 0,
            _claim: claim,
        })
    }

    pub(crate) fn position(&self) -> u64 {
        self.assay.as_ref().map_or(0, Assay::position)
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Writes what comes until the queue ends or something fails, and keeps
    /// `position` up to date.
    pub(crate) async fn write_all(
        &mut self,
        mut queue: mpsc::Receiver<Vec<Bytes>>,
        position: watch::Sender<u64>,
    ) -> Result<(), StoreError> {
        let mut written = Ok(());
        while written.is_ok() {
            let upload = self.upload.as_deref_mut();
            let batch = match upload {
                None => queue.recv().await,
                Some(upload) => tokio::select! {
                    batch = queue.recv() => batch,
                    advanced = upload.advance() => {
                        written = advanced;
                        continue;
                    }
                },
            };
            let Some(batch) = batch else { break };
            written = self.write(batch).await;
            position.send_replace(self.position());
        }
        if let Some(assay) = &mut self.assay {
            assay.forget_pending();
        }
        written
    }

    pub(crate) async fn write(&mut self, batch: Vec<Bytes>) -> Result<(), StoreError> {
        let mut assay = self.assay.take().ok_or(StoreError::Cancelled)?;
        let looked_at = spawn_blocking(move || {
            let mut right = Vec::new();
            let taken = assay.take(batch, &mut right);
            (assay, right, taken)
        });
        let (assay, right, taken) = looked_at.await.map_err(|_| StoreError::Cancelled)?;
        self.assay = Some(assay);
        for chunk in right {
            self.buffered += chunk.len();
            self.buffer.push(chunk);
        }
        self.send_parts().await?;
        taken
    }

    async fn send_parts(&mut self) -> Result<(), StoreError> {
        if self.buffered == 0 {
            return Ok(());
        }
        let upload = match &mut self.upload {
            Some(upload) => upload,
            none => none.insert(self.begin.begin().await?),
        };
        let size = upload.part_size();
        // The end stays here: it is sent when all is known to be right.
        while self.buffered > size {
            let part = split(&mut self.buffer, size);
            self.buffered -= size;
            upload.part(part).await?;
        }
        Ok(())
    }

    pub(crate) async fn start_over(&mut self) -> Result<(), StoreError> {
        self.abandon().await;
        self.assay = Some(Assay::new(self.digest, self.size, &self.options)?);
        Ok(())
    }

    pub(crate) async fn abandon(&mut self) {
        self.buffer.clear();
        self.buffered = 0;
        if let Some(upload) = self.upload.take() {
            upload.abandon().await;
        }
    }

    pub(crate) async fn commit(mut self) -> Result<Option<PieceList>, StoreError> {
        let assay = self.assay.take().ok_or(StoreError::Cancelled)?;
        let pieces = match assay.finish() {
            Ok(pieces) => pieces,
            Err(error) => {
                self.abandon().await;
                return Err(error);
            }
        };
        let upload = match self.upload.take() {
            Some(upload) => upload,
            // An empty object.
            None => self.begin.begin().await?,
        };
        let rest = std::mem::take(&mut self.buffer);
        upload.finish(rest, pieces.clone()).await?;
        Ok(pieces)
    }
}

/// Takes the first `size` bytes out of `buffer`, which has more.
fn split(buffer: &mut Vec<Bytes>, size: usize) -> Vec<Bytes> {
    let mut part = Vec::new();
    let mut missing = size;
    let mut whole = 0;
    for chunk in buffer.iter_mut() {
        if chunk.len() > missing {
            part.push(chunk.split_to(missing));
            break;
        }
        missing -= chunk.len();
        part.push(chunk.clone());
        whole += 1;
        if missing == 0 {
            break;
        }
    }
    buffer.drain(..whole);
    part.retain(|chunk| !chunk.is_empty());
    part
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_cut_into_parts_of_equal_size() {
        let mut buffer: Vec<Bytes> = ["abc", "de", "fghi"].map(Bytes::from).to_vec();
        for expected in ["abcd", "efgh"] {
            assert_eq!(split(&mut buffer, 4).concat(), expected.as_bytes());
        }
        assert_eq!(buffer.concat(), b"i");
        let mut buffer: Vec<Bytes> = ["ab", "cd", "e"].map(Bytes::from).to_vec();
        assert_eq!(split(&mut buffer, 4).concat(), b"abcd");
        assert_eq!(buffer.concat(), b"e");
    }
}
