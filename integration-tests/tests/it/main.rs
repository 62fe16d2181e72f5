//! End-to-end tests over real processes, and the rules of the house.

mod config;
mod drain;
mod harness;
mod house;
mod http;
mod hung;
mod memory;
mod observe;
mod one_plan;
mod quarantine;
mod refusals;
mod routing;
mod stability;
mod streams;
mod thin;
