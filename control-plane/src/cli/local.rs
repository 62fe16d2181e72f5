//! `validate`, `schema`: what needs neither server nor store.

use clap::Args;

use super::files::Files;
use super::output::{self, Exit, Failed};
use crate::{compile, config};

#[derive(Debug, Args)]
#[command(
    after_help = "The files have to be complete: what they name must be in them.\n\nExample:\n  outrigger validate -f mesh/"
)]
pub(super) struct Validate {
    #[command(flatten)]
    files: Files,
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
