use clap::CommandFactory;

use super::*;

#[test]
fn every_flag_can_come_from_the_environment() {
    fn walk(command: &clap::Command, wrong: &mut Vec<String>) {
        for argument in command.get_arguments() {
            let long = argument.get_long();
            let exempt = matches!(long, None | Some("help" | "version"));
            if !exempt && argument.get_env().is_none() {
                wrong.push(format!("{} --{}", command.get_name(), long.unwrap_or_default()));
            }
        }
        command.get_subcommands().for_each(|command| walk(command, wrong));
    }
    let mut wrong = Vec::new();
    walk(&Command::command(), &mut wrong);
    walk(&crate::bootstrap::Bootstrap::command(), &mut wrong);
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn the_command_line_is_consistent() {
    Command::command().debug_assert();
    crate::bootstrap::Bootstrap::command().debug_assert();
}
