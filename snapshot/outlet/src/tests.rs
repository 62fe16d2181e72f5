use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;

/// Takes a write each time that it is let.
struct Slow {
    lets: Receiver<io::Result<()>>,
    written: Sender<String>,
}

impl Write for Slow {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.lets.recv().map_err(io::Error::other)??;
        let _ = self.written.send(String::from_utf8_lossy(bytes).into_owned());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One whose first line is on its way out.
fn begun(first: &[u8]) -> (Arc<Outlet>, Sender<io::Result<()>>, Receiver<String>) {
    let outlet = Arc::new(Outlet::new("test"));
    let ((lets, let_go), (written, read)) = (channel(), channel());
    let writing = outlet.clone();
    std::thread::spawn(move || writing.write_out(&mut Slow { lets: let_go, written }));
    outlet.take(first);
    while !outlet.waiting().writing {
        std::thread::yield_now();
    }
    (outlet, lets, read)
}

#[test]
fn nobody_waits_and_what_finds_no_room_is_counted_and_told() {
    let (outlet, lets, read) = begun(b"first\n");
    for _ in 0..LINES_MAX + 2 {
        outlet.take(b"line\n");
    }
    assert_eq!(outlet.lost(), [2, 0]);
    assert!(!outlet.flush(Duration::from_millis(10)), "nobody reads");
    // The first, that two are missing, and the others.
    for _ in 0..LINES_MAX + 2 {
        lets.send(Ok(())).unwrap();
    }
    assert!(outlet.flush(Duration::from_secs(30)));
    let all: Vec<String> = read.try_iter().collect();
    assert_eq!(all[0], "first\n");
    assert_eq!(all[1], "test: 2 lines of this log are gone: more was said than was read\n");
    assert_eq!(all[2..].iter().filter(|line| *line == "line\n").count(), LINES_MAX);
}

#[test]
fn what_waits_is_bounded_in_bytes_and_what_cannot_be_written_is_counted() {
    let long = vec![b'x'; BYTES_MAX / 4];
    let (outlet, lets, _read) = begun(&long);
    for _ in 0..7 {
        outlet.take(&long);
    }
    assert_eq!(outlet.lost(), [3, 0]);
    for _ in 0..5 {
        lets.send(Err(io::ErrorKind::StorageFull.into())).unwrap();
    }
    assert!(outlet.flush(Duration::from_secs(30)));
    assert_eq!(outlet.lost(), [3, 5]);
}
