//! Who may issue tokens to our callers: OAuth 2.0 authorization servers, as the stack names them.

use std::str::FromStr;

use url::{Host, Url};

use crate::domain::id::UserId;

/// An issuer, and the alias under which its users are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    alias: String,
    /// As the claim `iss` has it, byte for byte.
    pub url: String,
}

/// The text is not an [`Issuer`].
#[derive(Debug, thiserror::Error)]
#[error("must be ALIAS=URL, where an alias is of a-z, 0-9 and -, and the URL is https")]
pub struct InvalidIssuer;

impl FromStr for Issuer {
    type Err = InvalidIssuer;

    /// `ALIAS=URL`. Plain http is for this machine alone.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (alias, url) = text.split_once('=').ok_or(InvalidIssuer)?;
        let valid = !alias.is_empty()
            && alias.bytes().all(|it| matches!(it, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        if !valid || !is_trusted(url) {
            return Err(InvalidIssuer);
        }
        Ok(Self { alias: alias.to_owned(), url: url.to_owned() })
    }
}

impl Issuer {
    /// The user whom the issuer calls `subject`. No API key has a user with this character.
    #[must_use]
    pub fn user(&self, subject: &str) -> UserId {
        format!("{}|{subject}", self.alias).into()
    }
}

/// Whether what is read from this URL may be believed: over TLS, or from this machine.
#[must_use]
pub fn is_trusted(url: &str) -> bool {
    let Ok(url) = Url::parse(url) else { return false };
    let is_local = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(_)) | None => false,
    };
    url.username().is_empty()
        && url.password().is_none()
        && (url.scheme() == "https" && url.has_host() || url.scheme() == "http" && is_local)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_has_an_alias_and_a_trusted_url() {
        let issuer: Issuer = "acme=https://login.acme.example/realms/one".parse().unwrap();
        assert_eq!(issuer.url, "https://login.acme.example/realms/one");
        assert_eq!(issuer.user("someone").as_str(), "acme|someone");
        assert!("local=http://127.0.0.1:8080".parse::<Issuer>().is_ok());
        for text in [
            "",
            "https://login.acme.example",
            "=https://login.acme.example",
            "a|b=https://login.acme.example",
            "Acme=https://login.acme.example",
            "acme=http://login.acme.example",
            "acme=https://user@login.acme.example",
            "acme=file:///etc/passwd",
            "acme=login.acme.example",
        ] {
            assert!(text.parse::<Issuer>().is_err(), "{text}");
        }
    }
}
