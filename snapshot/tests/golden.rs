//! What earlier versions wrote is read by the code of today. `golden/README.md` says how to add the next.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test ends where something is not as it set it up")]

use std::path::{Path, PathBuf};

use http::header::HeaderMap;
use http::{HeaderName, HeaderValue, Method};
use outrigger_snapshot::canonical;
use outrigger_snapshot::digest::Digest;
use outrigger_snapshot::facts::{Discovery, Facts};
use outrigger_snapshot::head::RequestHead;
use outrigger_snapshot::keys::{SigningKey, TrustedKeys};
use outrigger_snapshot::layout;
use outrigger_snapshot::policy::Policy;
use outrigger_snapshot::record::{Entry, Epoch, Heartbeat, Index, ObjectRef, Record, Release, Revision};
use outrigger_snapshot::router::Router;
use outrigger_snapshot::signed;
use serde_json::Value;

/// The folders, and the content schema of each.
const FOLDERS: [(&str, u32); 1] = [("v1", 1)];

/// Largest record that is decompressed here, in bytes.
const RECORD_BYTES_MAX: usize = 1 << 20;

/// A store in a folder, with the key that signed it.
struct Golden {
    root: PathBuf,
    trusted: TrustedKeys,
}

impl Golden {
    fn open(name: &str) -> Self {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        let key = std::fs::read_to_string(golden.join(format!("{name}.key"))).unwrap();
        let key = SigningKey::from_pem(&key).unwrap().public();
        Self { root: golden.join(name), trusted: key.into() }
    }

    fn read(&self, path: &str) -> Vec<u8> {
        std::fs::read(self.root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// A record that a key of the mesh signed, and which says everything that was written.
    fn record<R: Record>(&self, path: &str) -> R {
        let stored = self.read(path);
        let record: R =
            signed::open(&stored, &self.trusted).unwrap_or_else(|error| panic!("{path}: {error}"));
        let compressed = !stored.starts_with(b"{");
        let plain =
            if compressed { canonical::decompress(&stored, RECORD_BYTES_MAX).unwrap() } else { stored };
        let envelope: Value = serde_json::from_slice(&plain).unwrap();
        let payload: Value = serde_json::from_str(envelope["payload"].as_str().unwrap()).unwrap();
        assert_eq!(serde_json::to_value(&record).unwrap(), payload, "{path}");
        record
    }

    /// The content of an object, whose digests are those of its name and of the index.
    fn object(&self, object: &ObjectRef) -> Vec<u8> {
        let path = layout::object(object.object);
        let stored = self.read(&path);
        assert_eq!(Digest::of(&stored), object.object, "{path}");
        let content = canonical::decompress(&stored, usize::try_from(object.bytes).unwrap()).unwrap();
        assert_eq!(Digest::of(&content), object.content, "{path}");
        content
    }

    fn release(&self) -> Release {
        let heartbeat: Heartbeat = self.record(layout::HEARTBEAT);
        self.record(&layout::release(heartbeat.newest))
    }

    fn entry(&self, schema: u32, scope: &str) -> Entry {
        match &self.release().contents[&schema] {
            Index::Inline(scopes) => scopes[&scope.parse().unwrap()].clone(),
            Index::Shards(_) => panic!("a small mesh has no shards"),
        }
    }
}

#[test]
fn every_folder_is_read() {
    let listed = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")).unwrap();
    let folders = listed.map(|entry| entry.unwrap()).filter(|entry| entry.file_type().unwrap().is_dir());
    let mut names: Vec<String> = folders.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, FOLDERS.map(|(name, _)| name));
}

#[test]
fn records_are_believed_and_name_each_other() {
    for (name, schema) in FOLDERS {
        let golden = Golden::open(name);
        let release = golden.release();
        let epoch: Epoch = golden.record(&layout::epoch(release.serial.epoch));
        let revision: Revision = golden.record(&layout::revision(outrigger_snapshot::record::Serial {
            n: release.revision,
            ..release.serial
        }));
        assert_eq!((epoch.mesh, revision.mesh), (release.mesh, release.mesh));
        assert_eq!((revision.author.as_str(), revision.resources.len()), ("golden", 7));
        assert!(release.contents.contains_key(&schema), "{name}");
    }
}

#[test]
fn content_is_read_whole_and_written_as_it_was() {
    for (name, schema) in FOLDERS {
        let golden = Golden::open(name);
        for scope in ["default/cart", "default/narrow", "shop/cart-v2"] {
            let entry = golden.entry(schema, scope);
            let policy = golden.object(&entry.policies[0]);
            let read = Policy::decode(&policy).unwrap_or_else(|invalid| panic!("{name}, {scope}: {invalid}"));
            assert_eq!(canonical::encode(&read).unwrap(), policy, "{name}, {scope}");
            let facts = golden.object(&entry.facts);
            let read = Facts::decode(&facts).unwrap_or_else(|invalid| panic!("{name}, {scope}: {invalid}"));
            assert_eq!(canonical::encode(&read).unwrap(), facts, "{name}, {scope}");
            let forms: Vec<_> = read.clusters.values().map(|cluster| &cluster.discovery).collect();
            assert!(forms.iter().any(|form| matches!(form, Discovery::Static(list) if list.len() == 2)));
            assert!(forms.iter().any(|form| matches!(form, Discovery::Dns(_))));
            assert!(forms.iter().any(|form| matches!(form, Discovery::Srv(_))));
        }
    }
}

#[test]
fn requests_find_the_rules_that_they_found_then() {
    for (name, schema) in FOLDERS {
        let golden = Golden::open(name);
        let entry = golden.entry(schema, "default/cart");
        let policy = Policy::decode(&golden.object(&entry.policies[0])).unwrap();
        let router =
            Router::build(&policy, "default", |spec| spec.rule.map(|rule| rule.name.clone())).unwrap();
        let canary = [("x-canary", "1"), ("x-user", "bob")];
        for (method, authority, target, headers, rule) in [
            (Method::POST, "cart", "/cart", &[][..], Some("default/cart#canary")),
            (Method::GET, "cart.default", "/v2/cart?beta=yes", &canary, Some("default/cart#canary")),
            (Method::GET, "cart.example", "/old/x", &[], Some("default/cart#moved")),
            (Method::GET, "cart:80", "/v2/cart?beta=yes", &[], Some("default/cart#2")),
            (Method::GET, "cart-v2.shop.svc", "/", &[], None),
        ] {
            let mut map = HeaderMap::new();
            for (header, value) in headers {
                map.insert(HeaderName::from_static(header), HeaderValue::from_static(value));
            }
            let head = RequestHead::new(method, authority.parse().unwrap(), target.parse().unwrap(), map);
            let found = router.find(&head).unwrap_or_else(|miss| panic!("{name}, {target}: {miss:?}"));
            assert_eq!(found.rule.as_deref(), rule, "{name}, {authority}{target}");
        }
    }
}
