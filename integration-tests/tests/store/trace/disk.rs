//! A disk that knows what is only in memory.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use super::calls::Call;

/// What a power failure does to what was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unsynced {
    /// All of it is lost.
    Dropped,
    /// The entries of directories made it to the disk, the content of files did not: the order is the disk's own.
    EntriesKept,
}

type Node = usize;
type Entries = BTreeMap<String, Node>;

#[derive(Debug, Default, Clone)]
struct File {
    written: usize,
    synced: usize,
    /// Where the content can be read after the recording. Store files are never changed, so the last name tells.
    source: PathBuf,
}

#[derive(Debug, Default, Clone)]
struct Folder {
    live: Entries,
    synced: Entries,
}

#[derive(Debug, Clone)]
enum Content {
    File(File),
    Folder(Folder),
}

#[derive(Debug)]
pub(crate) struct Disk {
    /// The folder that holds the store; everything above it was there long before.
    top: PathBuf,
    root: PathBuf,
    nodes: Vec<Content>,
    syncing: HashMap<u32, Content>,
}

impl Disk {
    pub(crate) fn new(root: &Path) -> Self {
        let top = root.parent().unwrap().to_owned();
        let nodes = vec![Content::Folder(Folder::default())];
        Self { top, root: root.to_owned(), nodes, syncing: HashMap::new() }
    }

    /// The folders of the store are there, and none of their names is on the disk yet. Files of others are left out.
    pub(crate) fn inherit(&mut self) {
        self.inherit_folder(&self.root.clone());
    }

    pub(crate) fn apply(&mut self, call: &Call) {
        match call {
            Call::Created(path) => {
                if self.find(path).is_none() {
                    let source = path.clone();
                    self.add(path, Content::File(File { source, ..File::default() }));
                }
            }
            Call::Wrote(path, bytes) => {
                if let Some(Content::File(file)) = self.content(path) {
                    file.written += bytes;
                }
            }
            Call::SyncStart { thread, path } => {
                if let Some(content) = self.content(path).map(|content| content.clone()) {
                    self.syncing.insert(*thread, content);
                }
            }
            Call::SyncEnd { thread, path, .. } => {
                let Some(seen) = self.syncing.remove(thread) else { return };
                match (self.content(path), seen) {
                    (Some(Content::File(file)), Content::File(seen)) => file.synced = seen.written,
                    (Some(Content::Folder(folder)), Content::Folder(seen)) => folder.synced = seen.live,
                    _ => {}
                }
            }
            Call::Linked(from, to) | Call::Renamed(from, to) => {
                let Some(node) = self.find(from) else { return };
                if let Content::File(file) = &mut self.nodes[node] {
                    file.source.clone_from(to);
                }
                self.enter(to, node);
                if matches!(call, Call::Renamed(..)) {
                    self.leave(from);
                }
            }
            Call::Unlinked(path) => self.leave(path),
            Call::MadeFolder(path) => {
                if self.find(path).is_none() {
                    self.add(path, Content::Folder(Folder::default()));
                }
            }
            Call::Said(_) => {}
        }
    }

    /// Puts the store into `target` as it is when the power comes back.
    pub(crate) fn after_power_failure(&self, unsynced: Unsynced, target: &Path) {
        let Content::Folder(top) = &self.nodes[0] else { unreachable!("the top is a folder") };
        let name = self.root.file_name().unwrap().to_str().unwrap();
        if let Some(root) = kept(top, unsynced).get(name) {
            self.restore(*root, unsynced, target);
        }
    }

    fn restore(&self, node: Node, unsynced: Unsynced, target: &Path) {
        match &self.nodes[node] {
            Content::Folder(folder) => {
                fs::create_dir_all(target).unwrap();
                for (name, node) in kept(folder, unsynced) {
                    self.restore(*node, unsynced, &target.join(name));
                }
            }
            Content::File(file) => {
                // What was overwritten since (the heartbeat) or removed has no content to give back.
                let content = fs::read(&file.source).unwrap_or_default();
                fs::write(target, &content[..file.synced.min(content.len())]).unwrap();
            }
        }
    }

    fn inherit_folder(&mut self, path: &Path) {
        self.add(path, Content::Folder(Folder::default()));
        for entry in fs::read_dir(path).unwrap() {
            let entry = entry.unwrap();
            let path = entry.path();
            if entry.file_type().unwrap().is_dir() {
                self.inherit_folder(&path);
            } else if path.parent().unwrap().ends_with("epochs") {
                self.inherit_file(&path);
            }
        }
    }

    /// A file of the process before: its content and its name in its own folder were synced.
    fn inherit_file(&mut self, path: &Path) {
        let bytes = fs::read(path).unwrap().len();
        let file = File { written: bytes, synced: bytes, source: path.to_owned() };
        self.add(path, Content::File(file));
        if let Some(Content::Folder(folder)) = self.content(path.parent().unwrap()) {
            folder.synced = folder.live.clone();
        }
    }

    fn add(&mut self, path: &Path, content: Content) {
        self.nodes.push(content);
        self.enter(path, self.nodes.len() - 1);
    }

    /// Two threads may make a folder at once. The one that finds it made may be seen to go on before the other is seen to have made it.
    fn enter(&mut self, path: &Path, node: Node) {
        if let Some(folder) = path.parent()
            && folder != self.top
            && self.find(folder).is_none()
        {
            self.add(folder, Content::Folder(Folder::default()));
        }
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if let Some(Content::Folder(folder)) = self.content(path.parent().unwrap()) {
            folder.live.insert(name, node);
        }
    }

    fn leave(&mut self, path: &Path) {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if let Some(Content::Folder(folder)) = self.content(path.parent().unwrap()) {
            folder.live.remove(&name);
        }
    }

    fn content(&mut self, path: &Path) -> Option<&mut Content> {
        let node = self.find(path)?;
        self.nodes.get_mut(node)
    }

    fn find(&self, path: &Path) -> Option<Node> {
        let relative = path.strip_prefix(&self.top).ok()?;
        relative.iter().try_fold(0, |node, name| match &self.nodes[node] {
            Content::Folder(folder) => folder.live.get(name.to_str()?).copied(),
            Content::File(_) => None,
        })
    }
}

fn kept(folder: &Folder, unsynced: Unsynced) -> &Entries {
    match unsynced {
        Unsynced::Dropped => &folder.synced,
        Unsynced::EntriesKept => &folder.live,
    }
}
