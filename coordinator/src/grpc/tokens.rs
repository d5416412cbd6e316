//! `landfall.v1.Tokens`: API tokens, for administrators.

use landfall_proto::status::to_status;
use landfall_proto::v1::{self, tokens_server};
use tonic::{Request, Response, Status};

use super::Shared;
use super::page::Page;
use crate::principal::Action;
use crate::state::tokens::TokenRow;
use crate::tokens::Role;

pub(super) struct Service {
    pub(super) shared: Shared,
}

#[tonic::async_trait]
impl tokens_server::Tokens for Service {
    async fn create(
        &self,
        request: Request<v1::CreateTokenRequest>,
    ) -> Result<Response<v1::CreateTokenResponse>, Status> {
        let admitted = self.shared.gate.admit(&request, Action::ManageTokens)?;
        let request = request.into_inner();
        let roles: Result<Vec<Role>, _> = request.roles.iter().map(|role| role.parse()).collect();
        let roles = roles.map_err(|error| to_status(&error))?;
        let ttl = Some(request.ttl_seconds).filter(|ttl| *ttl > 0);
        let made = self
            .shared
            .tokens
            .create(&request.name, &roles, ttl, admitted.who.to_string())
            .await
            .map_err(|error| to_status(&error))?;
        Ok(Response::new(v1::CreateTokenResponse {
            id: made.id,
            token: made.token,
            expires: made.expires.unwrap_or_default(),
        }))
    }

    async fn list(
        &self,
        request: Request<v1::ListTokensRequest>,
    ) -> Result<Response<v1::ListTokensResponse>, Status> {
        self.shared.gate.admit(&request, Action::ManageTokens)?;
        let after = request.into_inner().after;
        let tokens = self.shared.tokens.list();
        // Tokens are never forgotten.
        let from = match after.as_str() {
            "" => 0,
            id => match tokens.iter().position(|token| token.id == id) {
                Some(at) => at + 1,
                None => return Err(Status::invalid_argument("to go on, give what `next` was")),
            },
        };
        Ok(Response::new(page(tokens.into_iter().skip(from))))
    }

    async fn revoke(
        &self,
        request: Request<v1::RevokeTokenRequest>,
    ) -> Result<Response<v1::RevokeTokenResponse>, Status> {
        self.shared.gate.admit(&request, Action::ManageTokens)?;
        let ids = self
            .shared
            .tokens
            .revoke(&request.into_inner().id)
            .await
            .map_err(|error| to_status(&error))?;
        Ok(Response::new(v1::RevokeTokenResponse { ids }))
    }
}

/// As many as one answer takes.
fn page(tokens: impl Iterator<Item = TokenRow>) -> v1::ListTokensResponse {
    let mut page = Page::new();
    let mut next = String::new();
    for token in tokens {
        if !page.take(token_to_wire(token)) {
            let last = page.members().last();
            next = last
                .map(|last: &v1::Token| last.id.clone())
                .unwrap_or_default();
            break;
        }
    }
    v1::ListTokensResponse {
        tokens: page.into_members(),
        next,
    }
}

fn token_to_wire(token: TokenRow) -> v1::Token {
    v1::Token {
        id: token.id,
        name: token.name,
        roles: token.roles.split(' ').map(str::to_owned).collect(),
        created: token.created,
        created_by: token.created_by,
        expires: token.expires.unwrap_or_default(),
        revoked: token.revoked.unwrap_or_default(),
    }
}
