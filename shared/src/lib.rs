//! What the functions of agent-relay share. A map:
//!
//! - Nouns, without I/O: [`execution`] (ids, statuses and the one transition rule), [`protocol`] (all other rules of a
//!   run, as functions of plain values), [`agent`],
//!   [`caller`] (who asks, and what they may do), [`rights`] (the one check of what leaves to whom), [`api_key`], [`request`] (what a start asks
//!   for), [`callback`] and [`network`] (where news may go), [`loops`] (and where not), [`delivery`] (one debt to one
//!   target), [`health`] (how a subscription's receiver fares), [`question`] (what an agent asks), [`schema`] (what an answer must fit), [`signature`], [`outcome`] (how a run ended), [`answer`] (what callers read),
//!   [`time`].
//! - [`store`]: one file per kind of item, one function per DynamoDB call. [`queue`]: the hints
//!   that hurry what the rows owe.
//! - [`service`]: what REST, envelope and MCP all call, so that they cannot disagree.
//! - [`error`] (what can go wrong), [`problem`] (how an error is answered), [`gateway`] (what the
//!   functions behind API Gateway share), [`telemetry`], [`env`](mod@env), [`aws`] (how AWS is reached).
//!
//! The one principle, in `ARCHITECTURE.md`: the row is the truth, messages only hurry it.

pub mod agent;
pub mod answer;
pub mod api_key;
pub mod aws;
pub mod bus;
pub mod callback;
pub mod caller;
pub mod debt;
mod decimal;
pub mod delivery;
pub mod env;
pub mod error;
pub mod execution;
pub mod gateway;
pub mod health;
pub mod issuer;
pub mod json;
pub mod loops;
pub mod master_secret;
pub mod network;
pub mod openapi;
pub mod outcome;
pub mod problem;
pub mod protocol;
pub mod question;
pub mod queue;
pub mod request;
pub mod rights;
pub mod schema;
pub mod service;
pub mod signature;
pub mod step_functions;
pub mod store;
pub mod subscription;
pub mod telemetry;
pub mod time;

/// Its code compiles.
#[cfg(doctest)]
#[doc = include_str!("../../docs/rest.md")]
struct RestPage;
