//! Whether a card can be one: its number, its last month, its CVC. No message repeats what was given.

use std::ops::RangeInclusive;

use super::Brand;
use crate::limits::MAX_CARD_YEARS;

/// What is wrong with a card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wrong {
    /// The field.
    pub param: &'static str,
    /// As Stripe calls it.
    pub code: &'static str,
    /// In words.
    pub message: &'static str,
}

/// First digits, from and to, that say whose card it is; how many digits it may have, and its CVC has.
const BRANDS: &[(Brand, u32, u32, RangeInclusive<usize>, usize)] = &[
    (Brand::Amex, 34, 34, 15..=15, 4),
    (Brand::Amex, 37, 37, 15..=15, 4),
    (Brand::Diners, 300, 305, 14..=19, 3),
    (Brand::Diners, 36, 36, 14..=19, 3),
    (Brand::Diners, 38, 39, 14..=19, 3),
    (Brand::Discover, 6011, 6011, 16..=19, 3),
    (Brand::Discover, 644, 649, 16..=19, 3),
    (Brand::Discover, 65, 65, 16..=19, 3),
    (Brand::Jcb, 3528, 3589, 16..=19, 3),
    (Brand::Mastercard, 51, 55, 16..=16, 3),
    (Brand::Mastercard, 2221, 2720, 16..=16, 3),
    (Brand::Unionpay, 62, 62, 16..=19, 3),
    (Brand::Visa, 4, 4, 13..=19, 3),
];

/// The brand and the last four digits of the card called `number`; `cvc` is looked at as well.
///
/// # Errors
/// The field that is wrong.
pub fn card(number: &str, cvc: &str) -> Result<(Brand, [u8; 4]), Wrong> {
    let wrong = |message| Wrong { param: "number", code: "invalid_number", message };
    let digits = number.as_bytes();
    if !digits.iter().all(u8::is_ascii_digit) {
        return Err(wrong("`number` is the card's number: digits alone"));
    }
    let known = BRANDS.iter().find(|(_, first, last, ..)| begins_within(digits, *first, *last));
    let (brand, _, _, lengths, cvc_length) =
        known.ok_or_else(|| wrong("`number` is of no card that is taken"))?;
    if !lengths.contains(&digits.len()) || !luhn(digits) {
        return Err(wrong("`number` is not the number of a card"));
    }
    if cvc.len() != *cvc_length || !cvc.bytes().all(|b| b.is_ascii_digit()) {
        let message = "`cvc` is the card's three digits, four for American Express";
        return Err(Wrong { param: "cvc", code: "invalid_cvc", message });
    }
    let last4 = digits.last_chunk().ok_or_else(|| wrong("`number` is too short"))?;
    Ok((*brand, *last4))
}

/// A card's last month, seen in the month of `now`, year and month.
///
/// # Errors
/// The field that is wrong.
pub fn expiry(month: i64, year: i64, now: (u16, u8)) -> Result<(u8, u16), Wrong> {
    let wrong_month = |message| Wrong { param: "exp_month", code: "invalid_expiry_month", message };
    let wrong_year = |message| Wrong { param: "exp_year", code: "invalid_expiry_year", message };
    let month = u8::try_from(month).ok().filter(|m| (1..=12).contains(m));
    let month = month.ok_or_else(|| wrong_month("`exp_month` is a month, 1 to 12"))?;
    let year = u16::try_from(year).ok().filter(|y| (1000..=now.0 + MAX_CARD_YEARS).contains(y));
    let year =
        year.ok_or_else(|| wrong_year("`exp_year` is a year of four digits, twenty from now at most"))?;
    if year < now.0 {
        return Err(wrong_year("the card has expired"));
    }
    if (year, month) < now {
        return Err(wrong_month("the card has expired"));
    }
    Ok((month, year))
}

/// Whether the first digits, as many as `last` has, are a number from `first` to `last`.
fn begins_within(digits: &[u8], first: u32, last: u32) -> bool {
    let length = last.ilog10() as usize + 1;
    let Some(prefix) = digits.get(..length) else { return false };
    let prefix = prefix.iter().fold(0, |n, digit| n * 10 + u32::from(digit - b'0'));
    (first..=last).contains(&prefix)
}

/// The check digit of ISO/IEC 7812.
fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| match (at % 2, u32::from(digit - b'0')) {
            (0, d) => d,
            (_, d) => d * 2 / 10 + d * 2 % 10,
        })
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_brand_is_known_by_its_first_digits() {
        // Numbers that the networks have published for tests.
        for (number, cvc, brand, last4) in [
            ("4242424242424242", "123", Brand::Visa, b"4242"),
            ("4222222222222", "123", Brand::Visa, b"2222"),
            ("5555555555554444", "123", Brand::Mastercard, b"4444"),
            ("2223003122003222", "123", Brand::Mastercard, b"3222"),
            ("378282246310005", "1234", Brand::Amex, b"0005"),
            ("6011111111111117", "123", Brand::Discover, b"1117"),
            ("30569309025904", "123", Brand::Diners, b"5904"),
            ("36227206271667", "123", Brand::Diners, b"1667"),
            ("3566002020360505", "123", Brand::Jcb, b"0505"),
            ("6200000000000005", "123", Brand::Unionpay, b"0005"),
            ("6205500000000000004", "123", Brand::Unionpay, b"0004"),
        ] {
            assert_eq!(card(number, cvc), Ok((brand, *last4)), "{number}");
        }
    }

    #[test]
    fn the_wrong_field_is_named_and_not_repeated() {
        for (number, cvc, param) in [
            ("4242424242424241", "123", "number"),
            ("424242424242", "123", "number"),
            ("55555555555544440", "123", "number"),
            ("37828224631000", "1234", "number"),
            ("9999999999999995", "123", "number"),
            ("4242 4242 4242 4242", "123", "number"),
            ("４２４２４２４２４２４２４２４２", "123", "number"),
            ("", "123", "number"),
            ("4", "123", "number"),
            ("4242424242424242", "", "cvc"),
            ("4242424242424242", "1234", "cvc"),
            ("4242424242424242", "12a", "cvc"),
            ("378282246310005", "123", "cvc"),
        ] {
            let wrong = card(number, cvc).unwrap_err();
            assert_eq!(wrong.param, param, "{number} {cvc}");
            assert!(number.len() < 4 || !wrong.message.contains(number));
        }
    }

    #[test]
    fn a_card_is_good_to_the_end_of_its_month() {
        let now = (2026, 11);
        let param = |month, year| expiry(month, year, now).map_err(|w| w.param);
        assert_eq!(param(11, 2026), Ok((11, 2026)));
        assert_eq!(param(1, 2027), Ok((1, 2027)));
        assert_eq!(param(12, 2046), Ok((12, 2046)));
        for (month, year, wrong) in [
            (10, 2026, "exp_month"),
            (12, 2025, "exp_year"),
            (1, 2047, "exp_year"),
            (0, 2027, "exp_month"),
            (13, 2027, "exp_month"),
            (-1, 2027, "exp_month"),
            (1, 27, "exp_year"),
            (1, i64::MAX, "exp_year"),
        ] {
            assert_eq!(param(month, year), Err(wrong), "{month}/{year}");
        }
    }

    proptest! {
        #[test]
        fn one_wrong_digit_or_two_that_changed_places_are_noticed(at in 0usize..15, to in b'0'..=b'9') {
            let good = *b"5105105105105100";
            let mut changed = good;
            changed[at] = to;
            prop_assert_eq!(luhn(&changed), changed == good);
            let mut swapped = good;
            swapped.swap(at, at + 1);
            let (a, b) = (good[at], good[at + 1]);
            // 09 and 90 are the two that it does not tell apart.
            prop_assume!(!matches!((a, b), (b'0', b'9') | (b'9', b'0')));
            prop_assert_eq!(luhn(&swapped), swapped == good);
        }

        #[test]
        fn no_text_panics(number in ".{0,24}", cvc in ".{0,6}") {
            let _ = card(&number, &cvc);
        }
    }
}
