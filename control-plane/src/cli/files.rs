//! The files of `-f`.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;

use super::output::Failed;
use crate::api::wire::SourceText;
use crate::config::Source;

/// Most bytes of all files together.
const BYTES_MAX: u64 = 16 << 20;

/// Most files in a folder.
const FILES_MAX: usize = 10_000;

/// The resources of a command.
#[derive(Debug, Clone, Args)]
pub(super) struct Files {
    /// A file, a folder (its *.yaml, *.yml and *.json), or - for standard input; may be repeated
    #[arg(short = 'f', long = "file", value_name = "FILE", required = true, num_args = 1.., env = "OUTRIGGER_FILE")]
    files: Vec<PathBuf>,
}

impl Files {
    /// What is in them.
    pub(super) fn read(&self) -> Result<Vec<Source>, Failed> {
        read(&self.files)
    }

    /// The same, to be sent.
    pub(super) fn texts(&self) -> Result<Vec<SourceText>, Failed> {
        texts(&self.files)
    }
}

/// What is in `paths`, to be sent.
pub(super) fn texts(paths: &[PathBuf]) -> Result<Vec<SourceText>, Failed> {
    let sources = read(paths)?.into_iter();
    Ok(sources.map(|source| SourceText { name: source.name, text: source.text }).collect())
}

/// What is in `paths`.
pub(super) fn read(paths: &[PathBuf]) -> Result<Vec<Source>, Failed> {
    let mut sources = Vec::new();
    let mut left = BYTES_MAX;
    for path in paths {
        if path.as_os_str() == "-" {
            let text = bounded(std::io::stdin().lock(), "<stdin>", &mut left)?;
            sources.push(Source { name: "<stdin>".to_owned(), text });
        } else if path.is_dir() {
            for file in files_in(path)? {
                sources.push(read_file(&file, &mut left)?);
            }
        } else {
            sources.push(read_file(path, &mut left)?);
        }
    }
    Ok(sources)
}

fn read_file(path: &Path, left: &mut u64) -> Result<Source, Failed> {
    let name = path.display().to_string();
    let unreadable = |error| Failed::problem(&format!("can't read {name} (-f)"), &error);
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let text = bounded(file, &name, left)?;
    Ok(Source { name, text })
}

fn bounded(file: impl Read, name: &str, left: &mut u64) -> Result<String, Failed> {
    let mut text = String::new();
    let count = file
        .take(*left + 1)
        .read_to_string(&mut text)
        .map_err(|error| Failed::problem(&format!("can't read {name} (-f)"), &error))?;
    *left = left.checked_sub(count as u64).ok_or_else(|| {
        Failed::refused(format!("{name} (-f): all files together are over {} MiB", BYTES_MAX >> 20))
    })?;
    Ok(text)
}

fn files_in(folder: &Path) -> Result<Vec<PathBuf>, Failed> {
    let unreadable =
        |error| Failed::problem(&format!("can't read the folder {} (-f)", folder.display()), &error);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if matches!(extension, Some("yaml" | "yml" | "json")) && path.is_file() {
            files.push(path);
        }
        if files.len() > FILES_MAX {
            return Err(Failed::refused(format!("{} (-f) has over {FILES_MAX} files", folder.display())));
        }
    }
    if files.is_empty() {
        return Err(Failed::refused(format!("{} (-f) has no .yaml, .yml or .json file", folder.display())));
    }
    files.sort();
    Ok(files)
}
