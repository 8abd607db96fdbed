//! Who may log in.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, anyhow, bail, ensure};
use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};
use serde::{Deserialize, de};

use super::password::{HashError, PasswordHash};
use super::role::{Accounts, Caller, Role};
use crate::limits::{MAX_SUBJECT_BYTES, MAX_USERS, MAX_USERS_FILE_BYTES};

/// The caller behind the service token, which no user is called.
pub const SERVICE: &str = "service";

/// Somebody with a password.
#[derive(Debug, Clone)]
pub struct User {
    /// Whom their tokens stand for.
    pub caller: Caller,
    /// Of the password.
    pub hash: PasswordHash,
}

/// Everybody who may log in.
#[derive(Debug)]
pub struct Users {
    list: Vec<User>,
    by_name: HashMap<Box<str>, usize>,
    secret: RandomState,
}

impl Users {
    /// All of `list`.
    ///
    /// # Errors
    /// When two have one name, or they are too many.
    pub fn new(list: Vec<User>) -> anyhow::Result<Self> {
        ensure!(list.len() <= MAX_USERS, "there are more than {MAX_USERS} users");
        let mut by_name = HashMap::new();
        for (at, user) in list.iter().enumerate() {
            let name = user.caller.name();
            ensure!(by_name.insert(name.into(), at).is_none(), "two users have the `name` `{name}`");
        }
        Ok(Self { list, by_name, secret: RandomState::new() })
    }

    /// The user called `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Caller> {
        self.by_name.get(name).map(|at| &self.list[*at].caller)
    }

    /// The user called `name`, if this is their password. For a name that nobody has it takes as long as for one of
    /// the users, for the same name always the same. Blocks.
    ///
    /// # Errors
    /// When there is no memory.
    pub fn check(&self, name: &str, password: &[u8]) -> Result<Option<Caller>, HashError> {
        if self.list.is_empty() {
            return Ok(None);
        }
        let known = self.by_name.get(name).copied();
        let somebody = (self.secret.hash_one(name) % self.list.len() as u64) as usize;
        let user = &self.list[known.unwrap_or(somebody)];
        let right = user.hash.is_of(password)?;
        Ok((right && known.is_some()).then(|| user.caller.clone()))
    }
}

/// Whether users can have this name.
#[must_use]
pub fn is_name(name: &str) -> bool {
    (1..=MAX_SUBJECT_BYTES).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_graphic())
        && name != SERVICE
}

/// The role of users called `text`.
#[must_use]
pub fn user_role(text: &str) -> Option<Role> {
    match text {
        "operator" => Some(Role::Operator),
        "customer" => Some(Role::Customer),
        _ => None,
    }
}

/// The users in the file at `path`: JSON when its name ends so, else TOML.
///
/// # Errors
/// When it cannot be read or makes no sense, with line and field. No hash is told.
pub fn read(path: &Path) -> anyhow::Result<Vec<User>> {
    let mut text = String::new();
    let file =
        std::fs::File::open(path).and_then(|f| f.take(MAX_USERS_FILE_BYTES + 1).read_to_string(&mut text));
    file.with_context(|| format!("failed to read the users in {}", path.display()))?;
    let at = || format!("the users in {} make no sense", path.display());
    ensure!(
        text.len() as u64 <= MAX_USERS_FILE_BYTES,
        "{}: the file is above {MAX_USERS_FILE_BYTES} bytes",
        at()
    );
    let json = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("json"));
    parse(&text, json).with_context(at)
}

fn parse(text: &str, json: bool) -> anyhow::Result<Vec<User>> {
    let file: File = match json {
        true => serde_json::from_str(text)?,
        // Its own display shows the line, and with it a hash.
        false => toml::from_str(text).map_err(|e| match e.span() {
            Some(span) => anyhow!("line {}: {}", 1 + text[..span.start].matches('\n').count(), e.message()),
            None => anyhow!("{}", e.message()),
        })?,
    };
    file.user.into_iter().map(Entry::user).collect()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    user: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    #[serde(deserialize_with = "name")]
    name: String,
    #[serde(deserialize_with = "hash")]
    password: PasswordHash,
    #[serde(deserialize_with = "role")]
    role: Role,
    accounts: Option<Listed>,
}

impl Entry {
    fn user(self) -> anyhow::Result<User> {
        let Self { name, password, role, accounts } = self;
        let accounts = match (role, accounts) {
            (Role::Customer, Some(Listed(accounts))) => accounts,
            (Role::Customer, None) => bail!("`accounts` of `{name}` is missing: a customer has some"),
            (_, Some(_)) => bail!("`accounts` of `{name}`: an operator has none, and reads all"),
            (_, None) => Accounts::All,
        };
        Ok(User { caller: Caller::new(&name, role, accounts), hash: password })
    }
}

fn name<'de, D: Deserializer<'de>>(d: D) -> Result<String, D::Error> {
    let Text(name) = Text::deserialize(d)?;
    let message =
        || format!("`name` is 1 to {MAX_SUBJECT_BYTES} visible ASCII characters and not `{SERVICE}`");
    if is_name(&name) { Ok(name) } else { Err(D::Error::custom(message())) }
}

fn hash<'de, D: Deserializer<'de>>(d: D) -> Result<PasswordHash, D::Error> {
    let Text(hash) = Text::deserialize(d)?;
    PasswordHash::parse(&hash).map_err(|e| D::Error::custom(format_args!("`password`: {e}")))
}

fn role<'de, D: Deserializer<'de>>(d: D) -> Result<Role, D::Error> {
    let Text(role) = Text::deserialize(d)?;
    user_role(&role).ok_or_else(|| D::Error::custom("`role` is neither `customer` nor `operator`"))
}

/// A string. Whatever stands there instead is not told: it may be a password.
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Visited;
        impl Visited {
            fn refuse<E: de::Error>() -> Result<Text, E> {
                Err(E::custom("`name`, `password` and `role` are strings"))
            }
        }
        impl Visitor<'_> for Visited {
            type Value = Text;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text, E> {
                Ok(Text(text.to_owned()))
            }

            fn visit_bool<E: de::Error>(self, _: bool) -> Result<Text, E> {
                Self::refuse()
            }

            fn visit_i64<E: de::Error>(self, _: i64) -> Result<Text, E> {
                Self::refuse()
            }

            fn visit_u64<E: de::Error>(self, _: u64) -> Result<Text, E> {
                Self::refuse()
            }

            fn visit_f64<E: de::Error>(self, _: f64) -> Result<Text, E> {
                Self::refuse()
            }
        }
        d.deserialize_any(Visited)
    }
}

/// `"all"`, or a list of ids and ranges.
struct Listed(Accounts);

impl<'de> Deserialize<'de> for Listed {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Listed;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("`accounts` as \"all\" or a list of ids and ranges")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Listed, E> {
                Accounts::parse(text).map(Listed).map_err(|e| E::custom(format_args!("`accounts`: {e}")))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Listed, A::Error> {
                let mut items: Vec<String> = Vec::new();
                while let Some(item) = list.next_element()? {
                    items.push(item);
                }
                let accounts = Accounts::of(items.iter().map(String::as_str));
                accounts.map(Listed).map_err(|e| A::Error::custom(format_args!("`accounts`: {e}")))
            }
        }
        d.deserialize_any(List)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::AccountId;

    const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNo";

    fn toml() -> String {
        format!(
            "# who may log in\n[[user]]\nname = \"ann\"\npassword = \"{HASH}\"\nrole = \"customer\"\n\
             accounts = [\"acc_00000001\", \"acc_00000005-acc_00000007\"]\n\n\
             [[user]]\nname = \"olga\"\npassword = \"{HASH}\"\nrole = \"operator\"\n"
        )
    }

    #[test]
    fn users_are_read_from_toml_and_json() {
        let json = format!(
            r#"{{"user":[{{"name":"ann","password":"{HASH}","role":"customer",
                "accounts":["acc_00000001","acc_00000005-acc_00000007"]}},
                {{"name":"olga","password":"{HASH}","role":"operator"}}]}}"#
        );
        for (text, is_json) in [(toml(), false), (json, true)] {
            let users = Users::new(parse(&text, is_json).unwrap()).unwrap();
            let [ann, olga] = ["ann", "olga"].map(|name| users.get(name).unwrap());
            assert_eq!((ann.role(), olga.role()), (Role::Customer, Role::Operator));
            assert!(ann.pays_from(AccountId(6)) && !ann.reads(AccountId(2)) && olga.reads(AccountId(2)));
            assert!(users.get("bob").is_none());
        }
    }

    #[test]
    fn what_makes_no_sense_is_told_with_line_and_field_and_without_the_hash() {
        for (from, to, line, field) in [
            ("name = \"ann\"\n", "", "line 2", "missing field `name`"),
            ("\"ann\"", "\"an n\"", "line 3", "`name` is"),
            ("\"ann\"", "\"service\"", "line 3", "`name` is"),
            ("\"ann\"", "77777777", "line 3", "are strings"),
            (HASH, "hunter2", "line 4", "`password`: write"),
            ("m=19456", "m=8", "line 4", "`password`: this hash costs"),
            ("\"operator\"", "\"service\"", "line 11", "`role` is"),
            ("role = \"operator\"", "role = \"customer\"", "", "`accounts` of `olga` is missing"),
            ("role = \"customer\"", "role = \"operator\"", "", "`accounts` of `ann`"),
            ("\"acc_00000001\"", "\"acc_1\"", "line 6", "`accounts`: `acc_1`"),
            ("\"acc_00000001\"", "7", "line 6", "string"),
            ("role = \"operator\"", "roles = \"operator\"", "line 11", "unknown field `roles`"),
            ("[[user]]\nname = \"olga\"", "[[user]\nname = \"olga\"", "line 8", ""),
        ] {
            let text = toml().replacen(from, to, 1);
            let told = parse(&text, false).map(|_| ()).unwrap_err().to_string();
            assert!(told.contains(line) && told.contains(field), "{to}: {told}");
            assert!(
                !told.contains("argon2id") && !told.contains("hunter2") && !told.contains("7777"),
                "{told}"
            );
        }
        let json = format!("{{\"user\":[\n{{\"name\":\"ann\",\"password\":\"{HASH}\",\"role\":\"king\"}}]}}");
        let told = parse(&json, true).map(|_| ()).unwrap_err().to_string();
        assert!(told.contains("`role` is") && told.contains("line 2"), "{told}");
        let twice = parse(&toml().replace("olga", "ann"), false).unwrap();
        assert!(Users::new(twice).unwrap_err().to_string().contains("`ann`"));
        let many = parse(&toml(), false).unwrap().into_iter().cycle().take(MAX_USERS + 1).collect();
        assert!(Users::new(many).unwrap_err().to_string().contains("more than"));
    }

    #[test]
    fn only_the_right_name_with_the_right_password_is_a_user() {
        let user = |name: &str, password: &[u8]| User {
            caller: Caller::new(name, Role::Customer, Accounts::All),
            hash: PasswordHash::of(password).unwrap(),
        };
        let users = Users::new(vec![user("ann", b"correct horse"), user("bob", b"battery")]).unwrap();
        let is = |name: &str, password: &[u8]| {
            users.check(name, password).unwrap().map(|caller| caller.name().to_owned())
        };
        assert_eq!(is("ann", b"correct horse").as_deref(), Some("ann"));
        assert_eq!(is("bob", b"battery").as_deref(), Some("bob"));
        // Whoever stands in for nobody does not become them.
        for name in ["ann", "carl", "dora", "emil", ""] {
            assert_eq!(is(name, b"battery"), None, "{name}");
        }
        assert!(Users::new(Vec::new()).unwrap().check("ann", b"").unwrap().is_none());
    }
}
