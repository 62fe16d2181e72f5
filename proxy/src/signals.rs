//! What the operating system and systemd say to this process, and what it answers.
//!
//! `app` makes [`Signals`] once its runtime runs, awaits [`Signals::next`] beside everything else, and does what it says. It
//! calls [`tell`] at each turn of its life, and ends with an [`Exit`].

use std::process::ExitCode;

use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What someone wants of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Take no more work, finish what runs, then end.
    Drain,
    /// End now.
    Stop,
    /// Look at the store now.
    PollNow,
    /// Open files anew that someone has moved away.
    Reopen,
}

/// A signal that this process listens to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// SIGTERM.
    Terminate,
    /// SIGINT.
    Interrupt,
    /// SIGHUP.
    HangUp,
    /// SIGUSR1.
    User1,
}

/// What signals mean, one after the other.
#[derive(Debug, Clone, Copy, Default)]
pub struct Meaning {
    draining: bool,
}

/// The signals of this process.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    user1: Signal,
    /// SIGXFSZ, which ends a process by default. Heard, it leaves a write beyond the limit of files to fail, as on a full disk.
    _file_limit: Signal,
    meaning: Meaning,
}

/// A turn in the life of the process, for systemd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn<'a> {
    /// Every listener listens and a plan runs.
    Ready,
    /// The store is read because someone asked for it. Followed by [`Turn::Ready`].
    Reloading,
    /// A drain, or the end.
    Stopping,
    /// A sentence for `systemctl status`, whatever the turn.
    Status(&'a str),
}

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Drained, or stopped because someone wanted it.
    Done,
    /// Something failed that it can't do without, or a drain had to cut what still ran.
    Failed,
    /// Flags, environment, bootstrap file or the store's URL are wrong.
    Usage,
    /// Neither store nor state folder has a snapshot to start with.
    NoSnapshot,
    /// An address that it should listen on is taken or does not exist.
    AddressTaken,
}

impl Meaning {
    /// What `heard` means after all that was heard before: who asks a second time does not want to wait.
    pub fn of(&mut self, heard: Heard) -> Wish {
        match heard {
            Heard::Terminate if !self.draining => {
                self.draining = true;
                Wish::Drain
            }
            Heard::Terminate | Heard::Interrupt => Wish::Stop,
            Heard::HangUp => Wish::PollNow,
            Heard::User1 => Wish::Reopen,
        }
    }
}

impl Signals {
    /// Listens from now on, in place of what the signals do by default.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
            _file_limit: signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?,
            meaning: Meaning::default(),
        })
    }

    /// The next wish. Losing the future loses no signal.
    pub async fn next(&mut self) -> Wish {
        let heard = tokio::select! {
            _ = self.terminate.recv() => Heard::Terminate,
            _ = self.interrupt.recv() => Heard::Interrupt,
            _ = self.hang_up.recv() => Heard::HangUp,
            _ = self.user1.recv() => Heard::User1,
        };
        self.meaning.of(heard)
    }
}

/// Tells systemd, if it started this process and wants to know (`Type=notify`, sd_notify(3)).
pub fn tell(turn: Turn<'_>) {
    let told = match turn {
        Turn::Ready => sd_notify::notify(&[NotifyState::Ready]),
        Turn::Reloading => NotifyState::monotonic_usec_now()
            .and_then(|now| sd_notify::notify(&[NotifyState::Reloading, now])),
        Turn::Stopping => sd_notify::notify(&[NotifyState::Stopping]),
        Turn::Status(text) => sd_notify::notify(&[NotifyState::Status(text)]),
    };
    if let Err(error) = told {
        tracing::debug!("systemd was not told: {error}");
    }
}

impl Exit {
    /// The number, as documented in `--help` and `docs/OPERATIONS.md`.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NoSnapshot => 3,
            Self::AddressTaken => 4,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_request_to_go_is_urgent() {
        use Heard::{HangUp, Interrupt, Terminate, User1};
        let cases: [(&[Heard], &[Wish]); 5] = [
            (&[User1, Terminate, User1], &[Wish::Reopen, Wish::Drain, Wish::Reopen]),
            (&[Terminate, HangUp, Terminate], &[Wish::Drain, Wish::PollNow, Wish::Stop]),
            (&[Terminate, Interrupt], &[Wish::Drain, Wish::Stop]),
            (&[Interrupt], &[Wish::Stop]),
            (&[HangUp, HangUp, Terminate], &[Wish::PollNow, Wish::PollNow, Wish::Drain]),
        ];
        for (heard, expected) in cases {
            let mut meaning = Meaning::default();
            let wishes: Vec<Wish> = heard.iter().map(|heard| meaning.of(*heard)).collect();
            assert_eq!(wishes, expected, "{heard:?}");
        }
    }
}
