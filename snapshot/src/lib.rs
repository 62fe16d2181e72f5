//! The contract between the planes.
pub mod canonical;
pub mod connections;
pub mod digest;
pub mod facts;
pub mod head;
pub mod hosts;
pub mod identity;
pub mod join_token;
pub mod keys;
pub mod layout;
pub mod name;
pub mod network;
pub mod policy;
pub mod record;
pub mod router;
pub mod signed;
mod text_form;
pub mod validate;
