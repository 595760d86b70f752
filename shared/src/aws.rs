//! What is reached of AWS beside the tables, and what Lambda gives a function.

pub mod bus;
pub mod connection;
mod connector;
pub mod env;
pub mod failure;
pub mod master_secret;
mod preconnect;
pub mod queue;
pub mod step_functions;
pub mod telemetry;
