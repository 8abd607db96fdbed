//! Currencies. Amounts are `i64` in the currency's minor unit; nothing here is a float.

use std::fmt;

use serde::{Serialize, Serializer};

/// An ISO 4217 alphabetic code of a currency in use.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Currency([u8; 3]);

/// The active codes of ISO 4217, without funds, metals and test codes; sorted.
const ACTIVE: &str = "\
AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF \
CHF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ \
GYD HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP \
LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR \
PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC \
SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VES VND VUV WST XAF XCD XCG XOF XPF \
YER ZAR ZMW ZWG";

/// The codes of all currencies in use, in order.
pub fn codes() -> impl Iterator<Item = &'static str> {
    ACTIVE.split(' ')
}

/// How many currencies there are in use.
pub const CURRENCIES: usize = ACTIVE.len().div_ceil(4);

impl Currency {
    /// The currency called `code`, in upper case; `None` when there is none.
    #[must_use]
    pub fn parse(code: &str) -> Option<Self> {
        let bytes: [u8; 3] = code.as_bytes().try_into().ok()?;
        // Every code takes four bytes of the table, so an aligned hit is a code.
        ACTIVE.as_bytes().chunks(4).any(|c| c[..3] == bytes).then_some(Self(bytes))
    }

    /// Its place among the currencies in use, below [`CURRENCIES`].
    #[must_use]
    pub fn index(self) -> usize {
        let at = ACTIVE.as_bytes().as_chunks::<4>().0.binary_search_by(|code| code[..3].cmp(&self.0));
        // The last code has no space behind it.
        at.unwrap_or(CURRENCIES - 1)
    }

    /// The code: three capital letters.
    #[must_use]
    pub fn code(&self) -> &str {
        // Only codes of the table are ever built.
        std::str::from_utf8(&self.0).unwrap_or("???")
    }

    /// The code's bytes, as rows hold them.
    #[must_use]
    pub fn bytes(self) -> [u8; 3] {
        self.0
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.code())
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl std::str::FromStr for Currency {
    type Err = String;

    fn from_str(code: &str) -> Result<Self, String> {
        Self::parse(code).ok_or_else(|| format!("`{code}` is not an ISO 4217 code in capital letters"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_active_codes_in_capitals_are_currencies() {
        for code in ["EUR", "USD", "JPY", "BHD", "AED", "ZWG"] {
            assert_eq!(Currency::parse(code).unwrap().to_string(), code);
        }
        for code in ["eur", "EU", "EURO", "XXX", "XAU", "UR ", "", "€"] {
            assert_eq!(Currency::parse(code), None, "{code}");
        }
        for (at, code) in ACTIVE.split(' ').enumerate() {
            assert_eq!((Currency::parse(code).unwrap().index(), ACTIVE.split(' ').count()), (at, CURRENCIES));
        }
        let codes: Vec<&str> = ACTIVE.split(' ').collect();
        assert!(codes.is_sorted() && codes.iter().all(|c| c.len() == 3));
    }
}
