//! nft, the program: it alone speaks to the kernel.

use std::io;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use serde::Serialize;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::rules::TABLE;
use crate::cli::output::Failed;

/// Until it has done what it does in milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where it lies, if not where the environment looks: users other than root seldom look there.
const FOLDERS: [&str; 2] = ["/usr/sbin", "/sbin"];

/// One rule that is in force.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Rule {
    /// Where it stands.
    pub(super) chain: String,
    /// In the words of nft.
    pub(super) matches: String,
    /// In ours; empty if it is not of our making.
    pub(super) meaning: String,
}

/// Runs a script, whole or not at all.
pub(super) async fn load(script: &str) -> Result<(), Failed> {
    let output = nft(&["-f", "-"], script).await?;
    if output.status.success() { Ok(()) } else { Err(refused(&output)) }
}

/// The rules of our table; `None` if there is no such table.
pub(super) async fn rules() -> Result<Option<Vec<Rule>>, Failed> {
    let tables = nft(&["list", "tables", "inet"], "").await?;
    if !tables.status.success() {
        return Err(refused(&tables));
    }
    let ours = format!("table inet {TABLE}");
    if !String::from_utf8_lossy(&tables.stdout).lines().any(|line| line.trim_end() == ours) {
        return Ok(None);
    }
    let listed = nft(&["list", "table", "inet", TABLE], "").await?;
    if listed.status.success() {
        Ok(Some(read(&String::from_utf8_lossy(&listed.stdout))))
    } else {
        Err(refused(&listed))
    }
}

async fn nft(arguments: &[&str], input: &str) -> Result<Output, Failed> {
    let mut command = Command::new(program());
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let run = async {
        let mut child = command.kill_on_drop(true).spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // Whoever does not read it says why not on its way out.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        child.wait_with_output().await
    };
    let ended =
        tokio::time::timeout(PATIENCE, run).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    ended.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Failed::refused(
            "nft isn't there: install it (the package is called nftables on Debian, Fedora and Alpine)",
        ),
        _ => Failed::problem("can't run nft", &error),
    })
}

fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(FOLDERS.map(PathBuf::from));
    folders.map(|folder| folder.join("nft")).find(|program| program.is_file()).unwrap_or_else(|| "nft".into())
}

/// What nft says, and the next step where it is known.
fn refused(output: &Output) -> Failed {
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.trim();
    let hint = if said.contains("Operation not permitted") {
        ". It needs CAP_NET_ADMIN in this network namespace: run it as root (sudo, ip netns exec), or add NET_ADMIN to the capabilities of the \
         init container"
    } else if said.contains("No such file or directory") || said.contains("not supported") {
        ". Does the kernel have nftables with nat for inet (5.2 or later, modules nft_chain_nat, nft_redir and nft_fib_inet)?"
    } else {
        ""
    };
    Failed::refused(format!("nft refuses: {said}{hint}"))
}

/// Reads what `nft list table` prints: one line each, chains in braces.
fn read(listing: &str) -> Vec<Rule> {
    let (mut rules, mut chain) = (Vec::new(), String::new());
    for line in listing.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("chain ").and_then(|rest| rest.strip_suffix(" {")) {
            name.clone_into(&mut chain);
        } else if !chain.is_empty() && line == "}" {
            chain.clear();
        } else if !chain.is_empty() && !line.is_empty() && !line.starts_with("type ") {
            let commented = line.strip_suffix('"').and_then(|line| line.rsplit_once(" comment \""));
            let (matches, meaning) = commented.unwrap_or((line, ""));
            rules.push(Rule {
                chain: chain.clone(),
                matches: matches.to_owned(),
                meaning: meaning.to_owned(),
            });
        }
    }
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nft_lists_is_read_with_and_without_comments() {
        let listing = "table inet outrigger {\n\tchain inbound {\n\t\ttype nat hook prerouting priority dstnat; policy accept;\n\t\t\
                       iifname \"lo\" return comment \"nothing from elsewhere\"\n\t\ttcp dport { 22, 80 } accept\n\t}\n\n\tchain outbound {\n\t}\n}\n";
        let rule = |matches: &str, meaning: &str| Rule {
            chain: "inbound".into(),
            matches: matches.into(),
            meaning: meaning.into(),
        };
        let expected = [
            rule("iifname \"lo\" return", "nothing from elsewhere"),
            rule("tcp dport { 22, 80 } accept", ""),
        ];
        assert_eq!(read(listing), expected);
    }
}
