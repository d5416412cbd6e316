//! Which client sends a request: to a host that an operator chose, or to one
//! that this host chose by a redirect.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use landfall_runtime::bounded::{Arrival, ReadError, read_response};
use landfall_runtime::dial::{
    DialError, OutOfReach, READ_TIMEOUT, Reach, http_client, is_loopback,
};
use tokio::time::timeout;
use url::Url;

use super::{SourceError, SourceErrorKind, status_error};
use crate::pace::{Pace, Paces, Taken};

/// What is demanded of hosts that are not trusted, and how they are treated.
#[derive(Clone, Debug)]
pub struct Manners {
    /// Where their redirects and token servers may lead.
    pub reach: Reach,
    /// How long each of their answers may take to begin.
    pub answer: Duration,
    /// How fast a document, a list, or what else is read whole has to arrive.
    pub arrival: Arrival,
    /// How often they are asked.
    pub paces: Paces,
}

/// Clients for one host and for where it sends on.
#[derive(Clone, Debug)]
pub(crate) struct Clients {
    home: Url,
    client: reqwest::Client,
    /// What is abroad, if that matters.
    abroad: Option<(Reach, reqwest::Client)>,
    answer: Duration,
    arrival: Arrival,
    pace: Option<Pace>,
}

impl Clients {
    /// Anything that the host of `home` sends on to is asked.
    pub(crate) fn new(client: reqwest::Client, home: Url) -> Self {
        Self {
            home,
            client,
            abroad: None,
            answer: READ_TIMEOUT,
            arrival: Arrival::default(),
            pace: None,
        }
    }

    /// As [`Self::new`], with a client of its own, at the pace of its host.
    pub(crate) fn paced(home: Url, paces: &Paces) -> Result<Self, DialError> {
        let mut clients = Self::new(http_client()?, home);
        clients.pace = Some(paces.of(&clients.home));
        Ok(clients)
    }

    /// What the host sends on to is asked only if it is within reach. A host on
    /// this machine may send on to this machine.
    pub(crate) fn mannered(mut self, manners: &Manners) -> Result<Self, DialError> {
        let reach = manners.reach.clone();
        let reach = reach.with_loopback(is_loopback(&self.home));
        let client = reach.http_client()?;
        self.abroad = Some((reach, client));
        self.answer = manners.answer;
        self.arrival = manners.arrival;
        self.pace = Some(manners.paces.of(&self.home));
        Ok(self)
    }

    /// The same for another URL of the same host.
    pub(crate) fn at(&self, home: Url) -> Self {
        Self {
            home,
            ..self.clone()
        }
    }

    /// Where it begins.
    pub(crate) const fn home(&self) -> &Url {
        &self.home
    }

    /// The client for `url`; none that is out of reach is given one.
    pub(crate) fn of(&self, url: &Url) -> Result<&reqwest::Client, SourceError> {
        match &self.abroad {
            Some((reach, client)) if url.origin() != self.home.origin() => {
                reach.check(url).map_err(out_of_reach)?;
                Ok(client)
            }
            _ => Ok(&self.client),
        }
    }

    /// Reads an answer of at most `limit` bytes, which is called `what`, to its
    /// end; it has to arrive in time.
    pub(crate) async fn read(
        &self,
        response: reqwest::Response,
        limit: usize,
        what: &str,
    ) -> Result<Bytes, SourceError> {
        let read = read_response(response, limit, &self.arrival).await;
        read.map_err(|error| {
            let failed = if error.is_too_large() {
                SourceError::broken(format!("sent too long {what}"))
            } else if matches!(error, ReadError::TooSlow { .. }) {
                SourceError::transient(format!("{TOO_LATE}: {what} came too slowly"))
            } else {
                SourceError::transient(format!("{what} broke off"))
            };
            failed.caused_by(error)
        })
    }

    /// Sends a request when its turn has come; the answer has to begin in time.
    pub(crate) async fn send(
        &self,
        request: reqwest::RequestBuilder,
    ) -> Result<reqwest::Response, SourceError> {
        let turn = match &self.pace {
            Some(pace) => Some(pace.turn().await),
            None => None,
        };
        let sent = timeout(self.answer, request.send()).await;
        let (taken, sent) = match sent {
            Ok(Ok(response)) => (taken(&response), Ok(response)),
            Ok(Err(error)) => (Taken::Failed, Err(request_failed(error))),
            Err(_) => (Taken::Failed, Err(SourceError::transient(TOO_LATE))),
        };
        if let Some(turn) = turn {
            turn.end(taken);
        }
        sent
    }
}

/// What is said of an answer that did not come.
const TOO_LATE: &str = "did not answer in time";

/// A host that was asked and did not answer.
fn request_failed(error: reqwest::Error) -> SourceError {
    let error = error.without_url();
    if OutOfReach::caused(&error) {
        out_of_reach(error)
    } else {
        SourceError::transient("the request failed").caused_by(error)
    }
}

fn out_of_reach(error: impl std::error::Error + Send + Sync + 'static) -> SourceError {
    SourceError::new(SourceErrorKind::Refused, "is out of reach").caused_by(error)
}

fn taken(response: &reqwest::Response) -> Taken {
    match response.status() {
        status @ (StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) => {
            match status_error(status, response.headers()).kind {
                SourceErrorKind::Transient { retry_after } => Taken::TooMuch { retry_after },
                SourceErrorKind::NotFound | SourceErrorKind::Refused | SourceErrorKind::Broken => {
                    Taken::Answered
                }
            }
        }
        _ => Taken::Answered,
    }
}
