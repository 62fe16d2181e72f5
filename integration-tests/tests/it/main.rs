//! End-to-end tests over real processes, and the rules of the house.

mod cli;
mod collect;
mod config;
mod documented;
mod drain;
mod flags;
mod harness;
mod health;
mod house;
mod http;
mod hung;
mod memory;
mod observe;
mod one_plan;
mod ports;
mod quarantine;
mod refusals;
mod reports;
mod retries;
mod routing;
mod servers;
mod stability;
mod starting;
mod streams;
mod systemd;
mod thin;
