//! Requests and answers behind API Gateway.

pub mod answer;
pub mod body;
pub mod gateway;
pub mod openapi;
pub mod parse;
pub mod problem;
pub mod reply;
