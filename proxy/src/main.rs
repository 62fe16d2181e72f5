//! `outrigger-proxy`, the sidecar.

use std::io::Write as _;
use std::process::ExitCode;

use outrigger_proxy::app;
use outrigger_proxy::config::{Config, ConfigError};
use outrigger_proxy::logging::Logging;
use outrigger_proxy::signals::Exit;
use outrigger_proxy::source::chain;
use tokio::runtime::{Builder, LocalOptions};

mod allocator;

fn main() -> ExitCode {
    let config = match Config::read(std::env::args_os(), |name| std::env::var_os(name)) {
        Ok(config) => config,
        Err(error) => return refuse(&error),
    };
    let logging = Logging::start(&config.log);
    let run = || {
        Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?.block_on(app::run(
            config,
            logging,
            allocator::give_back,
        ))
    };
    match run() {
        Ok(true) => Exit::Done.into(),
        Ok(false) => Exit::Failed.into(),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "outrigger-proxy: {}", chain(&error));
            error.exit().into()
        }
    }
}

fn refuse(error: &ConfigError) -> ExitCode {
    match error {
        ConfigError::Usage(usage) => {
            let _ = usage.print();
        }
        other => {
            let _ = writeln!(std::io::stderr(), "outrigger-proxy: {}", chain(other));
        }
    }
    ExitCode::from(error.exit_code())
}
