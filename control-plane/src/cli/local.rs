//! `validate`, `schema`: what needs neither server nor store.

use clap::Args;

use super::files::Files;
use super::output::{self, Exit, Failed};
use crate::config::Kind;
use crate::{compile, config, schema};

#[derive(Debug, Args)]
#[command(
    after_help = "The files have to be complete: what they name must be in them.\n\nExample:\n  outrigger validate -f mesh/"
)]
pub(super) struct Validate {
    #[command(flatten)]
    files: Files,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  outrigger schema > outrigger.schema.json")]
pub(super) struct Schema {
    /// Only of this kind
    kind: Option<String>,
}

impl Schema {
    pub(super) fn run(self) -> Result<Exit, Failed> {
        let schema = match &self.kind {
            None => schema::schemas(),
            Some(text) => schema::schema(Kind::named(text).ok_or_else(|| {
                let known = Kind::ALL.map(Kind::name).join(", ");
                Failed::usage(format!("{text:?} is not a kind: expected one of {known}"))
            })?),
        };
        output::json(&schema)?;
        Ok(Exit::Done)
    }
}

impl Validate {
    pub(super) fn run(self) -> Result<Exit, Failed> {
        match config::load(&[], &self.files.read()?) {
            Ok(checked) => {
                let compiled = compile::compile(&checked);
                let (resources, scopes) = (checked.resources().len(), compiled.scopes.len());
                output::line(&format!("valid: {resources} resources, {scopes} scopes"));
                Ok(Exit::Done)
            }
            Err(problems) => {
                for problem in &problems {
                    output::remark(&problem.to_string());
                }
                if problems.omitted() > 0 {
                    output::remark(&format!("and {} more", problems.omitted()));
                }
                let many = if problems.len() == 1 { "problem" } else { "problems" };
                Err(Failed::refused(format!("{} {many}", problems.len())))
            }
        }
    }
}
