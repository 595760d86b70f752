//! How a list goes on: its cursors, and how much one request reads.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    domain::{error::Error, execution::Execution},
    store::listing::{After, PageKey},
};

/// How many pages of the index one list reads at most, when a filter leaves little of each.
pub(super) const MAX_PAGES: usize = 5;

pub(super) const WRONG_CURSOR: &str = "must be the next_cursor of an earlier answer";

/// The place behind a run of a list.
pub(super) fn behind(run: &Execution) -> After {
    After::Run(PageKey { execution_id: run.execution_id.clone(), created_at: run.created_at })
}

/// A place of a list without the name of a run that the caller was not shown: behind the last that it was
/// shown, if that is of this time, or else before all of this time.
pub(super) fn shown_to(place: &After, last: Option<&Execution>) -> After {
    let created_at = place.created_at();
    match last {
        Some(last) if last.created_at == created_at => behind(last),
        _ => After::Time { until: created_at },
    }
}

pub(super) fn encode_cursor(key: &impl Serialize) -> Result<String, Error> {
    let text = serde_json::to_vec(key).map_err(|error| Error::corrupt("a cursor", error))?;
    Ok(URL_SAFE_NO_PAD.encode(text))
}

pub(super) fn decode_cursor<T: DeserializeOwned>(cursor: &str) -> Result<T, Error> {
    let text = URL_SAFE_NO_PAD.decode(cursor).ok();
    text.and_then(|text| serde_json::from_slice(&text).ok())
        .ok_or_else(|| Error::invalid("cursor", WRONG_CURSOR))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::Timestamp;

    #[test]
    fn a_cursor_comes_back_as_it_went_out_and_others_are_refused() {
        let key = PageKey {
            execution_id: "mcp-echo-1".parse().unwrap(),
            created_at: Timestamp::from_millis(5),
        };
        let time = After::Time { until: key.created_at };
        let cursor = encode_cursor(&After::Run(key.clone())).unwrap();

        assert_eq!(decode_cursor::<After>(&cursor).unwrap(), After::Run(key));
        assert_eq!(decode_cursor::<After>(&encode_cursor(&time).unwrap()).unwrap(), time);
        for wrong in ["", "x", "%%%", "e30", &cursor[1..]] {
            assert!(decode_cursor::<After>(wrong).is_err(), "{wrong}");
        }
    }
}
