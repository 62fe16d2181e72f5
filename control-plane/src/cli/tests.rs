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

/// In a sidecar's container `OUTRIGGER_SERVICE` and others are there for the sidecar.
#[test]
fn what_tap_looks_for_is_not_taken_from_the_variables_of_a_proxy() {
    let command = Command::command();
    let tap = command.find_subcommand("tap").expect("there is one");
    for filter in ["route", "service", "status", "reason", "method", "path"] {
        let argument = tap.get_arguments().find(|argument| argument.get_long() == Some(filter));
        let variable = argument.and_then(|argument| argument.get_env()).expect("it has one");
        assert_eq!(variable.to_str(), Some(&*format!("OUTRIGGER_TAP_{}", filter.to_uppercase())));
    }
}

#[test]
fn the_command_line_is_consistent() {
    Command::command().debug_assert();
    crate::bootstrap::Bootstrap::command().debug_assert();
}
