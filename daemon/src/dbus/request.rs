//! Asking the control loop, with a limit on the wait: a stuck loop yields a clear error, never a hung client.
//!
//! May not: decide or change anything itself.

use super::proxy::Error;
use crate::handle::{Handle, Reply, Request, RequestError};
use std::time::Duration;
use tokio::sync::oneshot;

/// Longest wait for an answer from memory or the journal.
pub(super) const QUICK: Duration = Duration::from_secs(5);
/// Longest wait for an answer that takes calls to libvirt. Knobs that are not back by then are named by the loop, in time.
pub(super) const LONG: Duration = Duration::from_secs(60);

impl From<RequestError> for Error {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::NotFound(text) => Self::NotFound(text),
            RequestError::Conflict(text) => Self::Conflict(text),
            RequestError::InvalidArgs(text) => Self::InvalidArgs(text),
            RequestError::Unfinished(text) => Self::Unfinished(text),
            RequestError::Failed(text) => Self::Failed(text),
        }
    }
}

/// Sends the request that `make` builds around the answer channel and waits at most `limit` for the answer.
pub(super) async fn ask<T>(
    handle: &Handle,
    limit: Duration,
    make: impl FnOnce(Reply<T>) -> Request,
) -> Result<T, Error> {
    let (reply, answer) = oneshot::channel();
    let gone = || Error::Failed("the control loop is gone; nothing was done".to_owned());
    let permit = match tokio::time::timeout(limit, handle.requests.reserve()).await {
        Ok(permit) => permit.map_err(|_| gone())?,
        Err(_) => {
            let text =
                format!("the control loop took no request for {} s; nothing was done", limit.as_secs());
            return Err(Error::Failed(text));
        }
    };
    permit.send(make(reply));
    match tokio::time::timeout(limit, answer).await {
        Ok(Ok(result)) => Ok(result?),
        Ok(Err(_)) => Err(Error::Failed("the control loop ended before it answered".to_owned())),
        Err(_) => Err(Error::Failed(format!(
            "the control loop did not answer within {} s; it may still act on the request",
            limit.as_secs()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tokio::sync::{mpsc, watch};

    fn handle(slots: usize) -> (Handle, mpsc::Receiver<Request>) {
        let (requests, receiver) = mpsc::channel(slots);
        let (_, view) = watch::channel(Arc::default());
        (Handle { requests, view }, receiver)
    }

    const SHORT: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn a_loop_that_takes_but_never_answers_is_reported() {
        let (handle, _receiver) = handle(4);
        let error = ask(&handle, SHORT, Request::Pause).await.unwrap_err();
        assert!(matches!(&error, Error::Failed(text) if text.contains("may still act")), "{error:?}");
    }

    #[tokio::test]
    async fn a_loop_that_takes_nothing_is_reported() {
        let (handle, _receiver) = handle(1);
        let _full = handle.requests.try_reserve().unwrap();
        let error = ask(&handle, SHORT, Request::Pause).await.unwrap_err();
        assert!(matches!(&error, Error::Failed(text) if text.contains("nothing was done")), "{error:?}");
    }

    #[tokio::test]
    async fn a_loop_that_ended_is_reported() {
        let (handle, receiver) = handle(1);
        drop(receiver);
        let error = ask(&handle, SHORT, Request::Pause).await.unwrap_err();
        assert!(matches!(&error, Error::Failed(text) if text.contains("is gone")), "{error:?}");
    }

    #[tokio::test]
    async fn an_answer_channel_dropped_is_reported() {
        let (handle, mut receiver) = handle(1);
        tokio::spawn(async move { drop(receiver.recv().await) });
        let error = ask(&handle, SHORT, Request::Pause).await.unwrap_err();
        assert!(matches!(&error, Error::Failed(text) if text.contains("ended")), "{error:?}");
    }
}
