//! The callers that a bearer token stands for.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use tokio::sync::Semaphore;

use super::attempts::{Attempts, Taken};
use super::figures::Figures;
use super::jwt::{Access, BadToken, Refresh, Signer, Use};
use super::logins::Last;
use super::password::PasswordHash;
use super::role::{Accounts, Caller, Role};
use super::secret::{self, Secret};
use super::users::{self, SERVICE, User, Users};
use crate::http::rates::Allowance;
use crate::limits::{ACCESS_TOKEN_S, LOGINS_AT_ONCE, MAX_SUBJECT_BYTES, MIN_TOKEN_BYTES};
use crate::wall;

/// Two tokens for a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// For calls.
    pub access: String,
    /// For the next two.
    pub refresh: String,
    /// For how long the second is good, in seconds.
    pub refresh_s: u64,
}

/// Everything that authentication needs.
#[derive(Debug)]
pub struct Auth {
    service_token: Secret,
    service: Caller,
    admin_token: Secret,
    signer: Signer,
    /// Who may log in.
    users: RwLock<Arc<Users>>,
    /// Where they come from.
    sources: Sources,
    /// Wrong passwords.
    attempts: Attempts,
    /// Passwords being checked.
    pub passwords: Arc<Semaphore>,
    /// Counters.
    pub figures: Figures,
}

/// Where users come from.
#[derive(Debug)]
struct Sources {
    /// The one of the environment.
    user: Option<User>,
    /// Further ones.
    file: Option<PathBuf>,
}

impl Sources {
    fn users(&self) -> anyhow::Result<Users> {
        let further = self.file.as_deref().map(users::read).transpose()?.unwrap_or_default();
        Users::new(self.user.iter().cloned().chain(further).collect())
    }
}

impl Auth {
    /// Reads the secrets through `var`, each from its variable or from a file: `PAYMENTS_TOKEN` and
    /// `PAYMENTS_ADMIN_TOKEN` are needed, `PAYMENTS_USER` comes with `PAYMENTS_PASSWORD`; `PAYMENTS_USERS_FILE` names further
    /// users. `PAYMENTS_JWT_KEY` is random when absent: logins then end with the process. A name may have as many wrong
    /// passwords as `wrong_passwords` says.
    ///
    /// # Errors
    /// When one that is needed is missing or too weak, with what to do about it.
    pub fn from_env(
        var: impl Fn(&str) -> Option<String>,
        wrong_passwords: Allowance,
    ) -> anyhow::Result<Self> {
        let token = |name: &str| -> anyhow::Result<Secret> {
            let text = secret::variable(name, &var)?.with_context(|| {
                format!("{name} is not set: give the service a bearer token of {MIN_TOKEN_BYTES} characters or more")
            })?;
            strong(name, text)
        };
        let signer = match secret::variable("PAYMENTS_JWT_KEY", &var)? {
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
        let sources = Sources { user: user(&var)?, file: var("PAYMENTS_USERS_FILE").map(PathBuf::from) };
        Ok(Self {
            service_token: token("PAYMENTS_TOKEN")?,
            service: Caller::new(SERVICE, Role::Service, Accounts::All),
            admin_token: token("PAYMENTS_ADMIN_TOKEN")?,
            signer,
            users: RwLock::new(Arc::new(sources.users()?)),
            sources,
            attempts: Attempts::new(wrong_passwords),
            passwords: Arc::new(Semaphore::new(LOGINS_AT_ONCE)),
            figures: Figures::default(),
        })
    }

    /// Whether the users come from a file, which can be read again.
    #[must_use]
    pub fn has_file(&self) -> bool {
        self.sources.file.is_some()
    }

    /// Reads the users' file again. Whoever is no longer in it is out at once, tokens or not.
    ///
    /// # Errors
    /// When it makes no sense. Then everything stays as it is.
    pub fn reload(&self) -> anyhow::Result<()> {
        let users = Arc::new(self.sources.users()?);
        *self.users.write().unwrap_or_else(PoisonError::into_inner) = users;
        Ok(())
    }

    /// Who may log in.
    #[must_use]
    pub fn users(&self) -> Arc<Users> {
        Arc::clone(&self.users.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts a wrong password of `name`, until it is found to be right.
    ///
    /// # Errors
    /// How long it will be until another may be tried.
    pub fn try_password(&self, name: &str) -> Result<Taken<'_>, Duration> {
        self.attempts.take(name)
    }

    /// The caller with this `Authorization` header, if any.
    #[must_use]
    pub fn caller(&self, authorization: Option<&[u8]>) -> Option<Caller> {
        let token = bearer(authorization?)?;
        if self.service_token.is(token) {
            return Some(self.service.clone());
        }
        let token = std::str::from_utf8(token).ok()?;
        let Access { sub, role, .. } = self.signer.verify(token, now_s()).ok()?;
        let users = self.users.read().unwrap_or_else(PoisonError::into_inner);
        users.get(&sub).filter(|caller| caller.role() == role).cloned()
    }

    /// Whether this `Authorization` header is the administrator's.
    #[must_use]
    pub fn is_admin(&self, authorization: Option<&[u8]>) -> bool {
        shows(authorization, &self.admin_token)
    }

    /// Tokens for `caller`, the second of which is the `last` of a login.
    #[must_use]
    pub fn tokens(&self, caller: &Caller, last: Last) -> Tokens {
        let iat = now_s();
        let sub = || caller.name().to_owned();
        let access =
            Access { sub: sub(), purpose: Use::Access, role: caller.role(), iat, exp: iat + ACCESS_TOKEN_S };
        let refresh = Refresh {
            sub: sub(),
            purpose: Use::Refresh,
            login: last.id,
            nth: last.nth,
            iat,
            exp: last.ends_s,
        };
        Tokens {
            access: self.signer.sign(&access),
            refresh: self.signer.sign(&refresh),
            refresh_s: last.ends_s.saturating_sub(iat),
        }
    }

    /// What a refresh token says, and whose it is.
    ///
    /// # Errors
    /// When it is not one, is over, or its user is no longer known.
    pub fn refresh(&self, token: &str) -> Result<(Caller, Refresh), BadToken> {
        let refresh: Refresh = self.signer.verify(token, now_s())?;
        let caller = self.users().get(&refresh.sub).cloned().ok_or(BadToken)?;
        Ok((caller, refresh))
    }
}

/// The user of the environment, if there is one: a customer with all accounts when nothing else is said.
fn user(var: &impl Fn(&str) -> Option<String>) -> anyhow::Result<Option<User>> {
    let (name, password) = match (var("PAYMENTS_USER"), secret::variable("PAYMENTS_PASSWORD", var)?) {
        (Some(name), Some(password)) => (name, Secret::new(password)),
        (None, None) => return Ok(None),
        _ => bail!("PAYMENTS_USER and PAYMENTS_PASSWORD come together or not at all"),
    };
    ensure!(
        users::is_name(&name),
        "PAYMENTS_USER is 1 to {MAX_SUBJECT_BYTES} visible ASCII characters and not `{SERVICE}`, the caller behind \
         PAYMENTS_TOKEN"
    );
    ensure!(!password.expose().is_empty(), "PAYMENTS_PASSWORD is empty");
    let role = var("PAYMENTS_USER_ROLE").map_or(Some(Role::Customer), |text| users::user_role(&text));
    let role = role.context("PAYMENTS_USER_ROLE is neither `customer` nor `operator`")?;
    let accounts = var("PAYMENTS_USER_ACCOUNTS").map_or(Ok(Accounts::All), |text| Accounts::parse(&text));
    let accounts = accounts.context("PAYMENTS_USER_ACCOUNTS makes no sense")?;
    Ok(Some(User { caller: Caller::new(&name, role, accounts), hash: PasswordHash::of(password.expose())? }))
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

/// Now, in seconds since the Unix epoch.
pub fn now_s() -> u64 {
    wall::now_ms() / 1000
}

#[cfg(test)]
mod tests {
    use super::super::logins::LoginId;
    use super::*;

    fn auth(extra: &[(&str, &str)]) -> anyhow::Result<Auth> {
        let mut vars =
            vec![("PAYMENTS_TOKEN", "0123456789abcdef"), ("PAYMENTS_ADMIN_TOKEN", "fedcba9876543210")];
        vars.extend(extra);
        // The last one counts; an empty one is one that is not set.
        let vars: std::collections::HashMap<_, _> = vars.into_iter().collect();
        let var = |name: &str| vars.get(name).filter(|v| !v.is_empty()).map(|v| (*v).to_owned());
        Auth::from_env(var, "10/h".parse()?)
    }

    const ANN: [(&str, &str); 2] = [("PAYMENTS_USER", "ann"), ("PAYMENTS_PASSWORD", "hunter2")];

    fn tokens(auth: &Auth) -> Tokens {
        let caller = auth.users().get("ann").unwrap().clone();
        auth.tokens(&caller, Last { id: LoginId(1), nth: 1, ends_s: now_s() + 100 })
    }

    #[test]
    fn the_service_token_and_access_tokens_call_and_nothing_else_does() {
        let auth = auth(&ANN).unwrap();
        let caller =
            |header: &str| auth.caller(Some(header.as_bytes())).map(|c| (c.name().to_owned(), c.role()));
        assert_eq!(caller("Bearer 0123456789abcdef"), Some(("service".to_owned(), Role::Service)));
        assert_eq!(caller("bearer  0123456789abcdef"), Some(("service".to_owned(), Role::Service)));
        let tokens = tokens(&auth);
        assert_eq!(caller(&format!("Bearer {}", tokens.access)), Some(("ann".to_owned(), Role::Customer)));
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
                && !auth.is_admin(Some(format!("Bearer {}", tokens.access).as_bytes()))
                && !auth.is_admin(None)
        );
        assert!(auth.refresh(&tokens.refresh).is_ok() && auth.refresh(&tokens.access).is_err());
    }

    #[test]
    fn a_token_of_somebody_who_is_out_or_has_another_role_calls_no_more() {
        const KEY: (&str, &str) = ("PAYMENTS_JWT_KEY", "0123456789abcdef0123456789abcdef");
        let extra = |more: &[(&'static str, &'static str)]| [&ANN[..], &[KEY], more].concat();
        let tokens = tokens(&auth(&extra(&[])).unwrap());
        let header = format!("Bearer {}", tokens.access);
        let good = |extra: &[(&str, &str)]| {
            let auth = auth(extra).unwrap();
            (auth.caller(Some(header.as_bytes())).is_some(), auth.refresh(&tokens.refresh).is_ok())
        };
        assert_eq!(good(&extra(&[])), (true, true), "another process with the same key");
        assert_eq!(good(&extra(&[("PAYMENTS_USER_ROLE", "operator")])), (false, true));
        assert_eq!(good(&extra(&[("PAYMENTS_USER", "bob")])), (false, false));
        assert_eq!(good(&ANN), (false, false), "a key of its own");
    }

    #[test]
    fn a_missing_or_weak_secret_is_named() {
        let fails = |extra: &[(&str, &str)], with: &str| {
            let got = format!("{:#}", auth(extra).unwrap_err());
            assert!(got.contains(with), "{got}");
        };
        fails(&[("PAYMENTS_TOKEN", "")], "PAYMENTS_TOKEN is not set");
        fails(&[("PAYMENTS_TOKEN_FILE", "/x")], "PAYMENTS_TOKEN and PAYMENTS_TOKEN_FILE are both set");
        fails(&[("PAYMENTS_ADMIN_TOKEN", "short")], "PAYMENTS_ADMIN_TOKEN needs");
        fails(&[("PAYMENTS_USER", "ann")], "come together");
        fails(&[("PAYMENTS_USER", "service"), ("PAYMENTS_PASSWORD", "x")], "not `service`");
        fails(&[ANN[0], ANN[1], ("PAYMENTS_USER_ROLE", "service")], "PAYMENTS_USER_ROLE is neither");
        fails(&[ANN[0], ANN[1], ("PAYMENTS_USER_ACCOUNTS", "acc_1")], "`acc_1` is neither an account");
        fails(&[("PAYMENTS_USERS_FILE", "/nowhere")], "/nowhere");
        fails(&[("PAYMENTS_JWT_KEY", "short")], "32 characters");
    }

    #[test]
    fn nothing_secret_shows() {
        let shown = format!("{:?}", auth(&ANN).unwrap());
        assert!(
            !shown.contains("0123456789") && !shown.contains("fedcba") && !shown.contains("hunter2"),
            "{shown}"
        );
    }
}
