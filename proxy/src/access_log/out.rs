//! A file that lines are written to, and what becomes of those that it does not take.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

/// How long after it could not be written a file is opened anew.
const AGAIN: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub(super) struct Out {
    /// `None`: standard output.
    path: Option<PathBuf>,
    file: Option<File>,
    /// The last line is not whole.
    torn: bool,
    /// Since when it cannot be written.
    failed: Option<Instant>,
}

impl Out {
    pub(super) fn to_stdout() -> Self {
        Self { path: None, file: None, torn: false, failed: None }
    }

    /// Opens a file. A pipe that nobody reads yet is one that cannot be written yet.
    pub(super) fn to(path: &Path) -> io::Result<Self> {
        let mut out = Self { path: Some(path.to_owned()), ..Self::to_stdout() };
        match open(path) {
            Ok(file) => out.file = Some(file),
            Err(error) if is_unread(&error, path) => out.fails(&error),
            Err(error) => return Err(error),
        }
        Ok(out)
    }

    /// Opens the file anew, at once.
    pub(super) fn reopen(&mut self) {
        (self.file, self.failed, self.torn) = (None, None, false);
        if let Err(error) = self.file().map(drop) {
            self.fails(&error);
        }
    }

    /// How many lines of `text` are in the file now, whole.
    pub(super) fn write(&mut self, text: &[u8]) -> u64 {
        if self.failed.is_some_and(|failed| failed.elapsed() < AGAIN) {
            return 0;
        }
        let (written, result) = match self.mended() {
            Ok(file) => write_all(file, text),
            Err(error) => (0, Err(error)),
        };
        let text = &text[..written];
        if let Some(last) = text.last() {
            self.torn = *last != b'\n';
        }
        match result {
            Ok(()) if self.failed.take().is_some() => tracing::info!("the access log is written again"),
            Ok(()) => {}
            Err(error) => self.fails(&error),
        }
        text.iter().filter(|byte| **byte == b'\n').count() as u64
    }

    /// The file, at the beginning of a line.
    fn mended(&mut self) -> io::Result<&mut File> {
        if self.torn {
            self.file()?.write_all(b"\n")?;
            self.torn = false;
        }
        self.file()
    }

    fn file(&mut self) -> io::Result<&mut File> {
        let file = match self.file.take() {
            Some(file) => file,
            None => match &self.path {
                Some(path) => open(path)?,
                // Not by way of the library, which would keep back what could not be written.
                None => File::from(io::stdout().as_fd().try_clone_to_owned()?),
            },
        };
        Ok(self.file.insert(file))
    }

    fn fails(&mut self, error: &io::Error) {
        if self.failed.is_none() {
            tracing::warn!("the access log cannot be written; lines are dropped until it can: {error}");
        }
        self.failed = Some(Instant::now());
        self.file = None;
    }
}

/// As [`Write::write_all`], but says how far it came.
fn write_all(out: &mut impl Write, text: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while written < text.len() {
        match out.write(&text[written..]) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}

/// Opening a pipe would wait for who reads it, perhaps for ever; writing may wait, on a thread of its own.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed());
    let file = options.open(path)?;
    fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
    Ok(file)
}

fn is_unread(error: &io::Error, path: &Path) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error())
        && path.metadata().is_ok_and(|metadata| metadata.file_type().is_fifo())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many bytes, then no more.
    struct Full(usize);

    impl Write for Full {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            let count = text.len().min(self.0).min(3);
            self.0 -= count;
            if count == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(count) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_write_that_fails_says_how_far_it_came() {
        let (written, result) = write_all(&mut Full(10), b"one\ntwo\nthree\n");
        assert_eq!((written, result.unwrap_err().kind()), (10, io::ErrorKind::StorageFull));
        let (written, result) = write_all(&mut Full(100), b"one\ntwo\n");
        assert_eq!((written, result.is_ok()), (8, true));
    }
}
