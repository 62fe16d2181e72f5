//! Pipes through which the kernel moves bytes from one socket to another without copying them (splice(2)).

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

/// Pipes of one worker. A connection holds one only while there are bytes in it.
const PIPES_MAX: usize = 64;

/// How large a pipe may be, in bytes: the first that the system grants. What it grants to all processes of a user that has no privilege
/// is bounded (`/proc/sys/fs/pipe-user-pages-soft`).
const SIZES: [usize; 3] = [1 << 20, 1 << 18, 1 << 16];

/// A worker's pipes.
#[derive(Debug, Clone, Default)]
pub struct Pipes(Rc<State>);

#[derive(Debug, Default)]
struct State {
    idle: RefCell<Vec<Ends>>,
    open: Cell<usize>,
}

#[derive(Debug)]
struct Ends {
    outlet: OwnedFd,
    inlet: OwnedFd,
    size: usize,
}

/// A pipe that is in use. It goes back where it came from when it is dropped empty.
#[derive(Debug)]
pub(super) struct Pipe {
    ends: Option<Ends>,
    held: usize,
    of: Rc<State>,
}

impl Pipes {
    /// How many are open, in use or not.
    pub fn opened(&self) -> usize {
        self.0.open.get()
    }

    /// An empty pipe; `None` if there are enough, or the system gives none.
    pub(super) fn take(&self) -> Option<Pipe> {
        let idle = self.0.idle.borrow_mut().pop();
        let ends = match idle {
            Some(ends) => ends,
            None if self.0.open.get() < PIPES_MAX => {
                let ends = Ends::open()?;
                self.0.open.set(self.0.open.get() + 1);
                ends
            }
            None => return None,
        };
        Some(Pipe { ends: Some(ends), held: 0, of: self.0.clone() })
    }
}

impl Ends {
    fn open() -> Option<Self> {
        let (outlet, inlet) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
        let size = SIZES.into_iter().find_map(|size| fcntl_setpipe_size(&inlet, size).ok())?;
        Some(Self { outlet, inlet, size })
    }
}

impl Pipe {
    /// Bytes in it.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Takes what `socket` has, as far as there is room in the empty pipe; 0 at its end. In one that is not empty, "no room" and "nothing
    /// there" would be the same error.
    pub(super) fn fill(&mut self, socket: impl AsFd) -> io::Result<usize> {
        let Some(ends) = &self.ends else { return Ok(0) };
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        let taken = splice(socket, None, &ends.inlet, None, ends.size, flags)?;
        self.held += taken;
        Ok(taken)
    }

    /// Hands what it holds to `socket`, as far as that takes it.
    pub(super) fn empty(&mut self, socket: impl AsFd) -> io::Result<usize> {
        let Some(ends) = &self.ends else { return Ok(0) };
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        let given = splice(&ends.outlet, None, socket, None, self.held, flags)?;
        self.held -= given;
        Ok(given)
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        match self.ends.take() {
            Some(ends) if self.held == 0 => self.of.idle.borrow_mut().push(ends),
            _ => self.of.open.set(self.of.open.get() - 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pipes_are_bounded_and_used_again_unless_bytes_were_left_in_them() {
        let pipes = Pipes::default();
        let mut taken: Vec<_> = std::iter::from_fn(|| pipes.take()).collect();
        assert_eq!(taken.len(), PIPES_MAX);
        let mut clogged = taken.pop().expect("there are some");
        clogged.held = 1;
        drop(clogged);
        assert!(pipes.take().is_some(), "another in its place");
        drop(taken);
        assert_eq!((pipes.0.idle.borrow().len(), pipes.0.open.get()), (PIPES_MAX, PIPES_MAX));
    }
}
