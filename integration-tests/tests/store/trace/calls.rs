//! The system calls of a writer, as strace writes them down.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Everything that changes files and directories, and the standard output.
pub(crate) const TRACED: &[&str] = &[
    "open",
    "openat",
    "creat",
    "write",
    "writev",
    "pwrite64",
    "fsync",
    "fdatasync",
    "link",
    "linkat",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "mkdir",
    "mkdirat",
    "ftruncate",
    "rmdir",
    "sendfile",
    "copy_file_range",
    "symlink",
    "symlinkat",
];

/// What a call did. Paths are absolute and inside the store's parent folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Call {
    /// A file was created, empty.
    Created(PathBuf),
    /// Bytes were added to a file.
    Wrote(PathBuf, usize),
    /// A sync started: it covers what was done before this.
    SyncStart {
        thread: u32,
        path: PathBuf,
    },
    /// The sync was acknowledged.
    SyncEnd {
        thread: u32,
        path: PathBuf,
        directory: bool,
    },
    Linked(PathBuf, PathBuf),
    Renamed(PathBuf, PathBuf),
    Unlinked(PathBuf),
    MadeFolder(PathBuf),
    /// A line on the standard output.
    Said(String),
}

/// The calls in `log` that concern the store at `root`, in the order in which they returned.
pub(crate) fn parse(log: &str, root: &Path) -> Vec<Call> {
    let near = root.parent().unwrap();
    let mut calls = Vec::new();
    let mut unfinished: HashMap<u32, String> = HashMap::new();
    for line in log.lines() {
        let (thread, rest) = line.split_once(' ').unwrap();
        let thread: u32 = thread.parse().unwrap();
        let rest = rest.trim_start();
        if let Some(start) = rest.strip_suffix(" <unfinished ...>") {
            if start.starts_with("fsync(") || start.starts_with("fdatasync(") {
                calls.push(Call::SyncStart { thread, path: descriptor(start) });
            }
            unfinished.insert(thread, start.to_owned());
            continue;
        }
        let resumed = rest.strip_prefix("<... ").and_then(|rest| rest.split_once(" resumed>"));
        let (whole, was_split) = match resumed {
            Some((_, end)) => {
                let Some(start) = unfinished.remove(&thread) else { continue };
                (start + end, true)
            }
            None => (rest.to_owned(), false),
        };
        // `status=successful` hides failed calls, but not the first half of one that was interrupted.
        if whole.contains(" = -1 ") {
            continue;
        }
        calls.extend(call(thread, &whole, was_split));
    }
    calls.retain(|call| concerns(call, near));
    calls
}

fn call(thread: u32, text: &str, was_split: bool) -> Vec<Call> {
    let Some((name, arguments)) = text.split_once('(') else { return Vec::new() };
    let paths = quoted(arguments);
    let path = |position: usize| PathBuf::from(&paths[position]);
    match name {
        "open" | "openat" | "creat" if name == "creat" || arguments.contains("O_CREAT") => {
            vec![Call::Created(path(0))]
        }
        "open" | "openat" => Vec::new(),
        "write" | "writev" | "pwrite64" => {
            if arguments.starts_with("1<") {
                return vec![Call::Said(paths[0].trim_end_matches("\\n").to_owned())];
            }
            let (_, count) = text.rsplit_once(" = ").unwrap();
            vec![Call::Wrote(descriptor(text), count.trim().parse().unwrap())]
        }
        "fsync" | "fdatasync" => {
            let path = descriptor(text);
            let end = Call::SyncEnd { thread, directory: path.is_dir(), path: path.clone() };
            if was_split { vec![end] } else { vec![Call::SyncStart { thread, path }, end] }
        }
        "link" | "linkat" => vec![Call::Linked(path(0), path(1))],
        "rename" | "renameat" | "renameat2" => vec![Call::Renamed(path(0), path(1))],
        "unlink" | "unlinkat" => vec![Call::Unlinked(path(0))],
        "mkdir" | "mkdirat" => vec![Call::MadeFolder(path(0))],
        other => panic!("the writer uses {other}, which the replay does not know: {text}"),
    }
}

fn concerns(call: &Call, near: &Path) -> bool {
    match call {
        Call::Said(_) => true,
        Call::Created(path)
        | Call::Wrote(path, _)
        | Call::SyncStart { path, .. }
        | Call::SyncEnd { path, .. }
        | Call::Linked(path, _)
        | Call::Renamed(path, _)
        | Call::Unlinked(path)
        | Call::MadeFolder(path) => path.starts_with(near),
    }
}

/// The path that `-y` prints behind the first descriptor: `fsync(9</path>)`.
fn descriptor(text: &str) -> PathBuf {
    let (_, rest) = text.split_once('<').unwrap();
    let (path, _) = rest.split_once('>').unwrap();
    PathBuf::from(path.trim_end_matches(" (deleted)"))
}

/// The quoted arguments. The store's own paths hold no characters that would be escaped.
fn quoted(arguments: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = arguments;
    while let Some((_, after)) = rest.split_once('"') {
        let end = after.char_indices().scan(false, |escaped, (at, letter)| {
            let ends = letter == '"' && !*escaped;
            *escaped = letter == '\\' && !*escaped;
            Some((at, ends))
        });
        let Some((end, _)) = end.into_iter().find(|(_, ends)| *ends) else { break };
        found.push(after[..end].to_owned());
        rest = &after[end + 1..];
    }
    found
}
