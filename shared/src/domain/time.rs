//! Instants as the tables keep them (milliseconds) and as callers read them (RFC 3339).

use std::{
    borrow::Cow,
    time::{Duration, SystemTime},
};

use aws_sdk_dynamodb::primitives::{DateTime, DateTimeFormat};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, Serializer};

use crate::domain::error::Error;

/// Milliseconds since 1970-01-01 UTC: the form that is stored, and that EventBridge sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    #[must_use]
    pub fn now() -> Self {
        Self(DateTime::from(SystemTime::now()).to_millis().unwrap_or_default())
    }

    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// A time as text: milliseconds since 1970, or RFC 3339.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Ok(millis) = text.parse() {
            return Some(Self(millis));
        }
        // JSON makes no difference between 1 and 1.0, and so neither do those who write it.
        if let Some(millis) = text.parse().ok().filter(|millis: &f64| millis.is_finite()) {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "what is beyond is no time at all"
            )]
            return Some(Self(millis as i64));
        }
        Self::parse_rfc3339(text)
    }

    /// A time as RFC 3339 has it, and nothing else.
    #[must_use]
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let time = DateTime::from_str(text, DateTimeFormat::DateTimeWithOffset).ok()?;
        time.to_millis().ok().map(Self)
    }

    /// What the caller gives as this field, as RFC 3339 has it.
    pub fn of_field(field: &'static str, text: &str) -> Result<Self, Error> {
        Self::parse_rfc3339(text)
            .ok_or_else(|| Error::invalid(field, "must be a time in the format of RFC 3339"))
    }

    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since 1970, rounded down: the unit of DynamoDB's `ttl` and of
    /// `webhook-timestamp`.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// Milliseconds from `earlier` to here; 0 where the clocks of two machines disagree.
    #[must_use]
    pub fn millis_since(self, earlier: Self) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or_default()
    }

    /// `2026-01-31T09:00:00.120Z`, as RFC 3339 has it, always with three digits behind the point.
    #[must_use]
    pub fn rfc3339(self) -> String {
        // Fails only outside the years 1 to 9999, which no clock of ours shows.
        let time = DateTime::from_secs(self.seconds()).fmt(DateTimeFormat::DateTime);
        let time = time.unwrap_or_default();
        format!("{}.{:03}Z", time.trim_end_matches('Z'), self.0.rem_euclid(1000))
    }

    /// For `#[serde(serialize_with)]` in what callers read.
    pub fn as_rfc3339<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.rfc3339())
    }

    /// The same for a time that may be missing.
    pub fn as_optional_rfc3339<S: Serializer>(
        time: &Option<Self>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        time.map(Self::rfc3339).serialize(serializer)
    }
}

/// Seconds rounded to milliseconds, so that 1.985 is written as that: most fractions are none of
/// binary, and to calculate with them adds to what they are off.
#[must_use]
pub fn rounded(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

/// Milliseconds in seconds, rounded alike.
#[must_use]
pub fn seconds(millis: u64) -> f64 {
    rounded(Duration::from_millis(millis).as_secs_f64())
}

impl From<DateTime> for Timestamp {
    fn from(time: DateTime) -> Self {
        Self(time.to_millis().unwrap_or_default())
    }
}

/// As callers read it.
impl JsonSchema for Timestamp {
    fn schema_name() -> Cow<'static, str> {
        "Timestamp".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "format": "date-time"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_as_rfc_3339_and_counted_in_whole_seconds() {
        let time = Timestamp::from_millis(1_767_225_600_250);

        assert_eq!(time.rfc3339(), "2026-01-01T00:00:00.250Z");
        assert_eq!(time.seconds(), 1_767_225_600);
        assert_eq!(time.plus(Duration::from_secs(2)).millis_since(time), 2000);
        assert_eq!(time.millis_since(time.plus(Duration::from_secs(2))), 0);
    }

    #[test]
    fn a_time_is_read_from_milliseconds_or_rfc_3339() {
        for (text, millis) in [
            ("1767225600250", Some(1_767_225_600_250)),
            (" 0 ", Some(0)),
            ("-1", Some(-1)),
            ("2026-01-01T00:00:00.250Z", Some(1_767_225_600_250)),
            ("2026-01-01T01:00:00+01:00", Some(1_767_225_600_000)),
            ("2026-01-01", None),
            ("yesterday", None),
            ("1767225600250.0", Some(1_767_225_600_250)),
            ("1e3", Some(1_000)),
            ("99999999999999999999", Some(i64::MAX)),
            ("1e400", None),
            ("NaN", None),
            ("", None),
        ] {
            assert_eq!(Timestamp::parse(text).map(Timestamp::millis), millis, "{text}");
        }
    }

    #[test]
    fn seconds_are_written_with_three_digits_at_most() {
        for (millis, text) in [(1_985, "1.985"), (2_050, "2.05"), (0, "0.0"), (60_000, "60.0")] {
            assert_eq!(serde_json::to_string(&seconds(millis)).unwrap(), text);
        }
        for millis in 0..100_000 {
            let text = serde_json::to_string(&seconds(millis)).unwrap();
            assert!(text.split_once('.').unwrap().1.len() <= 3, "{text}");
        }
        assert_eq!(serde_json::to_string(&rounded(1.984_999_999_999_999_9)).unwrap(), "1.985");
    }
}
