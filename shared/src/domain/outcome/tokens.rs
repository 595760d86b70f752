//! How many tokens several messages took together.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::domain::{
    decimal::Decimal,
    json::{Json, Node},
};

/// What has more places than this on either side of its point counts no tokens.
const MAX_PLACES: i64 = 100;

/// A number of tokens, or several of a kind.
#[derive(Serialize)]
#[serde(untagged)]
enum Amount<Number> {
    Tokens(Number),
    Details(BTreeMap<String, Number>),
}

/// Adds up what is counted, and leaves out what is not. `None` where nothing is, or where one usage
/// has several numbers of a kind and another has one.
pub(super) fn sum(usages: &[Node<'_>]) -> Option<Json> {
    let mut total: BTreeMap<String, Amount<Decimal>> = BTreeMap::new();
    for usage in usages {
        for (name, node) in usage.members().iter() {
            if let Some(count) = count(node) {
                match total.entry(name.to_owned()).or_insert(Amount::Tokens(Decimal::default())) {
                    Amount::Tokens(tokens) => *tokens = tokens.plus(&count),
                    Amount::Details(_) => return None,
                }
            } else if node.is_object() {
                let empty = Amount::Details(BTreeMap::new());
                let Amount::Details(details) = total.entry(name.to_owned()).or_insert(empty) else {
                    return None;
                };
                for (name, node) in node.members().iter() {
                    if let Some(count) = count(node) {
                        let tokens = details.entry(name.to_owned()).or_default();
                        *tokens = tokens.plus(&count);
                    }
                }
            }
        }
    }
    let total: Option<BTreeMap<String, Amount<Json>>> =
        total.into_iter().map(|(name, amount)| Some((name, amount.written()?))).collect();
    total.filter(|total| !total.is_empty()).map(|total| Json::of(&total))
}

impl Amount<Decimal> {
    fn written(self) -> Option<Amount<Json>> {
        let number = |decimal: &Decimal| Json::parse(&decimal.written_out());
        Some(match self {
            Self::Tokens(tokens) => Amount::Tokens(number(&tokens)?),
            Self::Details(details) => {
                let each =
                    details.iter().map(|(name, tokens)| Some((name.clone(), number(tokens)?)));
                Amount::Details(each.collect::<Option<_>>()?)
            }
        })
    }
}

/// A number that can be one of tokens.
fn count(node: Node<'_>) -> Option<Decimal> {
    let count = Decimal::parse(node.as_str())?;
    count.is_count_within(MAX_PLACES).then_some(count)
}
