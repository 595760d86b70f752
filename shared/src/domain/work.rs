//! What an agent is started with: a new message, or what an earlier run was given.

use crate::domain::{
    caller::Caller,
    execution::Execution,
    id::{ExecutionId, UserId},
    input,
    json::Json,
    loops::Hops,
};

/// What the agent is given.
#[derive(Debug, Clone)]
pub enum Work {
    New {
        input_message: String,
        /// An object.
        parameters: Json,
    },
    /// What an earlier run was given, whose user has the new one, too.
    Again { input: String, first: Box<Execution> },
}

impl Work {
    /// The run that is repeated.
    #[must_use]
    pub const fn rerun_of(&self) -> Option<&ExecutionId> {
        match self {
            Self::New { .. } => None,
            Self::Again { first, .. } => Some(&first.execution_id),
        }
    }

    /// Whose run it is, if this caller starts it.
    #[must_use]
    pub const fn user<'a>(&'a self, caller: &'a Caller) -> &'a UserId {
        match self {
            Self::New { .. } => &caller.user_id,
            Self::Again { first, .. } => &first.user_id,
        }
    }

    /// How many runs of that user go on at once, if this caller starts it.
    #[must_use]
    pub fn user_max_concurrent(&self, caller: &Caller) -> Option<u32> {
        match self {
            Self::Again { first, .. } if first.user_id != caller.user_id => {
                first.user_max_concurrent
            }
            Self::New { .. } | Self::Again { .. } => caller.max_concurrent,
        }
    }

    /// The stacks whose callbacks have led to it, if this caller starts it.
    #[must_use]
    pub fn hops(&self, caller: &Caller) -> Hops {
        let hops = caller.arrival.hops.clone();
        match self {
            Self::New { .. } => hops,
            Self::Again { first, .. } => first.hops.clone().and(&hops),
        }
    }

    /// The parameters, to be held against the agent's schema.
    #[must_use]
    pub fn parameters(&self) -> Json {
        match self {
            Self::New { parameters, .. } => parameters.clone(),
            Self::Again { input, .. } => input::parameters(input).unwrap_or_else(Json::null),
        }
    }
}
