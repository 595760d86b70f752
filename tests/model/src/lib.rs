//! Models of the protocol, explored state by state. Their actions ask the rules of `relay` itself, so what
//! is explored is what the functions do; see ARCHITECTURE.md, "The model".

pub mod batch;
pub mod configs;
pub mod delivery;
pub mod explore;
pub mod flaw;
mod memo;
pub mod run;
pub mod slots;
pub mod time;
