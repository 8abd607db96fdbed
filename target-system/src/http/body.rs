//! Bytes in: bounded, strict, and with the field named when one is wrong.

use axum::body::HttpBody as Body;
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde_json::Value;

use super::problem::Problem;
use crate::ids::AccountId;
use crate::limits::{MAX_AMOUNT, MAX_BODY_BYTES};
use crate::money::Currency;
use crate::record::Order;

/// The whole body, up to [`MAX_BODY_BYTES`].
///
/// # Errors
/// 413 when it is longer; 400 when the client stops in the middle.
pub async fn read<B>(body: B) -> Result<Bytes, Problem>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut body = Limited::new(body, MAX_BODY_BYTES);
    let mut whole = Bytes::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| match e.is::<LengthLimitError>() {
            true => Problem::too_large(),
            false => Problem::malformed("the body could not be read"),
        })?;
        // Trailers say nothing that anybody asks for.
        let Ok(data) = frame.into_data() else { continue };
        // A body nearly always comes in one piece, which is taken as it is.
        whole = if whole.is_empty() { data } else { append(whole, &data) };
    }
    Ok(whole)
}

/// `whole` with `more` behind it, in place where nobody else reads `whole`.
fn append(whole: Bytes, more: &[u8]) -> Bytes {
    let mut grown = whole.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
    grown.extend_from_slice(more);
    grown.freeze()
}

/// A JSON object whose fields are taken one by one; what is left over is unknown.
#[derive(Debug)]
pub struct Fields(serde_json::Map<String, Value>);

/// An object in which every name stands once.
struct Once(serde_json::Map<String, Value>);

impl<'de> serde::Deserialize<'de> for Once {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> serde::de::Visitor<'de> for Names {
            type Value = Once;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut fields: A) -> Result<Once, A::Error> {
                let mut map = serde_json::Map::new();
                while let Some((name, value)) = fields.next_entry::<String, Value>()? {
                    if map.contains_key(&name) {
                        return Err(serde::de::Error::custom(format!("field `{name}` stands twice")));
                    }
                    map.insert(name, value);
                }
                Ok(Once(map))
            }
        }
        d.deserialize_map(Names)
    }
}

impl Fields {
    /// Parses `body`.
    ///
    /// # Errors
    /// 400 when it is no JSON object.
    pub fn parse(body: &[u8]) -> Result<Self, Problem> {
        serde_json::from_slice(body).map(|Once(map)| Self(map)).map_err(|once| {
            match serde_json::from_slice(body) {
                // Of two fields with one name a gateway may have read the other.
                Ok(Value::Object(_)) => Problem::malformed(format!("the body is ambiguous: {once}")),
                Ok(_) => Problem::malformed("the body is not a JSON object"),
                Err(e) => Problem::malformed(format!("the body is not JSON: {e}")),
            }
        })
    }

    /// Takes the text `name`.
    ///
    /// # Errors
    /// 400, naming it, when it is missing or no text.
    pub fn text(&mut self, name: &'static str) -> Result<String, Problem> {
        match self.0.remove(name) {
            Some(Value::String(text)) => Ok(text),
            Some(_) => Err(Problem::invalid("parameter_invalid", name, format!("`{name}` is a string"))),
            None => Err(missing(name)),
        }
    }

    /// Takes the whole number `name`, in minor units; `None` when it is missing.
    ///
    /// # Errors
    /// 400, naming it, when it is no whole number in `min..=`[`MAX_AMOUNT`].
    pub fn amount(&mut self, name: &'static str, min: i64) -> Result<Option<i64>, Problem> {
        let Some(value) = self.0.remove(name) else { return Ok(None) };
        let in_range = value.as_i64().filter(|n| (min..=MAX_AMOUNT).contains(n));
        let message = || format!("`{name}` is a whole number of minor units, {min} to {MAX_AMOUNT}");
        Some(in_range.ok_or_else(|| Problem::invalid("parameter_invalid", name, message()))).transpose()
    }

    /// Takes the whole number `name`.
    ///
    /// # Errors
    /// 400, naming it, when it is missing or no whole number.
    pub fn whole(&mut self, name: &'static str) -> Result<i64, Problem> {
        let value = self.0.remove(name).ok_or_else(|| missing(name))?;
        let message = || format!("`{name}` is a whole number");
        value.as_i64().ok_or_else(|| Problem::invalid("parameter_invalid", name, message()))
    }

    /// Takes the account id `name`.
    ///
    /// # Errors
    /// 400, naming it, when it is missing or no account's id.
    pub fn account(&mut self, name: &'static str) -> Result<AccountId, Problem> {
        let text = self.text(name)?;
        let message = || format!("`{name}` is an account's id: `acc_` and eight digits");
        AccountId::parse(&text).ok_or_else(|| Problem::invalid("parameter_invalid", name, message()))
    }

    /// Takes the currency `name`.
    ///
    /// # Errors
    /// 400, naming it, when it is missing or no currency.
    pub fn currency(&mut self, name: &'static str) -> Result<Currency, Problem> {
        let text = self.text(name)?;
        let message = || format!("`{name}` is an ISO 4217 code in capital letters");
        Currency::parse(&text).ok_or_else(|| Problem::invalid("parameter_invalid", name, message()))
    }

    /// Nothing may be left over.
    ///
    /// # Errors
    /// 400, naming the first field that nobody asked for.
    pub fn end(self) -> Result<(), Problem> {
        match self.0.into_iter().next() {
            None => Ok(()),
            Some((name, _)) => Err(Problem::invalid("parameter_unknown", name, "nobody knows this field")),
        }
    }
}

/// The answer to a field that is not there.
#[must_use]
pub fn missing(name: &'static str) -> Problem {
    Problem::invalid("parameter_missing", name, format!("`{name}` is missing"))
}

/// A body of `POST /v1/payments` as a client writes it.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct NewPayment<'a> {
    #[serde(borrow)]
    from: &'a str,
    to: &'a str,
    amount: i64,
    currency: &'a str,
}

impl NewPayment<'_> {
    fn order(&self) -> Option<Order> {
        let order = Order {
            from: AccountId::parse(self.from)?,
            to: AccountId::parse(self.to)?,
            amount: self.amount,
            currency: Currency::parse(self.currency)?,
        };
        (order.from != order.to && (1..=MAX_AMOUNT).contains(&order.amount)).then_some(order)
    }
}

/// The order in the body of `POST /v1/payments`.
///
/// # Errors
/// 400, naming the first field that is wrong.
pub fn order(body: &[u8]) -> Result<Order, Problem> {
    // What is right is parsed without an allocation; what is wrong is looked at again, slowly,
    // to say which field it was.
    if let Some(order) = serde_json::from_slice::<NewPayment<'_>>(body).ok().and_then(|p| p.order()) {
        return Ok(order);
    }
    let mut fields = Fields::parse(body)?;
    let order = Order {
        from: fields.account("from")?,
        to: fields.account("to")?,
        amount: fields.amount("amount", 1)?.ok_or_else(|| missing("amount"))?,
        currency: fields.currency("currency")?,
    };
    fields.end()?;
    if order.from == order.to {
        return Err(Problem::invalid("parameter_invalid", "to", "an account does not pay itself"));
    }
    Ok(order)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOOD: &str = r#"{"from":"acc_00000001","to":"acc_00000002","amount":1250,"currency":"EUR"}"#;

    fn param(body: &str) -> String {
        let shown = format!("{:?}", order(body.as_bytes()).unwrap_err());
        let at = shown.find("param: Some(\"").map(|i| i + 13);
        at.map_or(String::new(), |i| shown[i..].split('"').next().unwrap().to_owned())
    }

    #[test]
    fn a_field_that_stands_twice_is_refused() {
        let twice = r#"{"from":"acc_00000001","from":"acc_00000003","to":"acc_00000002","amount":1,"currency":"EUR"}"#;
        assert!(order(twice.as_bytes()).is_err());
    }

    #[test]
    fn the_wrong_field_is_named() {
        assert_eq!(order(GOOD.as_bytes()).unwrap().amount, 1250);
        assert_eq!(param(&GOOD.replace("acc_00000001", "acc_1")), "from");
        assert_eq!(param(&GOOD.replace("\"to\":\"acc_00000002\",", "")), "to");
        assert_eq!(param(&GOOD.replace("acc_00000002", "acc_00000001")), "to");
        for bad in ["0", "-5", "12.5", "\"12\"", "1e3", "1000000000000", "99999999999999999999", "null"] {
            assert_eq!(param(&GOOD.replace("1250", bad)), "amount", "{bad}");
        }
        assert_eq!(param(&GOOD.replace("EUR", "eur")), "currency");
        assert_eq!(param(&GOOD.replace("\"EUR\"", "7")), "currency");
        assert_eq!(param(&GOOD.replace('}', ",\"tip\":5}")), "tip");
        assert_eq!(param("[]"), "");
        assert_eq!(param("{"), "");
        assert_eq!(param(""), "");
    }

    #[test]
    fn escapes_in_a_field_are_read_the_slow_way() {
        assert!(order(GOOD.replace("EUR", "\\u0045UR").as_bytes()).is_ok());
    }

    proptest! {
        #[test]
        fn no_body_panics(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = order(&body);
        }

        #[test]
        fn what_is_rendered_can_be_ordered(from in 1u32..1000, to in 1001u32..2000, amount in 1..=MAX_AMOUNT) {
            let currency = Currency::parse("JPY").unwrap();
            let asked = Order { from: AccountId(from), to: AccountId(to), amount, currency };
            prop_assert_eq!(order(super::super::render::order(&asked).as_bytes()).unwrap(), asked);
        }
    }
}
