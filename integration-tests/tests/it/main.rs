//! End-to-end tests over real processes, and the rules of the house.

mod harness;
mod house;
