//! Numbers of JSON with each of their digits: an `f64` has no 0.1, and not every whole number beyond
//! 2^53.

/// Digits × 10^exponent. Neither the first nor the last digit is a zero; zero has no digits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Decimal {
    is_negative: bool,
    digits: Vec<u8>,
    exponent: i64,
}

impl Decimal {
    /// `None` when it is no number, or has an exponent beyond 64 bits.
    pub(crate) fn parse(number: &str) -> Option<Self> {
        let (is_negative, number) = match number.strip_prefix('-') {
            Some(number) => (true, number),
            None => (false, number),
        };
        let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = whole.bytes().chain(fraction.bytes());
        let digits: Option<Vec<u8>> =
            digits.map(|byte| byte.is_ascii_digit().then(|| byte - b'0')).collect();
        let exponent: i64 = exponent.parse().ok()?;
        let exponent = exponent.checked_sub(i64::try_from(fraction.len()).ok()?)?;
        Self::new(is_negative, digits?, exponent)
    }

    fn new(is_negative: bool, mut digits: Vec<u8>, exponent: i64) -> Option<Self> {
        let zeros = digits.iter().rev().take_while(|digit| **digit == 0).count();
        digits.truncate(digits.len() - zeros);
        let leading = digits.iter().take_while(|digit| **digit == 0).count();
        digits.drain(..leading);
        if digits.is_empty() {
            return Some(Self::default());
        }
        let exponent = exponent.checked_add(i64::try_from(zeros).ok()?)?;
        Some(Self { is_negative, digits, exponent })
    }

    /// Whether it is not negative, and has no more than so many places on either side of its point.
    pub(crate) fn is_count_within(&self, places: i64) -> bool {
        !self.is_negative && self.exponent >= -places && self.top() <= places
    }

    /// The place above its first digit.
    fn top(&self) -> i64 {
        self.exponent.saturating_add(i64::try_from(self.digits.len()).unwrap_or(i64::MAX))
    }

    /// The sum of two that are not negative. It has a digit for each place between the first and the
    /// last that either has.
    pub(crate) fn plus(&self, other: &Self) -> Self {
        let lowest = self.exponent.min(other.exponent);
        let places = usize::try_from(self.top().max(other.top()) - lowest).unwrap_or_default();
        // From the last digit to the first, and one more that may be carried.
        let mut sum = vec![0_u8; places + 1];
        for number in [self, other] {
            let offset = usize::try_from(number.exponent - lowest).unwrap_or_default();
            let (mut carry, mut digits) = (0, number.digits.iter().rev());
            for place in sum.iter_mut().skip(offset) {
                let digit = *place + digits.next().unwrap_or(&0) + carry;
                (*place, carry) = (digit % 10, digit / 10);
            }
        }
        sum.reverse();
        Self::new(false, sum, lowest).unwrap_or_default()
    }

    /// Without an exponent, so with a digit for each place down to the point and behind it.
    pub(crate) fn written_out(&self) -> String {
        let digit = |place: i64| {
            let index = usize::try_from(self.top() - 1 - place).ok();
            char::from(b'0' + index.and_then(|index| self.digits.get(index)).unwrap_or(&0))
        };
        let mut text = String::new();
        if self.is_negative {
            text.push('-');
        }
        text.extend((0..self.top().max(1)).rev().map(digit));
        if self.exponent < 0 {
            text.push('.');
            text.extend((self.exponent..0).rev().map(digit));
        }
        text
    }
}

/// Whether an `f64` holds a number as it was written: as its value, or as what the `f64` is written
/// as, such as 0.1.
pub(crate) fn is_exact(written: &str, float: f64) -> bool {
    /// Those of the smallest `f64`.
    const MOST_PLACES: usize = 1_074;

    let Some(written) = Decimal::parse(written) else { return false };
    let is = |text: &str| Decimal::parse(text).is_some_and(|decimal| decimal == written);
    is(&format!("{float}")) || is(&format!("{float:.MOST_PLACES$}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sum(one: &str, other: &str) -> String {
        Decimal::parse(one).unwrap().plus(&Decimal::parse(other).unwrap()).written_out()
    }

    #[test]
    fn a_sum_has_each_digit() {
        for (one, other, expected) in [
            ("0.5", "0.25", "0.75"),
            ("0.1", "0.2", "0.3"),
            ("0.5", "0.5", "1"),
            ("1.0", "2.00", "3"),
            ("1e3", "1", "1001"),
            ("15E-1", "0.05e+1", "2"),
            ("9007199254740993", "2", "9007199254740995"),
            ("18446744073709551615", "18446744073709551615", "36893488147419103230"),
            ("12345678901234567890.10", "0.05", "12345678901234567890.15"),
            ("99", "1", "100"),
            ("0.99", "0.01", "1"),
            ("0", "0", "0"),
            ("0e99", "-0", "0"),
            ("100", "0", "100"),
            ("1e-30", "1e30", "1000000000000000000000000000000.000000000000000000000000000001"),
        ] {
            assert_eq!(sum(one, other), expected);
            assert_eq!(sum(other, one), expected);
        }
    }

    #[test]
    fn what_is_no_number_or_beyond_all_is_none() {
        for text in ["1e99999999999999999999", "a", "1_0", "1e", "0x1", "1.-5"] {
            assert_eq!(Decimal::parse(text), None, "{text}");
        }
        for (text, is_count) in [
            ("0", true),
            ("0.00", true),
            ("0e999999", true),
            ("999.999", true),
            ("1e3", false),
            ("1000", false),
            ("0.0001", false),
            ("0.0010", true),
            ("-1", false),
            ("1e999999", false),
            ("1e-999999", false),
            ("1e9223372036854775807", false),
            ("1e-9223372036854775807", false),
            ("10e9223372036854775806", false),
        ] {
            let decimal = Decimal::parse(text).unwrap();
            assert_eq!(decimal.is_count_within(3), is_count, "{text}");
        }
        // The exponent overflows with the zero of the digits.
        assert_eq!(Decimal::parse("10e9223372036854775807"), None);
        assert_eq!(Decimal::parse("1.5e-9223372036854775808"), None);
    }

    #[test]
    fn a_float_holds_what_is_its_value_or_is_written_as_it_is() {
        for text in [
            "0",
            "-0",
            "1.0",
            "1e2",
            "0.1",
            "-0.30",
            "5e-324",
            "1.7976931348623157e308",
            "9007199254740992",
            "18446744073709551616",
            "18446744073709552000",
            "0.1000000000000000055511151231257827021181583404541015625",
        ] {
            assert!(is_exact(text, text.parse().unwrap()), "{text}");
        }
        for text in [
            "9007199254740993",
            "12345678901234567890.10",
            "0.10000000000000001",
            "18446744073709551615",
            "1e-400",
            "1e400",
            "0.30000000000000004440",
        ] {
            assert!(!is_exact(text, text.parse().unwrap()), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_sum_is_that_of_whole_numbers_whatever_the_point(
            one in 0..u128::MAX / 2, other in 0..u128::MAX / 2, places in 0..40_usize,
        ) {
            let shifted = |number: u128| {
                let digits = format!("{number:0>width$}", width = places + 1);
                let (whole, fraction) = digits.split_at(digits.len() - places);
                if places == 0 { digits } else { format!("{whole}.{fraction}") }
            };
            let canonical = |text: String| Decimal::parse(&text).unwrap().written_out();
            prop_assert_eq!(sum(&shifted(one), &shifted(other)), canonical(shifted(one + other)));
            let exponent = format!("{one}e-{places}");
            prop_assert_eq!(canonical(exponent), canonical(shifted(one)));
        }

        #[test]
        fn a_float_is_exact_as_it_is_written(float in any::<f64>()) {
            for text in [format!("{float}"), format!("{float:e}"), format!("{float:.1074}")] {
                prop_assert!(is_exact(&text, float), "{}", text);
            }
        }
    }
}
