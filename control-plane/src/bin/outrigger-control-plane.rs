//! `outrigger-control-plane`.

fn main() -> std::process::ExitCode {
    outrigger_control_plane::server::run(std::env::args_os())
}
