//! The tags of a repository (OCI distribution specification 1.1, "Listing tags").

use http::{HeaderMap, Method};
use landfall_catalog::{Repository, Tag};
use serde::Deserialize;

use super::{Registry, next_page, none_if_absent, tag};
use crate::source::SourceError;

/// Tags that are asked for in one answer; a registry may give fewer or more.
const PAGE: &str = "1000";
/// Longest answer. Some registries send all tags at once, and more with them.
const MAX_PAGE_BYTES: usize = 32 << 20;
/// Answers that are read of one list.
const MAX_PAGES: usize = 1_000;
/// Tags that are read of one repository.
const MAX_TAGS: usize = 200_000;

/// The tags of one answer. `"tags": null` is what some send for none.
pub(crate) fn tags_of(answer: &[u8]) -> Result<Vec<Tag>, SourceError> {
    #[derive(Deserialize)]
    struct Page {
        tags: Option<Vec<String>>,
    }
    let page: Page = serde_json::from_slice(answer)
        .map_err(|error| SourceError::broken("sent no list of tags").caused_by(error))?;
    let tags = page.tags.unwrap_or_default();
    tags.iter().map(|text| tag(text)).collect()
}

impl Registry {
    /// All tags of `repository`, sorted; none if there is no such repository.
    ///
    /// # Errors
    ///
    /// As any request; [`SourceErrorKind::Broken`](crate::source::SourceErrorKind)
    /// if what comes is no list of tags, or does not end.
    pub async fn tags(&self, repository: &Repository) -> Result<Option<Vec<Tag>>, SourceError> {
        let mut url = self.url(repository, "tags/list")?;
        url.query_pairs_mut().append_pair("n", PAGE);
        let mut next = Some(url);
        let mut tags = Vec::new();
        for page in 0..MAX_PAGES {
            let Some(url) = next.take() else {
                tags.sort();
                tags.dedup();
                return Ok(Some(tags));
            };
            let answer = self
                .send(Method::GET, url.clone(), repository, &HeaderMap::new())
                .await;
            let Some((response, by)) = none_if_absent(answer)? else {
                // Only the first page says that there is no such repository.
                return match page {
                    0 => Ok(None),
                    _ => Err(SourceError::broken("lost a page of its list of tags")),
                };
            };
            next = next_page(&url, response.headers());
            let clients = &self.inner.clients;
            let read = clients
                .read(response, MAX_PAGE_BYTES, "a list of tags")
                .await;
            let bytes = read.map_err(|error| error.from(&by))?;
            tags.extend(tags_of(&bytes).map_err(|error| error.from(&by))?);
            if tags.len() > MAX_TAGS {
                break;
            }
        }
        Err(SourceError::broken(format!(
            "has too many tags in {repository}"
        )))
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::extract::Request;
    use axum::response::Response;

    use super::*;
    use crate::oci::RegistryAuth;
    use crate::source::SourceErrorKind;
    use crate::testing::TestServer;

    async fn listed(
        answer: impl Fn(&str) -> (u16, Option<String>, String) + Clone + Send + Sync + 'static,
    ) -> Result<Option<Vec<Tag>>, SourceError> {
        let server = TestServer::with(move |request: Request| {
            let (status, next, body) = answer(request.uri().query().unwrap_or_default());
            let mut response = Response::builder().status(status);
            if let Some(next) = next {
                response = response.header("link", format!("<{next}>; rel=\"next\""));
            }
            let response = response.body(Body::from(body)).unwrap();
            async move { response }
        })
        .await;
        let url = server.url.join("/staging").unwrap();
        let registry = Registry::new(&url, RegistryAuth::Anonymous).unwrap();
        registry.tags(&"app".parse().unwrap()).await
    }

    #[tokio::test]
    async fn pages_are_followed_to_the_last() {
        let tags = listed(|query| match query {
            "n=1000" => {
                let next = "/v2/staging/app/tags/list?last=v2".to_owned();
                (
                    200,
                    Some(next),
                    r#"{"name":"app","tags":["v2","v1"]}"#.into(),
                )
            }
            "last=v2" => (200, None, r#"{"tags":["v3","v1"],"manifest":{}}"#.into()),
            other => (500, None, other.to_owned()),
        });
        let tags = tags.await.unwrap().unwrap();
        let tags: Vec<&str> = tags.iter().map(Tag::as_str).collect();
        assert_eq!(tags, ["v1", "v2", "v3"]);
    }

    #[tokio::test]
    async fn nothing_is_listed_for_no_tags_and_for_no_repository() {
        let empty = listed(|_| (200, None, r#"{"tags":null}"#.into())).await;
        assert_eq!(empty.unwrap(), Some(Vec::new()));
        let absent = listed(|_| (404, None, String::new())).await;
        assert_eq!(absent.unwrap(), None);
    }

    #[tokio::test]
    async fn a_list_that_is_none_or_never_ends_is_refused() {
        for (next, body) in [
            (None, "[]"),
            (None, r#"{"tags":["no tag"]}"#),
            (
                Some("/v2/staging/app/tags/list?n=1000"),
                r#"{"tags":["v1"]}"#,
            ),
        ] {
            let listed = listed(move |_| (200, next.map(str::to_owned), body.to_owned()));
            let error = listed.await.unwrap_err();
            assert_eq!(error.kind, SourceErrorKind::Broken, "{body}");
        }
    }
}
