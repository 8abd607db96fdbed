//! Signed tokens (RFC 7519, compact HS256 of RFC 7515).
//!
//! One algorithm and one header, compared as bytes: a token cannot choose how it is checked.
//! The well-known crate would do, but its pure-Rust backend brings RSA with an unfixed advisory
//! (RUSTSEC-2023-0071) and three elliptic curves for the one HMAC that is needed here.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claims {
    /// Who the caller is.
    pub sub: String,
    /// What for.
    #[serde(rename = "use")]
    pub purpose: Use,
    /// When it was made, in seconds since the Unix epoch.
    pub iat: u64,
    /// When it ends, in seconds since the Unix epoch.
    pub exp: u64,
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
    pub fn sign(&self, claims: &Claims) -> String {
        let payload = serde_json::to_vec(claims).expect("claims are strings and numbers");
        let signed = format!("{HEADER}.{}", URL_SAFE_NO_PAD.encode(payload));
        let mac = self.keyed.clone().chain_update(signed.as_bytes()).finalize().into_bytes();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac))
    }

    /// What `token` says, if it is ours, for `purpose`, and not over at `now_s`.
    ///
    /// # Errors
    /// When it is not. Why is nobody's business.
    pub fn verify(&self, token: &str, purpose: Use, now_s: u64) -> Result<Claims, BadToken> {
        let (signed, mac) = token.rsplit_once('.').ok_or(BadToken)?;
        let mac = URL_SAFE_NO_PAD.decode(mac).map_err(|_| BadToken)?;
        self.keyed.clone().chain_update(signed.as_bytes()).verify_slice(&mac).map_err(|_| BadToken)?;
        let payload = signed.strip_prefix(HEADER).and_then(|rest| rest.strip_prefix('.')).ok_or(BadToken)?;
        let payload = URL_SAFE_NO_PAD.decode(payload).map_err(|_| BadToken)?;
        let claims: Claims = serde_json::from_slice(&payload).map_err(|_| BadToken)?;
        (claims.purpose == purpose && now_s < claims.exp).then_some(claims).ok_or(BadToken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn claims() -> Claims {
        Claims { sub: "ann".to_owned(), purpose: Use::Access, iat: 1000, exp: 1900 }
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
    fn a_token_is_good_for_its_use_until_it_ends() {
        let signer = Signer::new(&[7; 32]);
        let token = signer.sign(&claims());
        assert_eq!(signer.verify(&token, Use::Access, 1899), Ok(claims()));
        assert_eq!(signer.verify(&token, Use::Access, 1900), Err(BadToken));
        assert_eq!(signer.verify(&token, Use::Refresh, 1000), Err(BadToken));
        assert_eq!(Signer::new(&[8; 32]).verify(&token, Use::Access, 1000), Err(BadToken));
    }

    #[test]
    fn a_token_cannot_choose_its_algorithm() {
        let signer = Signer::new(&[7; 32]);
        let payload = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&claims()).unwrap());
        let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
        assert_eq!(signer.verify(&format!("{none}.{payload}."), Use::Access, 1000), Err(BadToken));
        let signed = format!("{none}.{payload}");
        let mac = signer.keyed.clone().chain_update(signed.as_bytes()).finalize().into_bytes();
        let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac));
        assert_eq!(signer.verify(&token, Use::Access, 1000), Err(BadToken));
    }

    proptest! {
        #[test]
        fn no_text_is_a_token_by_chance(text in ".{0,200}") {
            prop_assert_eq!(Signer::new(&[7; 32]).verify(&text, Use::Access, 0), Err(BadToken));
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
            prop_assert_eq!(signer.verify(&other, Use::Access, 1000), Err(BadToken));
        }
    }
}
