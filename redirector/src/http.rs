//! The HTTP surface of the public name.
//!
//! [`answer`] is a plain function from a view and a request to an answer; [`serve`] is the shell that reads
//! requests and writes answers. The one answer that needs more than memory is an OCI manifest that is not
//! cached: it comes out as [`Answer::Manifest`], and the shell fetches it.

pub mod client;
mod explain;
mod files;
mod mirrors;
mod oci;
mod redirect;
pub mod reply;
pub mod serve;

use landfall_catalog::{Catalog, Digest};
use landfall_route::{FleetView, Place, Reference, Request, RequestError, Wanted, client_key};

use self::client::Client;
pub(crate) use self::oci::is_manifest;
use self::reply::Reply;
use crate::metrics::{Asked, Outcome};
use crate::oci_manifests::WantedManifest;
use crate::view::View;

/// A request as far as answers depend on it. Only GET and HEAD get here.
#[derive(Clone, Copy, Debug)]
pub struct ClientRequest<'a> {
    /// Whether only the headers are wanted.
    pub head: bool,
    /// The path as it came.
    pub path: &'a str,
    /// The query as it came, without the question mark.
    pub query: Option<&'a str>,
    /// Who asks.
    pub client: Client,
    /// Name of the mirror whose agent asks, as it says itself. It changes the place only, never what is trusted.
    pub agent: Option<&'a str>,
}

/// What is to be answered.
#[derive(Debug)]
pub enum Answer {
    /// This.
    Reply(Reply),
    /// This, with the bytes of an OCI manifest as its body.
    Manifest(Reply, WantedManifest),
    /// Whatever is at this path below `/.landfall/`: the log's files, or the state of this program.
    Internal(String),
}

/// What all kinds of answers look at.
struct Context<'a> {
    catalog: &'a Catalog,
    fleet: &'a FleetView,
    place: Place,
    key: u64,
    secure: bool,
    head: bool,
    avoid: &'a [String],
}

/// Answers a request from memory.
#[must_use]
pub fn answer(view: &View, request: &ClientRequest<'_>) -> Answer {
    answer_without(view, request, None)
}

/// As [`answer`], leaving out a mirror that is known not to answer.
#[must_use]
pub fn answer_without(view: &View, request: &ClientRequest<'_>, mirror: Option<&str>) -> Answer {
    let mut parsed = Request::parse(request.path, request.query);
    if let Ok(parsed) = &mut parsed {
        parsed.avoid.extend(mirror.map(str::to_owned));
    }
    let fleet = view.fleet();
    let place = place(view, &fleet, request);
    let state = view.catalog();
    let answer = match &parsed {
        Err(fault) => Answer::Reply(refused(request.path, fault)),
        Ok(parsed) => {
            let context = Context {
                catalog: state.catalog(),
                fleet: &fleet,
                place,
                key: client_key(request.client.address),
                secure: request.client.secure,
                head: request.head,
                avoid: &parsed.avoid,
            };
            dispatch(&context, view, &parsed.wanted, request.query)
        }
    };
    match answer {
        Answer::Reply(reply) => Answer::Reply(reply.of_catalog(state.header())),
        Answer::Manifest(reply, wanted) => {
            Answer::Manifest(reply.of_catalog(state.header()), wanted)
        }
        internal @ Answer::Internal(_) => internal,
    }
}

/// An OCI manifest as it is to be fetched for nobody in particular; none if it is not to be served.
pub(crate) fn wanted_manifest(view: &View, digest: &Digest) -> Option<WantedManifest> {
    let (fleet, state) = (view.fleet(), view.catalog());
    let context = Context {
        catalog: state.catalog(),
        fleet: &fleet,
        place: Place::default(),
        key: 0,
        secure: false,
        head: false,
        avoid: &[],
    };
    oci::wanted(&context, digest)
}

fn dispatch(context: &Context<'_>, view: &View, wanted: &Wanted, query: Option<&str>) -> Answer {
    let reply = match wanted {
        Wanted::Root => Reply::text(
            http::StatusCode::OK,
            "Files and images are here by their names; see /.landfall/mirrors.json.\n",
        )
        .counted(Asked::Internal, Outcome::Served),
        Wanted::V2Base => oci::base(),
        Wanted::OciManifest {
            repository,
            reference,
        } => {
            return match reference {
                Reference::Tag(tag) => oci::manifest_by_tag(context, repository, tag),
                Reference::Digest(digest) => oci::manifest_by_digest(context, repository, digest),
            };
        }
        Wanted::OciBlob { repository, digest } => oci::blob(context, repository, digest),
        Wanted::OciTags {
            repository,
            n,
            last,
        } => oci::tags(context, repository, *n, last.as_deref()),
        Wanted::OciReferrers {
            repository,
            digest,
            artifact_type,
        } => oci::referrers(context, repository, digest, artifact_type.as_deref()),
        Wanted::Blob(digest) => files::blob(context, digest),
        Wanted::File(path) => files::file(context, path),
        Wanted::Internal(path) => match path.as_str() {
            "explain" => explain::explain(context, &view.locator(), query.unwrap_or_default()),
            "mirrors.json" => mirrors::mirrors(context),
            other => match other.strip_prefix("pieces/") {
                Some(hex) => files::pieces(context, hex),
                None => return Answer::Internal(other.to_owned()),
            },
        },
    };
    Answer::Reply(reply)
}

/// The place of a mirror's agent is where the mirror says it is; of everybody else, where the address is.
fn place(view: &View, fleet: &FleetView, request: &ClientRequest<'_>) -> Place {
    request
        .agent
        .and_then(|name| fleet.mirror(name))
        .map_or_else(
            || view.locator().locate(request.client.address),
            |mirror| mirror.place.clone(),
        )
}

fn refused(path: &str, fault: &RequestError) -> Reply {
    let status =
        http::StatusCode::from_u16(fault.http_status()).unwrap_or(http::StatusCode::BAD_REQUEST);
    let outcome = if status == http::StatusCode::NOT_FOUND {
        Outcome::NotFound
    } else {
        Outcome::Refused
    };
    let reply = if path.starts_with("/v2/") {
        Reply::oci_error(status, fault.oci_code(), &fault.to_string())
    } else {
        Reply::text(status, &format!("{fault}\n"))
    };
    reply.counted(Asked::Other, outcome)
}
