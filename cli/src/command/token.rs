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
    let name = args.name.unwrap_or_default();
    let made = TokensClient::new(connect::connection(coordinator)?)
        .create(v1::CreateTokenRequest {
            roles: args.roles.clone(),
            ttl_seconds: args.ttl.map_or(0, |ttl| ttl.as_secs()),
            name: name.clone(),
        })
        .await
        .map_err(|status| connect::refused(coordinator, &status))?
        .into_inner();
    if args.json {
        output::json(&json!({"id": made.id, "name": name, "token": made.token,
            "roles": args.roles, "expires": made.expires}))?;
    } else {
        // The token alone on standard output, so that it can be piped into a vault.
        output::line(made.token)?;
        output::note(format!(
            "token {} for {}; it is not shown again{}",
            called(&name, &made.id),
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
    let tokens = all(coordinator).await?;
    if args.json {
        for token in tokens {
            output::json(
                &json!({"id": token.id, "name": token.name, "roles": token.roles,
                "created": token.created, "created_by": token.created_by,
                "expires": token.expires, "revoked": token.revoked}),
            )?;
        }
        return Ok(Verdict::Done);
    }
    let mut table = Table::new(&[
        "TOKEN", "NAME", "ROLES", "CREATED", "BY", "RUNS OUT", "REVOKED",
    ]);
    for token in tokens {
        table.row([
            token.id,
            token.name,
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

/// All tokens; they come in pages.
async fn all(coordinator: &str) -> Result<Vec<v1::Token>, Failure> {
    let mut client = TokensClient::new(connect::connection(coordinator)?);
    let (mut tokens, mut after) = (Vec::new(), String::new());
    loop {
        let answer = client
            .list(v1::ListTokensRequest { after })
            .await
            .map_err(|status| connect::refused(coordinator, &status))?
            .into_inner();
        tokens.extend(answer.tokens);
        after = answer.next;
        if after.is_empty() {
            return Ok(tokens);
        }
    }
}

async fn revoke(args: TokenRevokeArgs) -> Result<Verdict, Failure> {
    let coordinator = &args.coordinator.coordinator;
    let ids = TokensClient::new(connect::connection(coordinator)?)
        .revoke(v1::RevokeTokenRequest {
            id: args.id.clone(),
        })
        .await
        .map_err(|status| connect::refused(coordinator, &status))?
        .into_inner()
        .ids;
    if args.json {
        output::json(&json!({"revoked": ids}))?;
        return Ok(Verdict::Done);
    }
    match ids.as_slice() {
        [] => output::line(format!("token {} was revoked before", args.id))?,
        [id] => output::line(format!("token {} is revoked", called_as(&args.id, id)))?,
        ids => output::line(format!(
            "tokens called {} are revoked: {}",
            args.id,
            ids.join(", ")
        ))?,
    }
    Ok(Verdict::Done)
}

/// A token as people know it.
fn called(name: &str, id: &str) -> String {
    match name {
        "" => id.to_owned(),
        name => format!("{name} ({id})"),
    }
}

/// The same, where the name may be the id.
fn called_as(name: &str, id: &str) -> String {
    called(if name == id { "" } else { name }, id)
}
