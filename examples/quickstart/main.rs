//! `quickstart`: a mesh on this machine, real traffic through it, and what it survives.
//!
//! Started by `examples/quickstart/run`, which builds the programs first.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

mod audience;
mod place;
mod programs;
mod story;
mod town;
mod traffic;

use audience::Audience;
use town::Town;

/// A mesh on this machine, real traffic through it, and what it survives.
#[derive(Debug, Parser)]
struct Arguments {
    /// Go through all steps without asking, and end; fails if a request failed that should not have
    #[arg(long)]
    once: bool,

    /// Where store, state and logs go; emptied at the start
    #[arg(long, value_name = "DIR", default_value = "target/quickstart")]
    folder: PathBuf,

    /// Requests a second
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=2000))]
    rate: u32,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let audience = Audience::new(!arguments.once);
    let town = match Town::found(&arguments.folder) {
        Ok(town) => town,
        Err(error) => return failed(&error),
    };
    let told = tokio::select! {
        told = story::tell(town, audience, arguments.rate) => told,
        _ = tokio::signal::ctrl_c() => Err("stopped".to_owned()),
    };
    match told {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn failed(error: &str) -> ExitCode {
    eprintln!("\nquickstart: {error}");
    ExitCode::FAILURE
}
