//! `landfall token create|list|revoke`.

use landfall_proto::v1::{self, tokens_client::TokensClient};
use serde_json::json;

use crate::{
    args::{TokenCommand, TokenCreateArgs, TokenListArgs, TokenRevokeArgs},
    connect,
    failure::{Failure, Verdict},
    output::{self, table::Table},
};

pub(crate) async fn run(command: TokenCommand) -> Result<Verdict, Failure> {
    match command {
        TokenCommand::Create(args) => create(args).await,
        TokenCommand::List(args) => list(args).await,
        TokenCommand::Revoke(args) => revoke(args).await,
    }
}

async fn create(args: TokenCreateArgs) -> Result<Verdict, Failure> {
    let coordinator = &args.coordinator.coordinator;
    let made = TokensClient::new(connect::connection(coordinator)?)
        .create(v1::CreateTokenRequest {
            roles: args.roles.clone(),
            ttl_seconds: args.ttl.map_or(0, |ttl| ttl.as_secs()),
        })
        .await
        .map_err(|status| connect::refused(coordinator, &status))?
        .into_inner();
    if args.json {
        output::json(&json!({"id": made.id, "token": made.token,
            "roles": args.roles, "expires": made.expires}))?;
    } else {
        // The token alone on standard output, so that it can be piped into a vault.
        output::line(made.token)?;
        output::note(format!(
            "token {} for {}; it is not shown again{}",
            made.id,
            args.roles.join(", "),
            if made.expires == 0 {
                String::new()
            } else {
                format!(", and runs out at {}", output::time(made.expires))
            }
        ));
    }
    Ok(Verdict::Done)
}

async fn list(args: TokenListArgs) -> Result<Verdict, Failure> {
    let coordinator = &args.coordinator.coordinator;
    let tokens = TokensClient::new(connect::connection(coordinator)?)
        .list(v1::ListTokensRequest {})
        .await
        .map_err(|status| connect::refused(coordinator, &status))?
        .into_inner()
        .tokens;
    if args.json {
        for token in tokens {
            output::json(&json!({"id": token.id, "roles": token.roles,
                "created": token.created, "created_by": token.created_by,
                "expires": token.expires, "revoked": token.revoked}))?;
        }
        return Ok(Verdict::Done);
    }
    let mut table = Table::new(&["TOKEN", "ROLES", "CREATED", "BY", "RUNS OUT", "REVOKED"]);
    for token in tokens {
        table.row([
            token.id,
            token.roles.join(", "),
            output::time(token.created),
            token.created_by,
            output::time(token.expires),
            output::time(token.revoked),
        ]);
    }
    output::line(table.render())?;
    Ok(Verdict::Done)
}

async fn revoke(args: TokenRevokeArgs) -> Result<Verdict, Failure> {
    let coordinator = &args.coordinator.coordinator;
    TokensClient::new(connect::connection(coordinator)?)
        .revoke(v1::RevokeTokenRequest {
            id: args.id.clone(),
        })
        .await
        .map_err(|status| connect::refused(coordinator, &status))?;
    output::line(format!("token {} is revoked", args.id))?;
    Ok(Verdict::Done)
}
