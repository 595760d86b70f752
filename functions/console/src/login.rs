//! Where visitors of the console can sign in without a key: the OAuth issuer that the stack's parameters name.

use serde_json::json;

/// What the page sends its visitors to the issuer with, and where it exchanges the code that they bring back
/// (RFC 6749, section 4.1; RFC 7636).
#[derive(Debug)]
pub(crate) struct Login {
    client_id: String,
    /// Its query is kept.
    authorize_url: String,
    token_url: String,
    token_origin: String,
}

/// The variables name no issuer, and not none either.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidLogin {
    #[error(
        "CONSOLE_OAUTH_CLIENT_ID, CONSOLE_OAUTH_AUTHORIZE_URL and CONSOLE_OAUTH_TOKEN_URL need each other"
    )]
    Incomplete,
    #[error(
        "{0} must be an https URL with a path, without a fragment, at a host of letters, digits, points and hyphens"
    )]
    Url(&'static str),
}

impl Login {
    /// None if all three are empty.
    pub(crate) fn parse(
        client_id: String,
        authorize_url: String,
        token_url: String,
    ) -> Result<Option<Self>, InvalidLogin> {
        let given = [&client_id, &authorize_url, &token_url].map(|it| !it.is_empty());
        if given == [false; 3] {
            return Ok(None);
        }
        if given != [true; 3] {
            return Err(InvalidLogin::Incomplete);
        }
        origin(&authorize_url).ok_or(InvalidLogin::Url("CONSOLE_OAUTH_AUTHORIZE_URL"))?;
        let token_origin =
            origin(&token_url).ok_or(InvalidLogin::Url("CONSOLE_OAUTH_TOKEN_URL"))?.to_owned();
        Ok(Some(Self { client_id, authorize_url, token_url, token_origin }))
    }

    /// The one origin but its own to which the page may send something.
    pub(crate) fn token_origin(&self) -> &str {
        &self.token_origin
    }

    /// As the page reads it.
    pub(crate) fn to_json(&self) -> String {
        let Self { client_id, authorize_url, token_url, token_origin: _ } = self;
        json!({"client_id": client_id, "authorize_url": authorize_url, "token_url": token_url})
            .to_string()
    }
}

/// The origin of a URL that is https, or at this machine. It is of such characters alone that no header takes another
/// meaning from it: a URL's host may hold a semicolon, a comma and an asterisk.
fn origin(url: &str) -> Option<&str> {
    let (scheme, rest) = url.split_once("://")?;
    let (authority, path) = rest.split_once('/')?;
    let (host, port) = authority.split_once(':').unwrap_or((authority, "0"));
    let is_trusted = scheme == "https" || (scheme == "http" && host == "127.0.0.1");
    let is_host = !host.is_empty()
        && host.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'.' || it == b'-');
    let is_port = !port.is_empty() && port.bytes().all(|it| it.is_ascii_digit());
    let is_path = path.bytes().all(|it| it.is_ascii_graphic() && it != b'#');
    let origin = url.strip_suffix(path)?.strip_suffix('/')?;
    (is_trusted && is_host && is_port && is_path).then_some(origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(given: [&str; 3]) -> Result<Option<Login>, InvalidLogin> {
        let [client_id, authorize_url, token_url] = given.map(str::to_owned);
        Login::parse(client_id, authorize_url, token_url)
    }

    #[test]
    fn three_variables_make_a_login_and_none_of_them_none() {
        let authorize = "https://login.example.com/authorize?scope=view%3A*&audience=agents";
        let login = parse(["console", authorize, "https://login.example.com:8443/token"]);
        let login = login.unwrap().unwrap();
        assert_eq!(login.token_origin(), "https://login.example.com:8443");
        let told: serde_json::Value = serde_json::from_str(&login.to_json()).unwrap();
        assert_eq!(told["authorize_url"], authorize);
        assert!(parse(["", "", ""]).unwrap().is_none());
        for given in [
            ["console", "", ""],
            ["", authorize, "https://login.example.com/token"],
            ["console", authorize, ""],
        ] {
            assert_eq!(parse(given).unwrap_err(), InvalidLogin::Incomplete, "{given:?}");
        }
    }

    #[test]
    fn only_a_plain_https_origin_or_this_machine_is_taken() {
        assert_eq!(origin("http://127.0.0.1:8080/token"), Some("http://127.0.0.1:8080"));
        assert_eq!(origin("https://a-b.example/"), Some("https://a-b.example"));
        assert_eq!(origin("https://a.example//x?y=/"), Some("https://a.example"));
        for text in [
            "https://a.example",
            "https:///token",
            "http://a.example/token",
            "http://127.0.0.1.a.example/token",
            "http://localhost/token",
            "javascript://a.example/%0aalert(1)",
            "https://a.example;script-src/token",
            "https://a.example,x/token",
            "https://*/token",
            "https://'self'/token",
            "https://user@a.example/token",
            "https://a.example:/token",
            "https://a.example:x/token",
            "https://[::1]/token",
            "https://a.example/to ken",
            "https://a.example/token\r\nx: y",
            "https://a.example/token#x",
            " https://a.example/token",
            "https://bücher.example/token",
        ] {
            assert_eq!(origin(text), None, "{text}");
        }
        let given = ["console", "https://a.example/authorize", "https://*/token"];
        assert_eq!(parse(given).unwrap_err(), InvalidLogin::Url("CONSOLE_OAUTH_TOKEN_URL"));
    }
}
