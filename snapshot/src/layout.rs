//! Where things are in a store. Paths are relative to its root; numbers have 20 digits, so that names sort as numbers do.

use crate::digest::Digest;
use crate::join_token::TokenId;
use crate::keys::KeyId;
use crate::record::{AttemptId, Serial};

/// The pulse of the mesh.
pub const HEARTBEAT: &str = "heartbeat";
/// Folder of the epochs.
pub const EPOCHS: &str = "epochs";
/// Folder of the compiled content.
pub const OBJECTS: &str = "objects";
/// Folder of the public keys.
pub const KEYS: &str = "keys";
/// Folder of the revisions, by epoch.
pub const REVISIONS: &str = "revisions";
/// Folder of the releases, by epoch.
pub const RELEASES: &str = "releases";
/// Folder in which a writer tries out what the store can do.
pub const PROBES: &str = "probes";
/// Folder of what is known of join tokens, by id.
pub const TOKENS: &str = "tokens";

const DIGITS: usize = 20;

/// An epoch.
pub fn epoch(epoch: u64) -> String {
    format!("{EPOCHS}/{epoch:0DIGITS$}")
}

/// A revision.
pub fn revision(serial: Serial) -> String {
    format!("{}/{:0DIGITS$}", revisions(serial.epoch), serial.n)
}

/// Folder of the revisions of an epoch.
pub fn revisions(epoch: u64) -> String {
    format!("{REVISIONS}/{epoch:0DIGITS$}")
}

/// A release.
pub fn release(serial: Serial) -> String {
    format!("{}/{:0DIGITS$}", releases(serial.epoch), serial.n)
}

/// Folder of the releases of an epoch.
pub fn releases(epoch: u64) -> String {
    format!("{RELEASES}/{epoch:0DIGITS$}")
}

/// An object, by the digest of its stored bytes.
pub fn object(digest: Digest) -> String {
    format!("{OBJECTS}/{digest}")
}

/// A public key.
pub fn key(id: KeyId) -> String {
    format!("{KEYS}/{id}")
}

/// One try-out.
pub fn probe(attempt: AttemptId) -> String {
    format!("{PROBES}/{attempt}")
}

/// What is known of a join token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenMark {
    /// That it was made, and what for. Not the token: nobody can join with it.
    Issued,
    /// By which key it was used, if it is good for one.
    Used,
    /// That it was taken back.
    Revoked,
}

impl TokenMark {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Issued, Self::Used, Self::Revoked];

    fn name(self) -> &'static str {
        match self {
            Self::Issued => "issued",
            Self::Used => "used",
            Self::Revoked => "revoked",
        }
    }
}

/// One thing that is known of a join token.
pub fn token(id: TokenId, mark: TokenMark) -> String {
    format!("{TOKENS}/{id}/{}", mark.name())
}

/// Which token a path below [`TOKENS`] is about, and what it says of it.
pub fn token_mark(path: &str) -> Option<(TokenId, TokenMark)> {
    let (id, name) = path.strip_prefix(TOKENS)?.strip_prefix('/')?.split_once('/')?;
    let mark = TokenMark::ALL.into_iter().find(|mark| mark.name() == name)?;
    Some((id.parse().ok()?, mark))
}

/// The number that ends `path`: of an epoch, a revision or a release. None for anything else that lies around.
pub fn number(path: &str) -> Option<u64> {
    let name = path.rsplit('/').next()?;
    let all_digits = name.len() == DIGITS && name.bytes().all(|byte| byte.is_ascii_digit());
    if all_digits { name.parse().ok() } else { None }
}

/// The epoch and number that end `path`: of a revision or a release.
pub fn serial(path: &str) -> Option<Serial> {
    let (folder, _) = path.rsplit_once('/')?;
    Some(Serial { epoch: number(folder)?, n: number(path)? })
}

/// The digest that ends an object's path.
pub fn digest(path: &str) -> Option<Digest> {
    path.rsplit('/').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_sort_as_their_numbers_and_read_back() {
        let early = Serial { epoch: 9, n: 10 };
        let late = Serial { epoch: 1_700_000_000_000, n: 9 };
        assert!(release(early) < release(late));
        assert_eq!(revision(early), "revisions/00000000000000000009/00000000000000000010");
        assert_eq!(serial(&revision(early)), Some(early));
        assert_eq!(serial(&release(late)), Some(late));
        assert_eq!(number(&epoch(7)), Some(7));
        let content = Digest::of(b"x");
        assert_eq!(digest(&object(content)), Some(content));
        let id = TokenId::random().expect("the system has randomness");
        for mark in TokenMark::ALL {
            assert_eq!(token_mark(&token(id, mark)), Some((id, mark)));
        }
    }

    #[test]
    fn what_lies_around_is_no_record() {
        for path in
            ["releases/1/2", "epochs/00000000000000000001#1", "epochs/+0000000000000000001", "heartbeat"]
        {
            assert_eq!(number(path), None, "{path}");
            assert_eq!(serial(path), None, "{path}");
            assert_eq!(token_mark(path), None, "{path}");
        }
        assert_eq!(number("epochs/99999999999999999999"), None);
    }
}
