//! What the handlers read field by field and write by hand, as the API's document describes it. Whatever is
//! serialised describes itself.

use serde::{Deserialize, Serialize};
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::money;

/// The code of a currency in use.
#[derive(Serialize, Deserialize)]
pub struct Currency(String);

impl ToSchema for Currency {}

impl PartialSchema for Currency {
    fn schema() -> RefOr<Schema> {
        let description = "ISO 4217, of a currency in use";
        let code = ObjectBuilder::new().schema_type(Type::String).description(Some(description));
        code.enum_values(Some(money::codes())).build().into()
    }
}

/// A payment that was asked for.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPayment {
    /// The payer.
    #[schema(pattern = "^acc_[0-9]{8}$")]
    pub from: String,
    /// The payee: another account.
    #[schema(pattern = "^acc_[0-9]{8}$")]
    pub to: String,
    /// Minor units. The last two digits may choose a decline.
    #[schema(minimum = 1, maximum = 999_999_999_999_i64)]
    pub amount: i64,
    /// ISO 4217; of both accounts.
    pub currency: Currency,
}

/// A card to be kept as a token.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewMethod {
    /// The card's number; never stored.
    #[schema(pattern = "^[0-9]{12,19}$")]
    pub number: String,
    /// The month in which the card ends.
    #[schema(minimum = 1, maximum = 12)]
    pub exp_month: u8,
    /// The year, this one or later.
    #[schema(minimum = 2000, maximum = 2099)]
    pub exp_year: u16,
    /// The card's check digits; never stored.
    #[schema(pattern = "^[0-9]{3,4}$")]
    pub cvc: String,
}

/// A payment that was made.
#[derive(Serialize, ToSchema)]
pub struct Payment {
    /// `pay_` and its number.
    #[schema(pattern = "^pay_[0-9]{16}$")]
    pub id: String,
    /// That it was made.
    pub status: Made,
    /// Its number, in commit order.
    #[schema(minimum = 1)]
    pub seq: u64,
    /// The payer.
    #[schema(pattern = "^acc_[0-9]{8}$")]
    pub from: String,
    /// The payee.
    #[schema(pattern = "^acc_[0-9]{8}$")]
    pub to: String,
    /// Minor units.
    #[schema(minimum = 1, maximum = 999_999_999_999_i64)]
    pub amount: i64,
    /// ISO 4217.
    pub currency: Currency,
    /// When it was committed.
    #[schema(format = DateTime)]
    pub created_at: String,
}

/// The status of a payment that was made.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Made {
    /// Money moved.
    Succeeded,
}

/// A payment that was declined: it has no id and no number.
#[derive(Serialize, ToSchema)]
pub struct DeclinedPayment {
    /// That it was not made.
    pub status: NotMade,
    /// Why.
    pub code: String,
    /// The payer.
    #[schema(pattern = "^acc_[0-9]{8}$")]
    pub from: String,
    /// The payee.
    #[schema(pattern = "^acc_[0-9]{8}$")]
    pub to: String,
    /// Minor units.
    #[schema(minimum = 1, maximum = 999_999_999_999_i64)]
    pub amount: i64,
    /// ISO 4217.
    pub currency: Currency,
    /// When it was committed.
    #[schema(format = DateTime)]
    pub created_at: String,
}

/// The status of a payment that was declined.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NotMade {
    /// It did not.
    Declined,
}

/// What a key stands for.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub enum KnownPayment {
    /// A payment.
    Made(Payment),
    /// A decline.
    NotMade(DeclinedPayment),
}

/// An account's payments, newest first.
#[derive(Serialize, ToSchema)]
pub struct PaymentList {
    /// That it is a list.
    pub object: ListObject,
    /// Those fields that were asked for.
    #[schema(max_items = 100)]
    pub data: Vec<ListedPayment>,
    /// Whether older ones follow.
    pub has_more: bool,
}

/// What Stripe's clients know a list by.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ListObject {
    /// This.
    List,
}

/// A payment with those fields that were asked for.
#[derive(Serialize, ToSchema)]
pub struct ListedPayment {
    /// `pay_` and its number.
    #[schema(pattern = "^pay_[0-9]{16}$", nullable = false)]
    pub id: Option<String>,
    /// That it was made.
    #[schema(nullable = false)]
    pub status: Option<Made>,
    /// Its number.
    #[schema(minimum = 1, nullable = false)]
    pub seq: Option<u64>,
    /// The payer.
    #[schema(pattern = "^acc_[0-9]{8}$", nullable = false)]
    pub from: Option<String>,
    /// The payee.
    #[schema(pattern = "^acc_[0-9]{8}$", nullable = false)]
    pub to: Option<String>,
    /// Minor units.
    #[schema(minimum = 1, nullable = false)]
    pub amount: Option<i64>,
    /// ISO 4217.
    #[schema(nullable = false)]
    pub currency: Option<Currency>,
    /// When it was committed.
    #[schema(format = DateTime, nullable = false)]
    pub created_at: Option<String>,
}

/// An account to be opened.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAccount {
    /// ISO 4217.
    pub currency: Currency,
    /// What the world pays in, in minor units; 0 when absent.
    #[schema(minimum = 0, maximum = 999_999_999_999_i64, nullable = false)]
    pub opening_balance: Option<i64>,
}

/// Who logs in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// As in `PAYMENTS_USER`.
    pub username: String,
    /// In the clear: over TLS or loopback alone.
    #[schema(format = Password)]
    pub password: String,
}

/// What another access token is given for.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Refresh {
    /// As a login gave it.
    pub refresh_token: String,
}
