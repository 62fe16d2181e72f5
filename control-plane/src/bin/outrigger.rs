//! `outrigger`, the command line.

fn main() -> std::process::ExitCode {
    outrigger_control_plane::cli::run(std::env::args_os())
}
