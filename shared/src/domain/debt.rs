//! What an item still owes, and where it stands for that in the index of debts.

use serde::{Deserialize, Serialize};

use crate::domain::id::ExecutionId;

/// Kinds of debts. Each stands apart in the index, and `sweep` processes all of them side by
/// side, so that none can starve another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DebtKind {
    /// A run that `launch` is to start or to stop: what cannot wait.
    Launch,
    /// A running run of which Step Functions is asked when it is silent, as far as its quota goes.
    Poll,
    /// An answer to an agent, or that it has stopped waiting for one.
    Answer,
    /// An event to a receiver.
    Delivery,
    /// A batch that is not complete.
    Batch,
    /// A line of runs that wait for a slot.
    Line,
}

impl DebtKind {
    pub const ALL: [Self; 6] =
        [Self::Launch, Self::Poll, Self::Answer, Self::Delivery, Self::Batch, Self::Line];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Launch => "launch",
            Self::Poll => "poll",
            Self::Answer => "answer",
            Self::Delivery => "delivery",
            Self::Batch => "batch",
            Self::Line => "line",
        }
    }

    /// Over how many keys of the index it is spread, each of which takes 1,000 writes a second. A
    /// run with one callback writes twice into the first and the last of these, and the others
    /// are rare; but each key is a query of each sweep.
    #[must_use]
    pub const fn shards(self) -> u8 {
        match self {
            Self::Launch | Self::Delivery => 8,
            Self::Poll => 4,
            Self::Answer => 2,
            Self::Batch | Self::Line => 1,
        }
    }

    /// The keys of this kind.
    pub fn keys(self) -> impl Iterator<Item = Debt> {
        (0..self.shards()).map(move |shard| Debt(format!("{}#{shard}", self.as_str())))
    }

    /// Whether it is a run that stands there.
    #[must_use]
    pub const fn is_of_a_run(self) -> bool {
        match self {
            Self::Launch | Self::Poll => true,
            Self::Answer | Self::Delivery | Self::Batch | Self::Line => false,
        }
    }
}

/// A key of the index of debts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Debt(String);

impl Debt {
    /// Of an item of this execution, spread so that no key is hot.
    #[must_use]
    pub fn of(kind: DebtKind, id: &ExecutionId) -> Self {
        Self(format!("{}#{}", kind.as_str(), id.spread() % kind.shards()))
    }

    /// The key of the dead letters: what `sweep` has attempted in vain too often. It does not read
    /// them; an operator does.
    #[must_use]
    pub fn dead() -> Self {
        Self("dead".to_owned())
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::AgentName;

    #[test]
    fn debts_are_spread_over_all_keys_of_their_kind() {
        let agent: AgentName = "echo".parse().unwrap();
        for kind in DebtKind::ALL {
            let keys: Vec<_> = kind.keys().collect();
            let mut seen = vec![0; keys.len()];
            for _ in 0..800 {
                let debt = Debt::of(kind, &ExecutionId::generate(&agent));
                seen[keys.iter().position(|key| *key == debt).unwrap()] += 1;
            }
            assert!(seen.iter().all(|count| count * keys.len() > 400), "{kind:?} {seen:?}");
            assert!(!keys.contains(&Debt::dead()));
        }
    }
}
