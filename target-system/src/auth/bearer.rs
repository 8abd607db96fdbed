//! The callers that a bearer token stands for.

use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use squall_record::clock;
use tokio::sync::Semaphore;

use super::jwt::{BadToken, Claims, Signer, Use};
use super::password::User;
use super::secret::Secret;
use crate::limits::{ACCESS_TOKEN_S, LOGINS_AT_ONCE, MAX_SUBJECT_BYTES, MIN_TOKEN_BYTES, REFRESH_TOKEN_S};

/// The caller behind the service token.
const SERVICE: &str = "service";

/// Who is calling; the owner of their idempotency keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller(pub Arc<str>);

/// Two tokens for a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// For calls.
    pub access: String,
    /// For the next access token.
    pub refresh: String,
}

/// Everything that authentication needs.
#[derive(Debug)]
pub struct Auth {
    service_token: Secret,
    service: Caller,
    admin_token: Secret,
    signer: Signer,
    /// Who may log in, when anybody may.
    pub user: Option<Arc<User>>,
    /// Passwords being checked.
    pub logins: Arc<Semaphore>,
}

impl Auth {
    /// Reads the secrets through `var`: `PAYMENTS_TOKEN` and `PAYMENTS_ADMIN_TOKEN` are needed,
    /// `PAYMENTS_USER` comes with `PAYMENTS_PASSWORD`. `PAYMENTS_JWT_KEY` is random when absent:
    /// logins then end with the process.
    ///
    /// # Errors
    /// When one that is needed is missing or too weak, with what to do about it.
    pub fn from_env(var: impl Fn(&str) -> Option<String>) -> anyhow::Result<Self> {
        let token = |name: &str| -> anyhow::Result<Secret> {
            let text = var(name).with_context(|| {
                format!("{name} is not set: give the service a bearer token of {MIN_TOKEN_BYTES} characters or more")
            })?;
            strong(name, text)
        };
        let user = match (var("PAYMENTS_USER"), var("PAYMENTS_PASSWORD")) {
            (Some(name), Some(password)) => {
                ensure!(
                    (1..=MAX_SUBJECT_BYTES).contains(&name.len())
                        && name.bytes().all(|b| b.is_ascii_graphic()),
                    "PAYMENTS_USER is 1 to {MAX_SUBJECT_BYTES} visible ASCII characters"
                );
                ensure!(
                    name != SERVICE,
                    "PAYMENTS_USER cannot be `{SERVICE}`: that is the caller behind PAYMENTS_TOKEN"
                );
                ensure!(!password.is_empty(), "PAYMENTS_PASSWORD is empty");
                Some(Arc::new(User::new(name, &Secret::new(password))?))
            }
            (None, None) => None,
            _ => bail!("PAYMENTS_USER and PAYMENTS_PASSWORD come together or not at all"),
        };
        let signer = match var("PAYMENTS_JWT_KEY") {
            Some(key) => {
                ensure!(key.len() >= 32, "PAYMENTS_JWT_KEY needs 32 characters or more");
                Signer::new(key.as_bytes())
            }
            None => {
                let mut key = [0; 32];
                getrandom::fill(&mut key)?;
                Signer::new(&key)
            }
        };
        Ok(Self {
            service_token: token("PAYMENTS_TOKEN")?,
            service: Caller(SERVICE.into()),
            admin_token: token("PAYMENTS_ADMIN_TOKEN")?,
            signer,
            user,
            logins: Arc::new(Semaphore::new(LOGINS_AT_ONCE)),
        })
    }

    /// The caller with this `Authorization` header, if any.
    #[must_use]
    pub fn caller(&self, authorization: Option<&[u8]>) -> Option<Caller> {
        let token = bearer(authorization?)?;
        if self.service_token.is(token) {
            return Some(self.service.clone());
        }
        let token = std::str::from_utf8(token).ok()?;
        let claims = self.signer.verify(token, Use::Access, now_s()).ok()?;
        Some(Caller(claims.sub.into()))
    }

    /// Whether this `Authorization` header is the administrator's.
    #[must_use]
    pub fn is_admin(&self, authorization: Option<&[u8]>) -> bool {
        shows(authorization, &self.admin_token)
    }

    /// Tokens for the user called `name`, who has shown the password.
    #[must_use]
    pub fn tokens(&self, name: &str) -> Tokens {
        Tokens {
            access: self.token(name, Use::Access, ACCESS_TOKEN_S),
            refresh: self.token(name, Use::Refresh, REFRESH_TOKEN_S),
        }
    }

    /// A new access token for the holder of a refresh token.
    ///
    /// # Errors
    /// When the refresh token is not one, or is over.
    pub fn refresh(&self, refresh_token: &str) -> Result<String, BadToken> {
        let claims = self.signer.verify(refresh_token, Use::Refresh, now_s())?;
        Ok(self.token(&claims.sub, Use::Access, ACCESS_TOKEN_S))
    }

    fn token(&self, name: &str, purpose: Use, valid_s: u64) -> String {
        let iat = now_s();
        self.signer.sign(&Claims { sub: name.to_owned(), purpose, iat, exp: iat + valid_s })
    }
}

/// `text` as a token, which the variable `name` holds.
///
/// # Errors
/// When it is too short, or no header can hold it.
pub fn strong(name: &str, text: String) -> anyhow::Result<Secret> {
    ensure!(
        text.len() >= MIN_TOKEN_BYTES && text.bytes().all(|b| b.is_ascii_graphic()),
        "{name} needs {MIN_TOKEN_BYTES} or more visible ASCII characters"
    );
    Ok(Secret::new(text))
}

/// Whether this `Authorization` header shows `token`.
#[must_use]
pub fn shows(authorization: Option<&[u8]>, token: &Secret) -> bool {
    authorization.and_then(bearer).is_some_and(|shown| token.is(shown))
}

/// The token in `Bearer <token>` (RFC 6750; the scheme's case does not matter, RFC 9110, 11.1).
fn bearer(authorization: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = authorization.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

fn now_s() -> u64 {
    clock::unix_ms(clock::wall_now()) / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auth(extra: &[(&str, &str)]) -> anyhow::Result<Auth> {
        let mut vars =
            vec![("PAYMENTS_TOKEN", "0123456789abcdef"), ("PAYMENTS_ADMIN_TOKEN", "fedcba9876543210")];
        vars.extend(extra);
        // The last one counts; an empty one is one that is not set.
        let vars: std::collections::HashMap<_, _> = vars.into_iter().collect();
        Auth::from_env(|name| vars.get(name).filter(|v| !v.is_empty()).map(|v| (*v).to_owned()))
    }

    #[test]
    fn the_service_token_and_access_tokens_call_and_nothing_else_does() {
        let auth = auth(&[]).unwrap();
        let caller = |header: &str| auth.caller(Some(header.as_bytes())).map(|c| c.0.to_string());
        assert_eq!(caller("Bearer 0123456789abcdef").as_deref(), Some("service"));
        assert_eq!(caller("bearer  0123456789abcdef").as_deref(), Some("service"));
        let tokens = auth.tokens("ann");
        assert_eq!(caller(&format!("Bearer {}", tokens.access)).as_deref(), Some("ann"));
        assert_eq!(caller(&format!("Bearer {}", tokens.refresh)), None);
        for bad in
            ["", "Bearer", "Bearer ", "Basic 0123456789abcdef", "Bearer fedcba9876543210", "0123456789abcdef"]
        {
            assert_eq!(caller(bad), None, "{bad}");
        }
        assert!(auth.caller(None).is_none());
        assert!(
            auth.is_admin(Some(b"Bearer fedcba9876543210"))
                && !auth.is_admin(Some(b"Bearer 0123456789abcdef"))
        );
    }

    #[test]
    fn a_refresh_token_gives_another_access_token() {
        let auth = auth(&[]).unwrap();
        let tokens = auth.tokens("ann");
        let access = auth.refresh(&tokens.refresh).unwrap();
        assert_eq!(auth.caller(Some(format!("Bearer {access}").as_bytes())), Some(Caller("ann".into())));
        assert_eq!(auth.refresh(&tokens.access), Err(BadToken));
    }

    #[test]
    fn a_missing_or_weak_secret_is_named() {
        let fails = |extra: &[(&str, &str)], with: &str| {
            let got = auth(extra).unwrap_err().to_string();
            assert!(got.contains(with), "{got}");
        };
        fails(&[("PAYMENTS_TOKEN", "")], "PAYMENTS_TOKEN is not set");
        fails(&[("PAYMENTS_ADMIN_TOKEN", "short")], "PAYMENTS_ADMIN_TOKEN needs");
        fails(&[("PAYMENTS_USER", "ann")], "come together");
        fails(&[("PAYMENTS_USER", "service"), ("PAYMENTS_PASSWORD", "x")], "cannot be `service`");
        fails(&[("PAYMENTS_JWT_KEY", "short")], "32 characters");
    }

    #[test]
    fn nothing_secret_shows() {
        let auth = auth(&[("PAYMENTS_USER", "ann"), ("PAYMENTS_PASSWORD", "hunter2")]).unwrap();
        let shown = format!("{auth:?}");
        assert!(
            !shown.contains("0123456789") && !shown.contains("fedcba") && !shown.contains("hunter2"),
            "{shown}"
        );
    }
}
