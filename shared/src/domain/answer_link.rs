//! A link by which whoever has it reads one question of an agent and answers it: nothing else, and after its answer it
//! shows that. Its token stands behind the `#` of the link, which browsers send to nobody.

use std::{fmt, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::domain::{
    caller::Actor,
    error::Error,
    execution::Execution,
    id::{ExecutionId, QuestionId},
    question::Question,
    time::Timestamp,
};

/// How long a question can be answered by its link if its agent does not say how long it waits.
const LONGEST: Duration = Duration::from_hours(30 * 24);

/// What the keys of links are derived by. Those of webhooks begin with a digit or `subscription/`.
const PURPOSE: &[u8] = b"answer-link/1";

/// The `key_id` of who answers by a link.
const KEY_ID: &str = "answer-link";

const MAX_TOKEN: usize = 200;
const MAX_NAME: usize = 100;

/// Which question a link is to, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerLink {
    pub execution_id: ExecutionId,
    pub question_id: QuestionId,
    pub expires_at: Timestamp,
}

impl AnswerLink {
    /// The one link to this question: the same whenever it is asked for.
    #[must_use]
    pub fn to(id: &ExecutionId, question: &Question) -> Self {
        let expires_at = question.expires_at.unwrap_or_else(|| question.asked_at.plus(LONGEST));
        Self {
            execution_id: id.clone(),
            question_id: question.question_id.clone(),
            // As its token has it.
            expires_at: Timestamp::from_millis(expires_at.seconds() * 1_000),
        }
    }

    /// Its address below that of the API.
    #[must_use]
    pub fn url(&self, base: &str, master: &[u8]) -> String {
        format!("{base}/answer#{}", self.token(master))
    }

    /// `<execution_id>.<question_id>.<seconds>.<HMAC-SHA256>`: no id has a dot.
    fn token(&self, master: &[u8]) -> String {
        let claims = self.claims();
        let signature = signed(master, &claims).finalize().into_bytes();
        format!("{claims}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn claims(&self) -> String {
        format!("{}.{}.{}", self.execution_id, self.question_id, self.expires_at.seconds())
    }

    /// The link of a token that this stack has made and that has not expired. Any other is refused without a look
    /// at what it is to.
    pub fn open(token: &str, master: &[u8], now: Timestamp) -> Result<Self, Error> {
        let link = Self::parse(token, master).ok_or(Error::NotFound("answer link"))?;
        if link.expires_at <= now {
            return Err(Error::Conflict("the answer link has expired".into()));
        }
        Ok(link)
    }

    /// A text without the tokens of this run's links that are in it: a receiver may answer with what it got.
    #[must_use]
    pub fn blanked(text: &str, id: &ExecutionId) -> String {
        let start = format!("{id}.");
        let in_token = |it: char| it.is_ascii_alphanumeric() || matches!(it, '.' | '-' | '_');
        let mut parts = text.split(&start);
        let mut blanked = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let rest = part.trim_start_matches(in_token);
            let token = if rest.len() == part.len() { "" } else { "…" };
            blanked.extend([&start, token, rest]);
        }
        blanked
    }

    fn parse(token: &str, master: &[u8]) -> Option<Self> {
        if token.len() > MAX_TOKEN {
            return None;
        }
        let (claims, signature) = token.rsplit_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        signed(master, claims).verify_slice(&signature).ok()?;
        let mut parts = claims.split('.');
        let link = Self {
            execution_id: parts.next()?.parse().ok()?,
            question_id: parts.next()?.parse().ok()?,
            expires_at: Timestamp::from_millis(
                parts.next()?.parse::<i64>().ok()?.checked_mul(1_000)?,
            ),
        };
        parts.next().is_none().then_some(link)
    }
}

fn signed(master: &[u8], claims: &str) -> Hmac<Sha256> {
    let key = keyed(master).chain_update(PURPOSE).finalize().into_bytes();
    keyed(&key).chain_update(claims)
}

/// HMAC takes a key of any length.
fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key)
        .unwrap_or_else(|_| Hmac::new(&hmac::digest::Key::<Hmac<Sha256>>::default()))
}

/// Who has answered a question: a caller, or whoever had its link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Answerer {
    #[serde(flatten)]
    pub actor: Actor,
    /// What a person who answered by a link is called, in their own words. Nobody has checked it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl From<Actor> for Answerer {
    fn from(actor: Actor) -> Self {
        Self { actor, name: None }
    }
}

/// How a person who answers by a link is called: 1 to 100 characters on one line, in one direction.
#[derive(Clone, PartialEq, Eq)]
pub struct AnswererName(String);

impl fmt::Debug for AnswererName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("AnswererName(..)")
    }
}

impl AnswererName {
    pub fn new(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        if text.chars().count() > MAX_NAME || text.chars().any(changes_lines) {
            return Err(Error::invalid("name", "must be 1 to 100 characters on one line"));
        }
        if !text.chars().any(is_seen) {
            return Err(Error::invalid("name", "must have a letter or digit"));
        }
        Ok(Self(text.to_owned()))
    }

    /// This person, who answers a run of this user's.
    #[must_use]
    pub fn answers(self, execution: &Execution) -> Answerer {
        let actor = Actor { user_id: execution.user_id.clone(), key_id: KEY_ID.to_owned() };
        Answerer { actor, name: Some(self.0) }
    }
}

/// Whether a character is a letter or digit, and no filler, which shows nothing.
fn is_seen(character: char) -> bool {
    let is_filler = matches!(character, '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}');
    character.is_alphanumeric() && !is_filler
}

/// Whether a character ends a line or a terminal's text, or turns the direction of what follows it
/// (<https://www.unicode.org/reports/tr9/#Directional_Formatting_Characters>), so that a name could read as
/// something else.
fn changes_lines(character: char) -> bool {
    character.is_control() || matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    fn link() -> AnswerLink {
        AnswerLink {
            execution_id: "mcp-approval-1".parse().unwrap(),
            question_id: "0123456789abcdef0123456789abcdef".parse().unwrap(),
            expires_at: Timestamp::from_millis(2_000_000),
        }
    }

    #[test]
    fn a_token_opens_its_link_until_it_expires() {
        let token = link().token(b"master");

        assert_eq!(AnswerLink::open(&token, b"master", NOW).unwrap(), link());
        assert_eq!(
            AnswerLink::open(&token, b"master", link().expires_at).unwrap_err().to_string(),
            "the answer link has expired"
        );
        assert!(AnswerLink::open(&token, b"another", NOW).is_err());
        assert_eq!(
            link().url("https://x/live", b"master"),
            format!("https://x/live/answer#{token}")
        );
        // The longest there is.
        let longest = AnswerLink {
            execution_id: format!("mcp-{}", "a".repeat(76)).parse().unwrap(),
            expires_at: Timestamp::from_millis(i64::MAX),
            ..link()
        };
        assert!(longest.token(b"master").len() <= MAX_TOKEN);
    }

    #[test]
    fn the_secret_of_no_user_makes_a_token() {
        let token = link().token(b"master");
        let (claims, _) = token.rsplit_once('.').unwrap();
        // What a user's webhooks are signed with, and the master itself.
        for key in [&b"master"[..], &keyed(b"master").chain_update("0/a").finalize().into_bytes()] {
            let forged = keyed(key).chain_update(claims).finalize().into_bytes();
            let forged = format!("{claims}.{}", URL_SAFE_NO_PAD.encode(forged));
            assert!(AnswerLink::open(&forged, b"master", NOW).is_err());
        }
    }

    proptest! {
        #[test]
        fn no_other_text_opens_anything(text in "\\PC{0,220}", at in 0..140_usize, byte in "[0-9A-Za-z._-]") {
            prop_assert!(AnswerLink::open(&text, b"master", NOW).is_err());
            let token = link().token(b"master");
            let mut changed = token.clone();
            let at = at % token.len();
            changed.replace_range(at..=at, &byte);
            // The last character has two bits that say nothing, which must be zero.
            prop_assert_eq!(AnswerLink::open(&changed, b"master", NOW).is_ok(), changed == token);
        }
    }

    #[test]
    fn a_text_keeps_no_token() {
        let url = link().url("https://a.example", b"master");
        let blank = "https://a.example/answer#mcp-approval-1.…";
        for (text, expected) in [
            (format!("bad: {url}"), format!("bad: {blank}")),
            (format!("\"{url}\" or {url}, no"), format!("\"{blank}\" or {blank}, no")),
            (url[..url.len() - 5].to_owned(), blank.to_owned()),
            ("no run mcp-approval-1.".to_owned(), "no run mcp-approval-1.".to_owned()),
            ("mcp-approval-1 is unknown".to_owned(), "mcp-approval-1 is unknown".to_owned()),
        ] {
            assert_eq!(AnswerLink::blanked(&text, &link().execution_id), expected);
        }
    }

    #[test]
    fn a_name_is_one_line_that_says_something() {
        assert_eq!(AnswererName::new(" Ana Grüße ").unwrap().0, "Ana Grüße");
        for odd in [
            "",
            "  ",
            "a\nb",
            "\u{0}",
            "a\u{2028}b",
            "a\u{202e}b",
            "\u{200b}",
            "\u{3164}",
            "\u{2800}.",
            &"x".repeat(101),
        ] {
            assert!(AnswererName::new(odd).is_err(), "{odd:?}");
        }
    }
}
