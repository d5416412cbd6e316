//! The XML API of Google Cloud Storage, which `object_store` speaks, in front of
//! an emulator that speaks the JSON API. What the emulator has no word for is
//! done here: creating without replacing, and uploads in parts, which it
//! composes.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Method};
use landfall_runtime::dial::http_client;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::{Value, json};
use tokio::sync::Mutex;

const META: &str = "x-goog-meta-";
const LARGEST: usize = 64 << 20;

struct Translator {
    emulator: String,
    client: reqwest::Client,
    /// Uploads in parts: what the object will be, and how many parts there are.
    uploads: Mutex<HashMap<String, Upload>>,
    /// Uploads that were ever begun: no id is given twice.
    begun: AtomicU64,
    /// Held while it is decided whether an object may be created.
    creating: Mutex<()>,
}

#[derive(Clone)]
struct Upload {
    headers: HeaderMap,
    parts: u32,
}

/// A translator in front of `emulator`.
pub(crate) fn router(emulator: &str) -> Router {
    let translator = Arc::new(Translator {
        emulator: emulator.to_owned(),
        client: http_client().unwrap(),
        uploads: Mutex::default(),
        begun: AtomicU64::new(0),
        creating: Mutex::default(),
    });
    Router::new().fallback(move |request: Request| {
        let translator = Arc::clone(&translator);
        async move {
            let (parts, body) = request.into_parts();
            let body = to_bytes(body, LARGEST).await.unwrap();
            translator.answer(parts, body).await
        }
    })
}

fn reply(status: u16) -> http::response::Builder {
    Response::builder().status(status)
}

fn text(builder: http::response::Builder, text: impl Into<Body>) -> Response {
    builder.body(text.into()).unwrap()
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap())
}

/// What an object is, in the words of the JSON API.
fn description(headers: &HeaderMap) -> Value {
    let metadata: serde_json::Map<_, _> = headers
        .iter()
        .filter_map(|(name, value)| {
            let name = name.as_str().strip_prefix(META)?;
            Some((name.to_owned(), json!(value.to_str().unwrap())))
        })
        .collect();
    let content_type = header(headers, "content-type").unwrap_or("application/octet-stream");
    json!({"contentType": content_type, "metadata": metadata})
}

impl Translator {
    fn object(&self, bucket: &str, key: &str) -> String {
        let key = utf8_percent_encode(key, NON_ALPHANUMERIC);
        format!("{}/storage/v1/b/{bucket}/o/{key}", self.emulator)
    }

    async fn answer(&self, parts: Parts, body: Bytes) -> Response {
        let path = parts.uri.path().trim_start_matches('/');
        let path = percent_decode_str(path).decode_utf8().unwrap().into_owned();
        let query: HashMap<String, String> =
            url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes())
                .into_owned()
                .collect();
        let Some((bucket, key)) = path.split_once('/') else {
            return self.list(&path, &query).await;
        };
        let upload = query.get("uploadId");
        match (&parts.method, upload) {
            (&Method::POST, None) => self.begin(parts.headers).await,
            (&Method::PUT, Some(upload)) => {
                let number = query["partNumber"].parse().unwrap();
                self.part(bucket, upload, number, body).await
            }
            (&Method::POST, Some(upload)) => self.complete(bucket, key, upload).await,
            (&Method::DELETE, Some(upload)) => {
                let known = self.uploads.lock().await.remove(upload).is_some();
                text(reply(if known { 204 } else { 404 }), "")
            }
            (&Method::PUT, None) => self.put(bucket, key, &parts.headers, body).await,
            (&Method::DELETE, None) => {
                let deleted = self.client.delete(self.object(bucket, key));
                let status = deleted.send().await.unwrap().status().as_u16();
                text(reply(status), "")
            }
            _ => self.get(bucket, key, &parts).await,
        }
    }

    async fn found(&self, bucket: &str, key: &str) -> Option<Value> {
        let found = self
            .client
            .get(self.object(bucket, key))
            .send()
            .await
            .unwrap();
        match found.status().as_u16() {
            200 => Some(found.json().await.unwrap()),
            404 => None,
            status => panic!("the emulator answered {status}"),
        }
    }

    async fn media(&self, bucket: &str, key: &str, content_type: &str, body: Bytes) {
        let name = utf8_percent_encode(key, NON_ALPHANUMERIC);
        let emulator = &self.emulator;
        // A body without bytes breaks it; a part without bytes does not.
        let (kind, content_type, body) = if body.is_empty() {
            let nothing = "--x\r\ncontent-type: application/json\r\n\r\n{}\r\n--x\r\ncontent-type: a/b\r\n\r\n\r\n--x--\r\n";
            ("multipart", "multipart/related; boundary=x", nothing.into())
        } else {
            ("media", content_type, body)
        };
        let sent = self
            .client
            .post(format!(
                "{emulator}/upload/storage/v1/b/{bucket}/o?uploadType={kind}&name={name}"
            ))
            .header("content-type", content_type)
            .body(body);
        assert_eq!(sent.send().await.unwrap().status(), 200);
    }

    async fn describe(&self, bucket: &str, key: &str, description: &Value) {
        let patch = self
            .client
            .patch(self.object(bucket, key))
            .json(description);
        assert_eq!(patch.send().await.unwrap().status(), 200);
    }

    async fn put(&self, bucket: &str, key: &str, headers: &HeaderMap, body: Bytes) -> Response {
        if let Some(source) = header(headers, "x-goog-copy-source") {
            let source = percent_decode_str(source).decode_utf8().unwrap();
            let (from, source) = source.split_once('/').unwrap();
            let target = utf8_percent_encode(key, NON_ALPHANUMERIC);
            let url = format!("{}/copyTo/b/{bucket}/o/{target}", self.object(from, source));
            let copied = self
                .client
                .post(url)
                .header("content-length", 0)
                .send()
                .await;
            return text(reply(copied.unwrap().status().as_u16()), "");
        }
        let _alone = self.creating.lock().await;
        if header(headers, "x-goog-if-generation-match") == Some("0")
            && self.found(bucket, key).await.is_some()
        {
            return text(reply(412), "");
        }
        let description = description(headers);
        let content_type = description["contentType"].as_str().unwrap();
        self.media(bucket, key, content_type, body).await;
        self.describe(bucket, key, &description).await;
        text(reply(200).header("etag", "\"written\""), "")
    }

    async fn begin(&self, headers: HeaderMap) -> Response {
        let id = format!("upload-{}", self.begun.fetch_add(1, Ordering::Relaxed));
        let upload = Upload { headers, parts: 0 };
        self.uploads.lock().await.insert(id.clone(), upload);
        let answer = format!(
            "<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
        );
        text(reply(200), answer)
    }

    async fn part(&self, bucket: &str, id: &str, number: u32, body: Bytes) -> Response {
        match self.uploads.lock().await.get_mut(id) {
            Some(upload) => upload.parts = upload.parts.max(number),
            None => return text(reply(404), ""),
        }
        let key = format!(".parts/{id}/{number}");
        self.media(bucket, &key, "application/octet-stream", body)
            .await;
        text(reply(200).header("etag", format!("\"{number}\"")), "")
    }

    async fn complete(&self, bucket: &str, key: &str, id: &str) -> Response {
        let Some(upload) = self.uploads.lock().await.remove(id) else {
            return text(reply(404), "");
        };
        let sources: Vec<_> = (1..=upload.parts)
            .map(|number| json!({"name": format!(".parts/{id}/{number}")}))
            .collect();
        let description = description(&upload.headers);
        let wish = json!({"destination": description, "sourceObjects": sources});
        let url = format!("{}/compose", self.object(bucket, key));
        let composed = self.client.post(url).json(&wish).send().await.unwrap();
        assert_eq!(composed.status(), 200);
        self.describe(bucket, key, &description).await;
        let answer = "<CompleteMultipartUploadResult><ETag>\"composed\"</ETag></CompleteMultipartUploadResult>";
        text(reply(200), answer)
    }

    async fn get(&self, bucket: &str, key: &str, parts: &Parts) -> Response {
        let Some(found) = self.found(bucket, key).await else {
            return text(reply(404), "");
        };
        let mut builder = reply(200)
            .header(
                "etag",
                format!("\"{}\"", found["md5Hash"].as_str().unwrap()),
            )
            .header("last-modified", "Thu, 01 Jan 2026 00:00:00 GMT")
            .header("content-type", found["contentType"].as_str().unwrap());
        for (name, value) in found["metadata"].as_object().into_iter().flatten() {
            builder = builder.header(format!("{META}{name}"), value.as_str().unwrap());
        }
        if parts.method == Method::HEAD {
            let size = found["size"].as_str().map(str::to_owned);
            let size = size.unwrap_or_else(|| found["size"].to_string());
            return text(builder.header("content-length", size), "");
        }
        let mut asked = self
            .client
            .get(format!("{}?alt=media", self.object(bucket, key)));
        if let Some(range) = header(&parts.headers, "range") {
            asked = self
                .client
                .get(format!(
                    "{}/{bucket}/{}",
                    self.emulator,
                    utf8_percent_encode(key, NON_ALPHANUMERIC)
                ))
                .header("range", range);
        }
        let answer = asked.send().await.unwrap();
        builder = builder.status(answer.status().as_u16());
        if let Some(range) = header(answer.headers(), "content-range") {
            builder = builder.header("content-range", range);
        }
        text(builder, answer.bytes().await.unwrap())
    }

    async fn list(&self, bucket: &str, query: &HashMap<String, String>) -> Response {
        let prefix = query.get("prefix").map_or("", String::as_str);
        let prefix = utf8_percent_encode(prefix, NON_ALPHANUMERIC);
        let emulator = &self.emulator;
        let url = format!("{emulator}/storage/v1/b/{bucket}/o?prefix={prefix}");
        let listed: Value = self
            .client
            .get(url)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        let mut answer = String::from("<ListBucketResult>");
        for item in listed["items"].as_array().into_iter().flatten() {
            let size = item["size"].as_str().map(str::to_owned);
            let size = size.unwrap_or_else(|| item["size"].to_string());
            answer.push_str(&format!(
                "<Contents><Key>{}</Key><LastModified>2026-01-01T00:00:00Z</LastModified><Size>{size}</Size></Contents>",
                item["name"].as_str().unwrap()
            ));
        }
        answer.push_str("</ListBucketResult>");
        text(reply(200), answer)
    }
}
