//! `landfall explain`: where a client is sent for a name, and why.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use url::Url;

use super::status;
use crate::{
    args::ExplainArgs,
    connect,
    failure::{Failure, Verdict},
    output::{self, table::Table},
};

/// Largest answer that is read: 200 mirrors with their reasons fit many times.
const MAX_ANSWER: usize = 4 << 20;

/// What `explain --json` prints and the redirector answers; fields are only ever added.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Explanation {
    name: String,
    digest: String,
    size: u64,
    place: Place,
    pub(crate) mirror: Option<String>,
    url: Option<String>,
    pub(crate) reason: String,
    pub(crate) decision: String,
    pub(crate) candidates: Vec<Candidate>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Place {
    cloud: Option<String>,
    region: Option<String>,
    asn: Option<u32>,
    country: Option<String>,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Candidate {
    pub(crate) mirror: String,
    pub(crate) tier: String,
    eligible: bool,
    pub(crate) reasons: Vec<String>,
}

pub(crate) async fn run(args: ExplainArgs) -> Result<Verdict, Failure> {
    let redirector = match (&args.redirector, &args.coordinator) {
        (Some(redirector), _) => redirector.clone(),
        (None, Some(coordinator)) => status::fetch(coordinator).await?.public_url,
        (None, None) => {
            return Err(Failure::Usage(
                "say --redirector URL or --coordinator URL".into(),
            ));
        }
    };
    let explanation = fetch(&redirector, args.from, &args.name).await?;
    if args.json {
        output::json(&explanation)?;
    } else {
        output::line(explanation.text())?;
    }
    Ok(if explanation.url.is_some() {
        Verdict::Done
    } else {
        Verdict::Incomplete
    })
}

/// Asks a redirector.
pub(crate) async fn fetch(
    redirector: &str,
    from: IpAddr,
    name: &str,
) -> Result<Explanation, Failure> {
    let mut url = Url::parse(redirector)
        .map_err(|error| Failure::Usage(format!("{redirector} is not a URL: {error}")))?;
    url.set_path("/.landfall/explain");
    url.query_pairs_mut()
        .append_pair("from", &from.to_string())
        .append_pair("name", name);
    let answer = connect::get(&url, MAX_ANSWER).await?;
    if !answer.status.is_success() {
        return Err(Failure::Failed(format!(
            "{redirector} answered {}: {}",
            answer.status,
            String::from_utf8_lossy(&answer.body).trim()
        )));
    }
    serde_json::from_slice(&answer.body)
        .map_err(|error| Failure::failed("the redirector's answer is not understood", &error))
}

impl Explanation {
    fn text(&self) -> String {
        let mut place: Vec<String> = Vec::new();
        place.extend(self.place.cloud.clone());
        place.extend(self.place.region.clone());
        place.extend(self.place.asn.map(|asn| format!("AS{asn}")));
        place.extend(self.place.country.clone());
        let mut table = Table::new(&["CANDIDATE", "TIER", "ELIGIBLE", "REASONS"]);
        for candidate in &self.candidates {
            table.row([
                candidate.mirror.clone(),
                candidate.tier.clone(),
                if candidate.eligible { "yes" } else { "no" }.to_owned(),
                candidate.reasons.join(", "),
            ]);
        }
        format!(
            "{}\n  {} ({})\n  from {}\n  to   {} because {}\n       {}\n  decision {}\n\n{}",
            self.name,
            self.digest,
            output::bytes(self.size),
            if place.is_empty() {
                "an unknown place".to_owned()
            } else {
                place.join(" ")
            },
            self.mirror.as_deref().unwrap_or("nobody"),
            self.reason,
            self.url.as_deref().unwrap_or("-"),
            self.decision,
            table.render(),
        )
    }
}
