//! The variables that a function is configured by, read once in its `main`; and the one by which
//! Lambda tells of an invocation.

use std::{env, fmt::Display, str::FromStr, time::Duration};

use crate::domain::loops::Home;

/// A variable is missing or unreadable: the cold start stops with its name.
#[derive(Debug, thiserror::Error)]
#[error("environment variable {name}: {reason}")]
pub struct InvalidVariable {
    name: &'static str,
    reason: String,
}

/// The X-Ray trace of this invocation, which Lambda names anew for each
/// (<https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html>).
#[must_use]
pub fn trace_header() -> Option<String> {
    env::var("_X_AMZN_TRACE_ID").ok().filter(|header| !header.is_empty())
}

/// A variable that need not be set; an empty one counts as not set.
#[must_use]
pub fn optional(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

pub(crate) fn invalid(name: &'static str, reason: &impl Display) -> InvalidVariable {
    InvalidVariable { name, reason: reason.to_string() }
}

pub fn required(name: &'static str) -> Result<String, InvalidVariable> {
    env::var(name).map_err(|error| InvalidVariable { name, reason: error.to_string() })
}

pub fn parsed<T: FromStr<Err: Display>>(name: &'static str) -> Result<T, InvalidVariable> {
    required(name)?
        .parse()
        .map_err(|error: T::Err| InvalidVariable { name, reason: error.to_string() })
}

pub fn seconds(name: &'static str) -> Result<Duration, InvalidVariable> {
    Ok(Duration::from_secs(parsed(name)?))
}

/// Texts separated by commas; none when it is empty.
pub fn list(name: &'static str) -> Result<Vec<String>, InvalidVariable> {
    let text = required(name)?;
    Ok(text.split(',').map(str::trim).filter(|it| !it.is_empty()).map(str::to_owned).collect())
}

/// The same of values that are more than text.
pub fn parsed_list<T: FromStr<Err: Display>>(
    name: &'static str,
) -> Result<Vec<T>, InvalidVariable> {
    let invalid = |error: T::Err| InvalidVariable { name, reason: error.to_string() };
    list(name)?.iter().map(|text| text.parse().map_err(invalid)).collect()
}

pub fn days(name: &'static str) -> Result<Duration, InvalidVariable> {
    let days: u32 = parsed(name)?;
    Ok(Duration::from_secs(u64::from(days) * 24 * 60 * 60))
}

/// What this stack is known by.
pub fn home() -> Result<Home, InvalidVariable> {
    Ok(Home::new(&required("STACK_ID")?, &required("PUBLIC_URL")?))
}
