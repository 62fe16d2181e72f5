//! How near the process is to the memory it may have. Buffers are bounded one by one; together they may still be more than there is, and a
//! process that the kernel kills takes all its requests along.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::time::Duration;

use crate::overload::Priority;

/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// Parts of what there may be, per cent, from which on a class is refused: by class, the most important first.
const REFUSED_FROM_PERCENT: [u64; 4] = [97, 92, 85, 85];
/// A limit above is none: cgroup v1 says "unlimited" by a number near this.
const LIMIT_BYTES_MAX: u64 = 1 << 60;

/// See the module. Shared by all workers.
#[derive(Debug)]
pub struct Memory {
    max_bytes: Option<u64>,
    /// Classes from this on are refused.
    refused_from: AtomicU8,
    /// Returns to the system what the allocator has free for this thread.
    give_back: fn(),
}

impl Default for Memory {
    /// Without a limit.
    fn default() -> Self {
        Self::new(None)
    }
}

impl Memory {
    /// With at most so many bytes.
    pub fn new(max_bytes: Option<u64>) -> Self {
        let refused_from = AtomicU8::new(REFUSED_FROM_PERCENT.len() as u8);
        Self { max_bytes, refused_from, give_back: || {} }
    }

    /// With a way to return to the system what the allocator has free for a thread.
    pub fn giving_back(self, give_back: fn()) -> Self {
        Self { give_back, ..self }
    }

    /// Returns to the system what the allocator has free for this thread, which takes up to half a millisecond.
    pub fn give_back(&self) {
        (self.give_back)();
    }

    /// Whether requests of this class are refused.
    pub fn refuses(&self, priority: Priority) -> bool {
        priority.class() >= usize::from(self.refused_from.load(Relaxed))
    }

    /// Whether requests of any class are.
    pub fn is_short(&self) -> bool {
        usize::from(self.refused_from.load(Relaxed)) < REFUSED_FROM_PERCENT.len()
    }

    /// What there may be, in bytes; `None`: nobody says.
    pub fn max_bytes(&self) -> Option<u64> {
        self.max_bytes
    }

    /// The process has this much.
    pub fn note(&self, used_bytes: u64) {
        let Some(max_bytes) = self.max_bytes else { return };
        let percent = used_bytes.saturating_mul(100) / max_bytes.max(1);
        let fits = |from: &&u64| percent < **from;
        let from = REFUSED_FROM_PERCENT.iter().take_while(fits).count() as u8;
        let before = self.refused_from.swap(from, Relaxed);
        if from < before {
            tracing::warn!(
                used_bytes,
                max_bytes,
                "short of memory: lesser requests to the workload are refused"
            );
        }
    }

    /// Looks for as long as the process runs, if there is a limit.
    pub async fn watch(self: Arc<Self>) {
        while self.max_bytes.is_some() {
            if let Some(bytes) = resident_bytes() {
                self.note(bytes);
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// What the process has in memory, in bytes (proc(5): the second number of `statm`, in pages).
pub fn resident_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
    Some(pages.saturating_mul(rustix::param::page_size() as u64))
}

/// What the control group of this process may have: of version 2 `memory.max`, of version 1 `memory.limit_in_bytes`.
pub fn group_limit_bytes() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    limit_files(&groups).iter().find_map(|file| fs::read_to_string(file).ok().and_then(|text| limit(&text)))
}

/// In a container its own group is the root of what it sees.
fn limit_files(groups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let path = path.trim_start_matches('/');
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            list if list.split(',').any(|name| name == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        files.extend([Path::new(root).join(path).join(file), Path::new(root).join(file)]);
    }
    files
}

fn limit(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|bytes| (1..LIMIT_BYTES_MAX).contains(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_less_important_is_refused_first() {
        let memory = Memory::new(Some(1_000));
        let refused = |used| {
            memory.note(used);
            let classes = ["0", "1", "2", "3"].map(|class| {
                let value = http::HeaderValue::from_static(class);
                memory.refuses(Priority::read(Some(&value), None))
            });
            assert_eq!(memory.is_short(), classes[3]);
            classes
        };
        assert_eq!(refused(849), [false; 4]);
        assert_eq!(refused(850), [false, false, true, true]);
        assert_eq!(refused(920), [false, true, true, true]);
        assert_eq!(refused(970), [true; 4]);
        assert_eq!(refused(u64::MAX), [true; 4]);
        assert_eq!(refused(0), [false; 4], "it ends when there is room again");
    }

    #[test]
    fn without_a_limit_nothing_is_refused() {
        let memory = Memory::default();
        memory.note(u64::MAX);
        assert!(!memory.is_short());
    }

    #[test]
    fn limits_of_both_versions_are_found() {
        let files =
            |groups| limit_files(groups).iter().map(|file| file.display().to_string()).collect::<Vec<_>>();
        assert_eq!(files("0::/a/b\n"), ["/sys/fs/cgroup/a/b/memory.max", "/sys/fs/cgroup/memory.max"]);
        let first = files("12:cpu,cpuacct:/a\n4:memory:/a\n");
        assert_eq!(first[0], "/sys/fs/cgroup/memory/a/memory.limit_in_bytes");
        for (text, bytes) in [
            ("536870912\n", Some(1 << 29)),
            ("max\n", None),
            ("9223372036854771712\n", None),
            ("0", None),
            ("", None),
        ] {
            assert_eq!(limit(text), bytes, "{text:?}");
        }
        assert!(resident_bytes().is_some_and(|bytes| bytes > 1 << 20));
    }
}
