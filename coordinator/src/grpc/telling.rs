//! Work that tells what it does in a stream.

use futures::stream::{BoxStream, PollNext, StreamExt as _, select_with_strategy};
use landfall_runtime::{OnError, Tasks};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// What `make` tells, as it tells it, and then why it failed, if it did. The work is
/// a task of its own, so that it ends in time whether or not the stream is read; it
/// ends with the stream. At most `waiting` events wait for the transport.
pub(super) fn told<E, W>(
    tasks: &Tasks,
    stopping: &'static str,
    waiting: usize,
    make: impl FnOnce(mpsc::Sender<E>) -> W,
) -> BoxStream<'static, Result<E, Status>>
where
    E: Send + 'static,
    W: Future<Output = Result<(), Status>> + Send + 'static,
{
    let (sender, events) = mpsc::channel(waiting);
    let (fail, failed) = oneshot::channel();
    let shutdown = tasks.shutdown().clone();
    let reader = sender.clone();
    let making = make(sender);
    let work = async move {
        let stopped = || Err(Status::unavailable(stopping));
        tokio::select! {
            made = shutdown.unless_requested(making) => {
                if let Err(status) = made.unwrap_or_else(stopped) {
                    // The reader may be gone.
                    let _ = fail.send(status);
                }
            }
            () = reader.closed() => {}
        }
    };
    tasks.spawn("stream", OnError::Log, work);
    // Events first, so that none is lost behind an error.
    let failure =
        futures::stream::once(failed).filter_map(|failed| std::future::ready(failed.ok().map(Err)));
    let events = ReceiverStream::new(events).map(Ok);
    select_with_strategy(events, failure, |()| PollNext::Left).boxed()
}
