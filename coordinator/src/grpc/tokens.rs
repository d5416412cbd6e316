//! `landfall.v1.Tokens`: API tokens, for administrators.

use landfall_proto::status::to_status;
use landfall_proto::v1::{self, tokens_server};
use tonic::{Request, Response, Status};

use super::Shared;
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
            .create(&roles, ttl, admitted.who.to_string())
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
        let tokens = self.shared.tokens.list();
        Ok(Response::new(v1::ListTokensResponse {
            tokens: tokens.into_iter().map(token_to_wire).collect(),
        }))
    }

    async fn revoke(
        &self,
        request: Request<v1::RevokeTokenRequest>,
    ) -> Result<Response<v1::RevokeTokenResponse>, Status> {
        self.shared.gate.admit(&request, Action::ManageTokens)?;
        self.shared
            .tokens
            .revoke(&request.into_inner().id)
            .await
            .map_err(|error| to_status(&error))?;
        Ok(Response::new(v1::RevokeTokenResponse {}))
    }
}

fn token_to_wire(token: TokenRow) -> v1::Token {
    v1::Token {
        id: token.id,
        roles: token.roles.split(' ').map(str::to_owned).collect(),
        created: token.created,
        created_by: token.created_by,
        expires: token.expires.unwrap_or_default(),
        revoked: token.revoked.unwrap_or_default(),
    }
}
