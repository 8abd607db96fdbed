//! Signed tokens (RFC 7519, compact HS256 of RFC 7515).
//!
//! One algorithm and one header, compared as bytes: a token cannot choose how it is checked.
//! The well-known crate would do, but its pure-Rust backend brings RSA with an unfixed advisory
//! (RUSTSEC-2023-0071) and three elliptic curves for the one HMAC that is needed here.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::logins::LoginId;
use super::role::Role;
use crate::limits::MAX_JWT_BYTES;

/// `{"alg":"HS256","typ":"JWT"}`
const HEADER: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";

/// What a token may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Use {
    /// Calls of the API.
    Access,
    /// Getting another access token.
    Refresh,
}

/// What a token says.
pub trait Claims: Serialize + DeserializeOwned {
    /// What tokens that say this are for.
    const USE: Use;

    /// What this one is for, and when it ends, in seconds since the Unix epoch.
    fn limits(&self) -> (Use, u64);
}

/// What an access token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Access {
    /// Who the caller is.
    pub sub: String,
    /// What for.
    #[serde(rename = "use")]
    pub purpose: Use,
    /// What the caller may do.
    pub role: Role,
    /// When it was made, in seconds since the Unix epoch.
    pub iat: u64,
    /// When it ends.
    pub exp: u64,
}

/// What a refresh token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refresh {
    /// Whose login it is of.
    pub sub: String,
    /// What for.
    #[serde(rename = "use")]
    pub purpose: Use,
    /// The login.
    pub login: LoginId,
    /// The how manieth token of it.
    pub nth: i32,
    /// When it was made, in seconds since the Unix epoch.
    pub iat: u64,
    /// When it ends.
    pub exp: u64,
}

impl Claims for Access {
    const USE: Use = Use::Access;

    fn limits(&self) -> (Use, u64) {
        (self.purpose, self.exp)
    }
}

impl Claims for Refresh {
    const USE: Use = Use::Refresh;

    fn limits(&self) -> (Use, u64) {
        (self.purpose, self.exp)
    }
}

/// The token is not one of ours, not for this, or over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("verify the token")]
pub struct BadToken;

/// Signs and verifies.
#[derive(Clone)]
pub struct Signer {
    keyed: Hmac<Sha256>,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer(..)")
    }
}

impl Signer {
    /// A signer with this key; at least 32 bytes (RFC 7518, 3.2).
    #[must_use]
    pub fn new(key: &[u8]) -> Self {
        // HMAC takes keys of every length.
        Self { keyed: Hmac::new_from_slice(key).expect("HMAC takes every key") }
    }

    /// The token that says `claims`.
    #[must_use]
    pub fn sign(&self, claims: &impl Claims) -> String {
        let payload = serde_json::to_vec(claims).expect("claims are strings and numbers");
        let signed = format!("{HEADER}.{}", URL_SAFE_NO_PAD.encode(payload));
        let mac = self.keyed.clone().chain_update(signed.as_bytes()).finalize().into_bytes();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac))
    }

    /// What `token` says, if it is ours, for this use, and not over at `now_s`. When it was made is nobody's
    /// business: clocks of processes differ.
    ///
    /// # Errors
    /// When it is not. Why is nobody's business either.
    pub fn verify<C: Claims>(&self, token: &str, now_s: u64) -> Result<C, BadToken> {
        if token.len() > MAX_JWT_BYTES {
            return Err(BadToken);
        }
        let (signed, mac) = token.rsplit_once('.').ok_or(BadToken)?;
        let mac = URL_SAFE_NO_PAD.decode(mac).map_err(|_| BadToken)?;
        self.keyed.clone().chain_update(signed.as_bytes()).verify_slice(&mac).map_err(|_| BadToken)?;
        let payload = signed.strip_prefix(HEADER).and_then(|rest| rest.strip_prefix('.')).ok_or(BadToken)?;
        let payload = URL_SAFE_NO_PAD.decode(payload).map_err(|_| BadToken)?;
        let claims: C = serde_json::from_slice(&payload).map_err(|_| BadToken)?;
        let (purpose, exp) = claims.limits();
        (purpose == C::USE && now_s < exp).then_some(claims).ok_or(BadToken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn claims() -> Access {
        Access { sub: "ann".to_owned(), purpose: Use::Access, role: Role::Customer, iat: 1000, exp: 1900 }
    }

    fn access(signer: &Signer, token: &str, now_s: u64) -> Result<Access, BadToken> {
        signer.verify(token, now_s)
    }

    /// A token with this header and payload that the key of `signer` has signed.
    fn signed(signer: &Signer, header: &str, payload: &str) -> String {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let mac = signer.keyed.clone().chain_update(signed.as_bytes()).finalize().into_bytes();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac))
    }

    #[test]
    fn the_signature_is_that_of_rfc_7515() {
        // Appendix A.1: its key and its signing input.
        let key = URL_SAFE_NO_PAD
            .decode("AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow")
            .unwrap();
        let signed = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.\
            eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
        let mac = Signer::new(&key).keyed.chain_update(signed.as_bytes()).finalize().into_bytes();
        assert_eq!(URL_SAFE_NO_PAD.encode(mac), "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
        assert_eq!(URL_SAFE_NO_PAD.decode(HEADER).unwrap(), br#"{"alg":"HS256","typ":"JWT"}"#);
    }

    #[test]
    fn a_token_is_good_until_it_ends_whenever_it_was_made() {
        let signer = Signer::new(&[7; 32]);
        let token = signer.sign(&claims());
        assert_eq!(access(&signer, &token, 1899), Ok(claims()));
        assert_eq!(access(&signer, &token, 1900), Err(BadToken));
        // Made by a process whose clock is ahead.
        assert_eq!(access(&signer, &token, 900), Ok(claims()));
        assert_eq!(access(&Signer::new(&[8; 32]), &token, 1000), Err(BadToken));
    }

    #[test]
    fn a_token_is_for_one_use() {
        let signer = Signer::new(&[7; 32]);
        let refresh = Refresh {
            sub: "ann".to_owned(),
            purpose: Use::Refresh,
            login: LoginId(u128::MAX),
            nth: 1,
            iat: 1000,
            exp: 1900,
        };
        let token = signer.sign(&refresh);
        assert_eq!(signer.verify(&token, 1000), Ok(refresh.clone()));
        assert_eq!(access(&signer, &token, 1000), Err(BadToken));
        assert_eq!(signer.verify::<Refresh>(&signer.sign(&claims()), 1000), Err(BadToken));
        // The fields of one use with the name of the other.
        let token = signer.sign(&Access { purpose: Use::Refresh, ..claims() });
        assert_eq!(access(&signer, &token, 1000), Err(BadToken));
        let token = signer.sign(&Refresh { purpose: Use::Access, ..refresh });
        assert_eq!(signer.verify::<Refresh>(&token, 1000), Err(BadToken));
    }

    #[test]
    fn a_token_cannot_choose_its_algorithm() {
        let signer = Signer::new(&[7; 32]);
        let payload = serde_json::to_string(&claims()).unwrap();
        let good = r#"{"alg":"HS256","typ":"JWT"}"#;
        assert!(access(&signer, &signed(&signer, good, &payload), 1000).is_ok());
        for header in [
            r#"{"alg":"none"}"#,
            r#"{"alg":"None","typ":"JWT"}"#,
            r#"{"alg":"HS512","typ":"JWT"}"#,
            r#"{"alg":"RS256","typ":"JWT"}"#,
            r#"{"typ":"JWT","alg":"HS256"}"#,
            r#"{"alg":"HS256","typ":"JWT","kid":"../../dev/null"}"#,
            r#"{"alg":"HS256","typ":"JWT","jwk":{}}"#,
            "",
        ] {
            assert_eq!(access(&signer, &signed(&signer, header, &payload), 1000), Err(BadToken), "{header}");
        }
        // Unsigned, and with the signature of nothing.
        let token = signer.sign(&claims());
        let (bare, mac) = token.rsplit_once('.').unwrap();
        for token in
            [bare.to_owned(), format!("{bare}."), format!("{bare}.{}", &mac[..20]), format!(".{mac}")]
        {
            assert_eq!(access(&signer, &token, 1000), Err(BadToken), "{token}");
        }
    }

    #[test]
    fn a_token_says_all_that_it_has_to_and_no_more() {
        let signer = Signer::new(&[7; 32]);
        let header = r#"{"alg":"HS256","typ":"JWT"}"#;
        let good = serde_json::to_string(&claims()).unwrap();
        for (from, to) in [
            (r#","exp":1900"#, ""),
            (r#""exp":1900"#, r#""exp":null"#),
            (r#""exp":1900"#, r#""exp":"1900""#),
            (r#""exp":1900"#, r#""exp":-1"#),
            (r#""exp":1900"#, r#""exp":1e99"#),
            (r#""exp":1900"#, r#""exp":100,"exp":1900"#),
            (r#","role":"customer""#, ""),
            (r#""customer""#, r#""king""#),
            (r#""sub":"ann","#, ""),
            (r#""sub""#, r#""admin":true,"sub""#),
        ] {
            let payload = good.replacen(from, to, 1);
            assert_ne!(payload, good);
            assert_eq!(access(&signer, &signed(&signer, header, &payload), 1000), Err(BadToken), "{payload}");
        }
    }

    #[test]
    fn a_long_token_is_not_even_looked_at() {
        let signer = Signer::new(&[7; 32]);
        let longest = signer.sign(&Access { sub: "x".repeat(64), ..claims() });
        assert!(longest.len() < MAX_JWT_BYTES && access(&signer, &longest, 1000).is_ok());
        let long = signer.sign(&Access { sub: "x".repeat(MAX_JWT_BYTES), ..claims() });
        assert_eq!(access(&signer, &long, 1000), Err(BadToken));
    }

    proptest! {
        #[test]
        fn no_text_is_a_token_by_chance(text in ".{0,200}") {
            prop_assert_eq!(access(&Signer::new(&[7; 32]), &text, 0), Err(BadToken));
        }

        #[test]
        fn a_changed_byte_breaks_it(at in 0usize..120, to in "[A-Za-z0-9_-]") {
            let signer = Signer::new(&[7; 32]);
            let token = signer.sign(&claims());
            let at = at % token.len();
            let mut other = token.clone();
            other.replace_range(at..=at, &to);
            // The last character of a base64 text carries bits that nothing decodes to.
            prop_assume!(other != token && at + 1 != token.len());
            prop_assert_eq!(access(&signer, &other, 1000), Err(BadToken));
        }
    }
}
