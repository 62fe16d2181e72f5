//! `outrigger-proxy`, the sidecar.

use std::process::ExitCode;

use outrigger_proxy::app;
use outrigger_proxy::config::{Config, ConfigError};
use outrigger_proxy::logging::{Logging, say};
use outrigger_proxy::signals::Exit;
use outrigger_proxy::source::chain;
use tokio::runtime::{Builder, LocalOptions};

mod allocator;

fn main() -> ExitCode {
    let config = match Config::read(std::env::args_os(), |name| std::env::var_os(name)) {
        Ok(config) => config,
        Err(error) => return refuse(&error),
    };
    let logging = match Logging::start(&config.log) {
        Ok(logging) => logging,
        Err(error) => {
            say(&format!("the system refused a thread: {error}"));
            return Exit::Failed.into();
        }
    };
    let run = || {
        Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?.block_on(app::run(
            config,
            logging,
            allocator::give_back,
        ))
    };
    let exit = match run() {
        Ok(true) => Exit::Done,
        Ok(false) => Exit::Failed,
        Err(error) => {
            say(&chain(&error));
            error.exit()
        }
    };
    outrigger_outlet::flush();
    exit.into()
}

fn refuse(error: &ConfigError) -> ExitCode {
    match error {
        ConfigError::Usage(usage) => {
            let _ = usage.print();
        }
        other => say(&chain(other)),
    }
    ExitCode::from(error.exit_code())
}
