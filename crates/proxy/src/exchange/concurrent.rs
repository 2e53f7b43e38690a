//! Both directions of an exchange at once.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use super::parts::Facts;
use super::upload::UploadEnd;
use crate::client::{Closed, RequestBody};
use crate::record::Reason;

/// How long a client that has closed its direction waits for more of an answer.
const HALF_CLOSED: Duration = Duration::from_secs(5);

/// Runs both directions until the response has ended. The client's faults end both; the
/// backend's refusal to read more does not, for its answer may say why.
pub(super) async fn both<T>(
    upload: impl Future<Output = Result<(), UploadEnd>>,
    download: impl Future<Output = Result<T, Reason>>,
) -> Result<T, Reason> {
    let (mut upload, mut download) = (pin!(upload), pin!(download));
    let mut uploading = true;
    poll_fn(|cx| {
        if uploading && let Poll::Ready(end) = upload.as_mut().poll(cx) {
            uploading = false;
            if let Err(UploadEnd::Exchange(reason)) = end {
                return Poll::Ready(Err(reason));
            }
        }
        download.as_mut().poll(cx)
    })
    .await
}

/// Runs an operation until the client is gone.
pub(super) async fn while_wanted<T>(
    operation: impl Future<Output = Result<T, Reason>>,
    gone: impl Future<Output = ()>,
) -> Result<T, Reason> {
    tokio::select! {
        biased;
        result = operation => result,
        () = gone => Err(Reason::ClientClosed),
    }
}

/// Waits until the client is gone: it has closed, or it has closed its direction and nothing has
/// come for it for a while.
pub(super) async fn gone<B: RequestBody>(body: &mut B, facts: &Facts) {
    if body.closed().await == Closed::Connection {
        return;
    }
    let progress = || (facts.status.get(), facts.bytes_out.get());
    loop {
        let before = progress();
        tokio::time::sleep(HALF_CLOSED).await;
        if progress() == before {
            return;
        }
    }
}
