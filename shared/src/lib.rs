//! What the functions of agent-relay share, in five rooms. A room imports from those before it and from no other, and no two
//! files import each other in a circle: `tests/tests/rooms.rs` checks it.
//!
//! - [`domain`]: nouns and rules, without I/O. [`domain::protocol`] has the rules of a run, [`domain::rights`] the one
//!   check of what leaves to whom.
//! - [`aws`]: what is reached of AWS beside the tables, and what Lambda gives: connections, failures, queues, bus, Step
//!   Functions, secrets, variables, telemetry.
//! - [`store`]: the tables: one file per kind of item, one function per DynamoDB call.
//! - [`http`]: requests and answers behind API Gateway.
//! - [`service`]: what REST, envelope and MCP all call, so that they cannot disagree.
//!
//! The one principle, in `ARCHITECTURE.md`: the row is the truth, a message is only a hint.
//!
//! Three words of our own: what an item records as still to do is its *debt* (others keep it in an outbox); the *sweep*
//! processes each minute what is overdue (others call it a reconciler); to *settle* a run is to apply to its row what was
//! observed of it.

pub mod aws;
pub mod domain;
pub mod http;
pub mod service;
pub mod store;

/// Its code compiles.
#[cfg(doctest)]
#[doc = include_str!("../../docs/rest.md")]
struct RestPage;
