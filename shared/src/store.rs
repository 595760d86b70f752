//! The tables: one file per kind of item, one function per call.

pub mod agents;
pub mod api_keys;
pub mod batch;
mod batches;
pub mod budget;
mod change;
pub mod dead;
pub mod deliveries;
pub mod due;
pub mod executions;
pub mod generations;
pub mod given_up;
pub mod item;
mod key;
pub mod limits;
pub mod listing;
mod marker;
mod projection;
pub mod questions;
mod redelivery;
mod redrives;
mod slot;
pub mod slots;
pub mod subscriptions;
pub mod transitions;
pub mod trouble;
pub mod write;
