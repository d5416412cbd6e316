//! API tokens for people and automation: `lft_<id>_<secret>`.
//!
//! The secret is 128 random bits, so its plain SHA-256 is enough to store: it
//! cannot be guessed, and the hash says nothing of it. It is shown once, when it
//! is made, and never logged.

use std::collections::BTreeMap;
use std::fmt;
use std::hint::black_box;
use std::str::FromStr;
use std::sync::{Arc, PoisonError, RwLock};

use landfall_catalog::Digest;
use landfall_proto::status::{Classify, Fault};
use landfall_runtime::clock::Clock;

use crate::state::tokens::{self as rows, TokenRow};
use crate::state::{State, StateError};

/// Tokens that there may be, revoked ones included.
const MAX_TOKENS: usize = 10_000;
/// Roles that one token may have.
const MAX_ROLES: usize = 100;
/// Longest name of a project in a role.
const MAX_PROJECT_BYTES: usize = 200;
/// Longest name of a token.
const MAX_NAME_BYTES: usize = 64;
/// Digits of an id.
const ID_DIGITS: usize = 8;

/// What a token is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// Everything.
    Admin,
    /// Reading.
    View,
    /// Reading, and promoting and withdrawing what is this project's.
    Promote(String),
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Admin => f.write_str("admin"),
            Self::View => f.write_str("view"),
            Self::Promote(project) => write!(f, "promote:{project}"),
        }
    }
}

impl FromStr for Role {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        match (text, text.strip_prefix("promote:")) {
            ("admin", _) => Ok(Self::Admin),
            ("view", _) => Ok(Self::View),
            (_, Some(project)) if is_project(project) => Ok(Self::Promote(project.to_owned())),
            _ => Err(TokenError::Role(text.to_owned())),
        }
    }
}

/// A folder's name, as projects have them.
fn is_project(name: &str) -> bool {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !name.is_empty() && name.len() <= MAX_PROJECT_BYTES && name.bytes().all(is_good)
}

/// What people may call a token. Never what could be an id.
fn is_name(name: &str) -> bool {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let is_hex = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f');
    name.len() <= MAX_NAME_BYTES
        && name.bytes().all(is_good)
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && !(name.len() == ID_DIGITS && name.bytes().all(is_hex))
}

/// Why a token was not made or revoked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    /// The state failed.
    #[error("the tokens' state failed")]
    State(#[from] StateError),
    /// Not a role.
    #[error("\"{0}\" is not a role: admin, view or promote:<project>")]
    Role(String),
    /// A token is for something.
    #[error("a token has 1 to {MAX_ROLES} roles")]
    Roles,
    /// There are too many.
    #[error("there are {MAX_TOKENS} tokens already")]
    Full,
    /// Not a name for a token.
    #[error(
        "\"{0}\" is not a name for a token: 1 to {MAX_NAME_BYTES} letters, digits, '.', '_' and '-', the first a letter or a digit, and not {ID_DIGITS} hexadecimal digits, as ids are"
    )]
    Name(String),
    /// Another one that is valid has the name.
    #[error("token {id} is called {name} already: revoke it first, or choose another name")]
    Taken {
        /// The name.
        name: String,
        /// Who has it.
        id: String,
    },
    /// There is none of that id or name.
    #[error("there is no token {0}")]
    Unknown(String),
}

impl Classify for TokenError {
    fn fault(&self) -> Fault {
        match self {
            Self::State(error) => error.fault(),
            Self::Role(_) | Self::Roles | Self::Name(_) => Fault::InvalidInput,
            Self::Taken { .. } => Fault::Conflict,
            Self::Full => Fault::Exhausted,
            Self::Unknown(_) => Fault::NotFound,
        }
    }
}

/// A token that was just made. Not printable by accident.
pub(crate) struct NewToken {
    pub(crate) id: String,
    /// All of it; there is no way to see it again.
    pub(crate) token: String,
    /// POSIX seconds; none: never.
    pub(crate) expires: Option<u64>,
}

/// What a valid token says of who has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bearer {
    /// The token's public half.
    pub(crate) id: String,
    /// What people call the token; may be empty.
    pub(crate) name: String,
    pub(crate) roles: Vec<Role>,
}

impl fmt::Display for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name.as_str() {
            "" => write!(f, "token {}", self.id),
            name => write!(f, "token {name} ({})", self.id),
        }
    }
}

/// All tokens; cheap to clone. The memory is what is asked; the database is
/// written first.
#[derive(Clone)]
pub(crate) struct Tokens {
    state: State,
    clock: Arc<dyn Clock>,
    creating: Arc<tokio::sync::Mutex<()>>,
    held: Arc<RwLock<BTreeMap<String, TokenRow>>>,
}

impl Tokens {
    pub(crate) async fn load(state: State, clock: Arc<dyn Clock>) -> Result<Self, StateError> {
        let rows = state.read("read tokens", rows::all).await?;
        let held = rows.into_iter().map(|row| (row.id.clone(), row)).collect();
        Ok(Self {
            state,
            clock,
            creating: Arc::default(),
            held: Arc::new(RwLock::new(held)),
        })
    }

    /// Makes a token that is valid for `ttl` seconds; for ever without. `name` may
    /// be empty.
    pub(crate) async fn create(
        &self,
        name: &str,
        roles: &[Role],
        ttl: Option<u64>,
        who: String,
    ) -> Result<NewToken, TokenError> {
        if roles.is_empty() || roles.len() > MAX_ROLES {
            return Err(TokenError::Roles);
        }
        if !name.is_empty() && !is_name(name) {
            return Err(TokenError::Name(name.to_owned()));
        }
        // One at a time, so that none is made between the look and the write.
        let _creating = self.creating.lock().await;
        if self.read(BTreeMap::len) >= MAX_TOKENS {
            return Err(TokenError::Full);
        }
        let created = self.clock.unix_seconds();
        if let Some(id) = self.valid_of(name, created) {
            let name = name.to_owned();
            return Err(TokenError::Taken { name, id });
        }
        let id = format!("{:0ID_DIGITS$x}", rand::random::<u32>());
        let secret = format!("{:032x}", rand::random::<u128>());
        let words: Vec<_> = roles.iter().map(Role::to_string).collect();
        let row = TokenRow {
            id: id.clone(),
            name: name.to_owned(),
            secret_hash: Digest::of(secret.as_bytes()),
            roles: words.join(" "),
            created,
            created_by: who,
            expires: ttl.map(|ttl| created.saturating_add(ttl)),
            revoked: None,
        };
        let stored = row.clone();
        self.state
            .write("store a token", move |tx| rows::insert(tx, &stored))
            .await?;
        let expires = row.expires;
        tracing::info!(token = id, name, roles = row.roles, "token created");
        self.change(|held| held.insert(id.clone(), row));
        let token = format!("lft_{id}_{secret}");
        Ok(NewToken { id, token, expires })
    }

    /// All tokens, without their secrets, oldest first.
    pub(crate) fn list(&self) -> Vec<TokenRow> {
        let mut list: Vec<_> = self.read(|held| held.values().cloned().collect());
        list.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
        list
    }

    /// Revokes the token of that id, or all of that name, at once and for good;
    /// gives the ids of those that were not revoked before.
    pub(crate) async fn revoke(&self, id_or_name: &str) -> Result<Vec<String>, TokenError> {
        let is_meant = |row: &&TokenRow| row.id == id_or_name || row.name == id_or_name;
        let meant: Vec<TokenRow> = match id_or_name {
            "" => Vec::new(),
            _ => self.read(|held| held.values().filter(is_meant).cloned().collect()),
        };
        if meant.is_empty() {
            return Err(TokenError::Unknown(id_or_name.to_owned()));
        }
        let standing = meant.into_iter().filter(|row| row.revoked.is_none());
        let ids: Vec<String> = standing.map(|row| row.id).collect();
        let now = self.clock.unix_seconds();
        let revoked = ids.clone();
        self.state
            .write("revoke tokens", move |tx| rows::revoke(tx, &revoked, now))
            .await?;
        self.change(|held| {
            for id in &ids {
                if let Some(row) = held.get_mut(id) {
                    row.revoked.get_or_insert(now);
                }
            }
        });
        for id in &ids {
            tracing::info!(token = id, "token revoked");
        }
        Ok(ids)
    }

    /// The token of that name that may be used now. Names are given again when
    /// theirs is revoked or has run out.
    fn valid_of(&self, name: &str, now: u64) -> Option<String> {
        let has_it = |row: &&TokenRow| {
            let is_valid = row.revoked.is_none() && row.expires.is_none_or(|expires| now < expires);
            !name.is_empty() && row.name == name && is_valid
        };
        self.read(|held| held.values().find(has_it).map(|row| row.id.clone()))
    }

    /// Id, name and roles of a token that is presented, if it is valid now.
    pub(crate) fn find(&self, presented: &str) -> Option<Bearer> {
        let (id, secret) = halves(presented)?;
        let row = self.read(|held| held.get(id).cloned())?;
        let is_valid = is_same(&Digest::of(secret.as_bytes()), &row.secret_hash)
            && row.revoked.is_none()
            && row
                .expires
                .is_none_or(|expires| self.clock.unix_seconds() < expires);
        let roles = row.roles.split(' ').filter_map(|role| role.parse().ok());
        is_valid.then(|| Bearer {
            roles: roles.collect(),
            id: row.id,
            name: row.name,
        })
    }

    fn read<T>(&self, look: impl FnOnce(&BTreeMap<String, TokenRow>) -> T) -> T {
        look(&self.held.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change<T>(&self, change: impl FnOnce(&mut BTreeMap<String, TokenRow>) -> T) {
        change(&mut self.held.write().unwrap_or_else(PoisonError::into_inner));
    }
}

/// The public and the secret half of a token.
pub(crate) fn halves(presented: &str) -> Option<(&str, &str)> {
    presented.strip_prefix("lft_")?.split_once('_')
}

/// Compares in a time that does not depend on where the two differ.
fn is_same(a: &Digest, b: &Digest) -> bool {
    let pairs = a.as_bytes().iter().zip(b.as_bytes());
    black_box(pairs.fold(0, |differing, (a, b)| differing | (a ^ b))) == 0
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::state::tests::scratch;
    use landfall_runtime::clock::ManualClock;
    use std::time::Duration;

    /// Tokens with these roles, and what their holders have.
    pub(crate) async fn with(roles: &[Vec<Role>]) -> (tempfile::TempDir, Tokens, Vec<String>) {
        let (folder, state, _thread) = scratch();
        let clock = Arc::new(ManualClock::new(1000));
        let tokens = Tokens::load(state, clock).await.unwrap();
        let mut secrets = Vec::new();
        for roles in roles {
            let made = tokens.create("", roles, None, "test".into()).await.unwrap();
            secrets.push(made.token);
        }
        (folder, tokens, secrets)
    }

    #[tokio::test]
    async fn a_token_ends_with_its_time_or_its_revocation_and_survives_a_restart() {
        let (_folder, state, _thread) = scratch();
        let clock = Arc::new(ManualClock::new(1000));
        let tokens = Tokens::load(state.clone(), clock.clone()).await.unwrap();
        let roles = [Role::View, Role::Promote("kops".into())];
        let short = tokens
            .create("", &roles, Some(60), "t".into())
            .await
            .unwrap();
        let long = tokens.create("", &roles, None, "t".into()).await.unwrap();
        assert_eq!(tokens.find(&short.token).unwrap().roles, roles);
        clock.advance(Duration::from_secs(59));
        assert!(tokens.find(&short.token).is_some());
        clock.advance(Duration::from_secs(1));
        assert!(tokens.find(&short.token).is_none());

        let again = Tokens::load(state.clone(), clock.clone()).await.unwrap();
        assert!(again.find(&long.token).is_some() && again.find(&short.token).is_none());
        tokens.revoke(&long.id).await.unwrap();
        assert!(tokens.find(&long.token).is_none());
        let again = Tokens::load(state, clock).await.unwrap();
        assert!(again.find(&long.token).is_none());
        assert_eq!(again.list().len(), 2);
        let unknown = again.revoke("nothing").await;
        assert!(matches!(unknown, Err(TokenError::Unknown(_))));
    }

    #[tokio::test]
    async fn a_name_is_one_valid_tokens_and_revokes_all_that_had_it() {
        let (_folder, state, _thread) = scratch();
        let clock = Arc::new(ManualClock::new(1000));
        let tokens = Tokens::load(state.clone(), clock.clone()).await.unwrap();
        let create = async |ttl| {
            tokens
                .create("ci-release", &[Role::View], ttl, "t".into())
                .await
        };
        let first = create(Some(60)).await.unwrap();
        let who = tokens.find(&first.token).unwrap().to_string();
        assert_eq!(who, format!("token ci-release ({})", first.id));
        let taken = create(None).await.map(drop).unwrap_err();
        assert!(matches!(&taken, TokenError::Taken { id, .. } if *id == first.id));
        clock.advance(Duration::from_secs(60));
        let second = create(None).await.unwrap();
        let mut revoked = tokens.revoke("ci-release").await.unwrap();
        revoked.sort();
        let mut both = [first.id, second.id];
        both.sort();
        assert_eq!(revoked, both, "also one that ran out");
        assert!(tokens.find(&second.token).is_none());
        let again = Tokens::load(state, clock).await.unwrap();
        assert_eq!(again.revoke("ci-release").await.unwrap(), [""; 0]);
        assert!(again.list().iter().all(|row| row.name == "ci-release"));
        create(None).await.unwrap();
    }

    #[tokio::test]
    async fn names_that_could_be_ids_or_hide_something_are_refused() {
        let (_folder, tokens, _) = with(&[]).await;
        let long = "x".repeat(MAX_NAME_BYTES + 1);
        for bad in ["00ffab12", "-x", ".", "a b", "a\nb", "ä", "a(b)", &long] {
            let made = tokens.create(bad, &[Role::View], None, "t".into()).await;
            assert!(matches!(made, Err(TokenError::Name(_))), "{bad}");
        }
        // One without a name is not revoked as such.
        tokens
            .create("", &[Role::View], None, "t".into())
            .await
            .unwrap();
        let nothing = tokens.revoke("").await;
        assert!(matches!(nothing, Err(TokenError::Unknown(_))));
    }

    #[tokio::test]
    async fn no_part_of_the_database_holds_a_secret() {
        let (folder, tokens, secrets) = with(&[vec![Role::Admin]]).await;
        let secret = secrets[0].rsplit('_').next().unwrap().to_owned();
        let files = std::fs::read_dir(folder.path()).unwrap();
        let mut read = 0;
        for file in files {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            read += bytes.len();
            let found = bytes
                .windows(secret.len())
                .any(|part| part == secret.as_bytes());
            assert!(!found);
        }
        assert!(read > 0);
        assert_eq!(secret.len(), 32);
        assert!(!format!("{:?}", tokens.list()).contains(&secret));
    }

    #[test]
    fn roles_are_read_as_they_are_written() {
        for role in ["admin", "view", "promote:k8s-staging-kops"] {
            assert_eq!(role.parse::<Role>().unwrap().to_string(), role);
        }
        for bad in [
            "",
            "Admin",
            "promote",
            "promote:",
            "promote:a b",
            "promote:a/b",
            "root",
        ] {
            assert!(bad.parse::<Role>().is_err(), "{bad}");
        }
    }
}
