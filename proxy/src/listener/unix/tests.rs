use std::os::unix::net::UnixDatagram;

use tokio::runtime::Builder;

use super::*;

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    (folder, path)
}

fn why(path: &Path) -> String {
    let (error, hint) = bind(path).expect_err("it cannot be had");
    format!("{error}{hint}")
}

#[test]
fn only_what_a_dead_process_has_left_is_replaced() {
    let (_folder, path) = folder();
    // A listener that is closed without its file.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let (file, live) = bind(&path).unwrap();
    assert!(StdStream::connect(&path).is_ok());
    assert!(why(&path).contains("Another process"), "{}", why(&path));
    // Also if it has no time to answer.
    let ask = || {
        let asking = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        asking.set_nonblocking(true).unwrap();
        asking.connect(&SockAddr::unix(&path).unwrap()).map(|()| asking)
    };
    SockRef::from(&live).listen(1).unwrap();
    let waiting: Vec<_> = std::iter::from_fn(|| ask().ok()).collect();
    assert_eq!(ask().unwrap_err().kind(), io::ErrorKind::WouldBlock, "after {}", waiting.len());
    assert!(why(&path).contains("Another process"), "{}", why(&path));
    drop((file, live));
    assert!(!path.exists());
    bind(&path).unwrap();
}

#[test]
fn what_is_no_listener_of_streams_stays() {
    let (folder, path) = folder();
    std::fs::write(&path, "precious").unwrap();
    assert!(why(&path).contains("is no socket, and stays"), "{}", why(&path));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    let link = folder.path().join("l");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert!(why(&link).contains("is no socket, and stays"), "{}", why(&link));
    let other = folder.path().join("d");
    let _datagrams = UnixDatagram::bind(&other).unwrap();
    assert!(why(&other).contains("cannot be told"), "{}", why(&other));
    assert!(link.symlink_metadata().is_ok() && other.exists());
    assert!(why(&folder.path().join("none/s")).contains("Its folder does not exist"));
}

#[test]
fn the_file_is_for_user_and_group_and_goes_with_the_listener_but_no_other_does() {
    let (_folder, path) = folder();
    let (file, _listener) = bind(&path).unwrap();
    assert_eq!(path.metadata().unwrap().mode() & 0o777, MODE);
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "another's").unwrap();
    drop(file);
    assert!(path.exists());
}

#[test]
fn who_has_come_is_taken_and_who_comes_later_is_refused() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let _entered = runtime.enter();
    let (folder, path) = folder();
    let (file, listener) = bind(&path).unwrap();
    // Whoever has found the file before it went.
    let found = folder.path().join("found");
    std::fs::hard_link(&path, &found).unwrap();
    let clients: Vec<_> = (0..50).map(|_| StdStream::connect(&path).unwrap()).collect();
    let listener = UnixListener::from_std(listener).unwrap();
    assert_eq!(accept_queued(&file, &listener).len(), clients.len());
    assert!(!path.exists());
    assert_eq!(StdStream::connect(&found).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    assert!(accept_queued(&file, &listener).is_empty());
}
