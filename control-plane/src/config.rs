//! What people write, read strictly: texts to resources, and resources to a whole that fits together.
//!
//! [`parse`] looks at each resource alone, [`check`] at all of them together; [`load`] does both and reports the problems of
//! both at once. Every problem names file, line, field, what was expected and the nearest valid name.

use serde_json::Value;

use node::Node;
use shape::Report;
use yaml::Budget;

pub use check::{Checked, check};
pub(crate) use check::{parent_ports, service_name};
pub use problem::{PROBLEMS_MAX, Problem, Problems, Spot};
pub use resource::{Key, Kind, REVISION_ANNOTATION, Resource};
pub use yaml::{ALIAS_NODES_MAX, DEPTH_MAX, NODES_MAX};

mod check;
pub(crate) mod grpc_status;
pub(crate) mod layers;
pub(crate) mod model;
mod nearest;
mod node;
mod problem;
mod read;
mod resource;
pub(crate) mod shape;
pub(crate) mod text;
mod yaml;

/// Bytes of all texts of one push.
pub const SOURCE_BYTES_MAX: usize = 32 << 20;
/// Resources of one push.
pub const RESOURCES_MAX: usize = 200_000;

/// A text that an operator wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its file, or `<stdin>`: used in messages only.
    pub name: String,
    /// Documents in YAML or JSON.
    pub text: String,
}

/// The resources of some texts, each well-formed in itself. All problems of all texts are reported at once.
pub fn parse(sources: &[Source]) -> Result<Vec<Resource>, Problems> {
    let (resources, problems) = read_all(sources);
    problems.or(resources)
}

/// The resources that result when the texts are applied on top of what is stored: those of the same kind, namespace and
/// name are replaced. Reports the problems of [`parse`] and of [`check`] at once.
pub fn load(stored: &[Resource], sources: &[Source]) -> Result<Checked, Problems> {
    let (pushed, mut problems) = read_all(sources);
    let replaced: std::collections::HashSet<Key> = pushed.iter().map(Resource::key).collect();
    let kept = stored.iter().filter(|resource| !replaced.contains(&resource.key()));
    let all: Vec<Resource> = kept.chain(&pushed).cloned().collect();
    match check(&all) {
        Ok(checked) => problems.or(checked),
        Err(more) => {
            problems.append(more);
            Err(problems.sorted())
        }
    }
}

impl Resource {
    /// A resource as [`Resource::value`] gave it. Problems name the resource instead of a file.
    pub fn from_value(value: &Value) -> Result<Self, Problems> {
        let name = |field: &str| value.pointer(field).and_then(Value::as_str).unwrap_or("?");
        let file =
            format!("stored {} {}/{}", name("/kind"), name("/metadata/namespace"), name("/metadata/name"));
        let mut problems = Problems::default();
        let mut report = Report { file: &file, problems: &mut problems };
        let resource = read::resource(&Node::from_value(value), &mut report);
        match (resource, problems.is_empty()) {
            (Some(resource), true) => Ok(resource),
            (_, false) => Err(problems.sorted()),
            (None, true) => {
                problems.add(|| Problem::new(&file, Spot::default(), "", "is no resource"));
                Err(problems)
            }
        }
    }
}

/// Every resource that has at least a kind and a name, also those with problems: so that a reference to one is not
/// reported as dangling.
fn read_all(sources: &[Source]) -> (Vec<Resource>, Problems) {
    let mut problems = Problems::default();
    let mut resources = Vec::new();
    let mut budget = Budget::default();
    let mut bytes_left = SOURCE_BYTES_MAX;
    for source in sources {
        let Some(left) = bytes_left.checked_sub(source.text.len()) else {
            problems.add(|| {
                Problem::new(&source.name, Spot::default(), "", "the push is too large")
                    .expected(format!("at most {SOURCE_BYTES_MAX} bytes in all files"))
            });
            break;
        };
        bytes_left = left;
        for document in yaml::documents(source, &mut budget, &mut problems) {
            let mut report = Report { file: &source.name, problems: &mut problems };
            read::document(&document, &mut report, &mut resources);
        }
    }
    (resources, problems)
}
