//! The log as static files over HTTP, as C2SP tlog-tiles asks for.

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use landfall_catalog::TilePath;
use tokio::fs::File;
use tokio_util::io::ReaderStream;

use crate::reader::LogReader;

/// The head moves: a few seconds at most.
const FOR_SECONDS: &str = "public, max-age=2";
/// A tile of one path never has other bytes.
const FOR_EVER: &str = "public, max-age=31536000, immutable";
/// Most bytes of a file that are in memory at once.
const BUFFER_BYTES: usize = 128 << 10;
const NOT_AT_ALL: &str = "no-store";

/// Serves `/.landfall/checkpoint` and `/.landfall/tile/…`: what is committed, and
/// nothing past it.
pub fn static_router(reader: LogReader) -> Router {
    Router::new()
        .route("/.landfall/checkpoint", get(checkpoint))
        .route("/.landfall/tile/{*path}", get(tile))
        .with_state(reader)
}

async fn checkpoint(State(reader): State<LogReader>) -> Response {
    let Some(held) = reader.checkpoint() else {
        return nothing(StatusCode::NOT_FOUND);
    };
    let headers = [
        (CONTENT_TYPE, "text/plain; charset=utf-8"),
        (CACHE_CONTROL, FOR_SECONDS),
    ];
    (headers, held.note().to_vec()).into_response()
}

async fn tile(State(reader): State<LogReader>, Path(path): Path<String>) -> Response {
    let file = format!("tile/{path}")
        .parse::<TilePath>()
        .ok()
        .and_then(|path| reader.tile_file(&path));
    let Some(file) = file else {
        return nothing(StatusCode::NOT_FOUND);
    };
    let opened = async {
        let file = File::open(&file).await?;
        let length = file.metadata().await?.len();
        Ok::<_, std::io::Error>((file, length))
    };
    match opened.await {
        Ok((file, length)) => {
            let headers: [(HeaderName, String); 3] = [
                (CONTENT_TYPE, "application/octet-stream".to_owned()),
                (CACHE_CONTROL, FOR_EVER.to_owned()),
                (CONTENT_LENGTH, length.to_string()),
            ];
            // Most files fit one buffer, and then leave in one piece.
            let buffer =
                usize::try_from(length).map_or(BUFFER_BYTES, |all| all.clamp(1, BUFFER_BYTES));
            let body = Body::from_stream(ReaderStream::with_capacity(file, buffer));
            (headers, body).into_response()
        }
        // A partial tile whose full one is there by now.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            nothing(StatusCode::NOT_FOUND)
        }
        Err(error) => {
            tracing::error!(file = %file.display(), %error, "a tile of the log cannot be read");
            nothing(StatusCode::INTERNAL_SERVER_ERROR)
        }
    }
}

fn nothing(status: StatusCode) -> Response {
    (status, [(CACHE_CONTROL, NOT_AT_ALL)]).into_response()
}
