//! Listeners at sockets of the machine (unix(7)), which others find by a file.

use std::fs::Permissions;
use std::io;
use std::net::Shutdown;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener as StdListener, UnixStream as StdStream};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use socket2::{Domain, SockAddr, SockRef, Socket, Type};
use tokio::net::{UnixListener, UnixStream};

use super::BACKLOG;

/// Who may connect: the user that this proxy runs as, and the group of the file. That is the group of this process, or of the folder, where
/// the set-group-ID bit of the folder says so (inode(7)). The umask does not count.
const MODE: u32 = 0o660;

/// Where others find a socket. It goes when this is dropped.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// Which one it is: another may be put in its place.
    inode: Inode,
}

/// Device and number.
type Inode = (u64, u64);

/// Why there is no listener at a path, and what to do about it.
pub(super) type Trouble = (io::Error, &'static str);

impl SocketFile {
    /// Where.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes it away, unless it is another's by now.
    fn remove(&self) {
        if inode(&self.path).is_ok_and(|found| found == self.inode) {
            // Who has taken it away meanwhile has done what is wanted.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Listens at a path. A socket that a dead process has left there is replaced, and nothing else is.
pub(super) fn bind(path: &Path) -> Result<(SocketFile, StdListener), Trouble> {
    let address = SockAddr::unix(path).map_err(trouble)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(trouble)?;
    socket.set_nonblocking(true).map_err(trouble)?;
    let bound = match socket.bind(&address) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            clear(path, &address)?;
            socket.bind(&address)
        }
        bound => bound,
    };
    bound.map_err(trouble)?;
    let file = SocketFile { path: path.to_owned(), inode: inode(path).map_err(trouble)? };
    // Nobody can connect before it listens.
    std::fs::set_permissions(path, Permissions::from_mode(MODE)).map_err(trouble)?;
    socket.listen(BACKLOG).map_err(trouble)?;
    Ok((file, socket.into()))
}

fn trouble(error: io::Error) -> Trouble {
    let hint = match error.kind() {
        io::ErrorKind::NotFound => ". Its folder does not exist",
        io::ErrorKind::PermissionDenied => ". This proxy's user may make no files in its folder",
        _ => "",
    };
    (error, hint)
}

fn inode(path: &Path) -> io::Result<Inode> {
    path.symlink_metadata().map(|file| (file.dev(), file.ino()))
}

/// Removes what a dead process has left at a path; the error is what stands there otherwise.
fn clear(path: &Path, address: &SockAddr) -> Result<(), Trouble> {
    let found = match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found.map_err(trouble)?,
    };
    let taken = || io::Error::from(Errno::ADDRINUSE);
    if !found.file_type().is_socket() {
        return Err((taken(), ". What is there is no socket, and stays: choose another path, or remove it"));
    }
    let asking = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(trouble)?;
    asking.set_nonblocking(true).map_err(trouble)?;
    match asking.connect(address).map_err(|error| (error.kind(), error)) {
        Err((io::ErrorKind::ConnectionRefused, _)) => {}
        Err((io::ErrorKind::NotFound, _)) => return Ok(()),
        // So many wait there that no more may.
        Ok(()) | Err((io::ErrorKind::WouldBlock, _)) => {
            let hint = ". Another process, perhaps another Outrigger, listens there: choose another path";
            return Err((taken(), hint));
        }
        Err((_, error)) => {
            let hint = ". Whether a process listens at the socket there cannot be told: choose another path, or remove it";
            return Err((error, hint));
        }
    }
    match inode(path) {
        Ok(inode) if inode == (found.dev(), found.ino()) => std::fs::remove_file(path).map_err(trouble),
        _ => Ok(()),
    }
}

/// Closes the listener to others, and takes all who have come before.
pub(super) fn accept_queued(file: &SocketFile, listener: &UnixListener) -> Vec<UnixStream> {
    // The file first, or the next process would find a socket that nobody listens at, and its own would be what is removed.
    file.remove();
    let listener = SockRef::from(listener);
    // From now on whoever has found the file before is refused. Nothing is lost if that fails but those who come between here and the close.
    let _ = listener.shutdown(Shutdown::Read);
    let accept = || {
        let (socket, _) = listener.accept().ok()?;
        socket.set_nonblocking(true).ok()?;
        UnixStream::from_std(StdStream::from(socket)).ok()
    };
    std::iter::from_fn(accept).collect()
}

#[cfg(test)]
mod tests;
