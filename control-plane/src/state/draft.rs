//! From what someone wants to what the next revision would be. Pure: no store, no clock.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use outrigger_snapshot::canonical::{self, EncodeError};
use outrigger_snapshot::policy::SCHEMA;
use outrigger_snapshot::record::Serial;
use outrigger_store::write::{Compiled as Stored, ScopeContent};
use serde_json::Value;

use crate::api::wire::{Change, Verb};
use crate::compile::{self, Compiled};
use crate::config::{self, Checked, Key, Problems, Resource, Source};

/// The next revision, if it is pushed.
#[derive(Debug)]
pub struct Draft {
    /// All resources of it, sorted by kind, namespace and name.
    pub resources: Vec<Value>,
    /// How it differs from the newest.
    pub changes: Vec<Change>,
    /// What of it needs `allow_shrink`, a sentence each.
    pub shrinks: Vec<String>,
    /// The changed resources that say which revision they were read at.
    pub based: Vec<(Key, Serial)>,
}

/// What doing `verb` with `sources` makes of `current`.
///
/// # Errors
/// Every problem of the sources, and of the whole that would result.
pub fn draft(verb: Verb, sources: &[Source], current: &[Value]) -> Result<Draft, Problems> {
    let before = stored(current)?;
    let after = match verb {
        Verb::Apply => config::load(&before, sources)?,
        Verb::Replace => config::load(&[], sources)?,
        Verb::Delete => config::check(&without(&before, &config::parse(sources)?)?)?,
    };
    Ok(compare(&before, &after))
}

/// What having the resources `old` again makes of `current`.
///
/// # Errors
/// Every problem that the old resources have today: rules may have become stricter since.
pub fn restore(old: &[Value], current: &[Value]) -> Result<Draft, Problems> {
    Ok(compare(&stored(current)?, &config::check(&stored(old)?)?))
}

/// What proxies run of a revision's resources.
///
/// # Errors
/// Problems that the resources have although they were accepted: by an older version.
pub fn compiled(resources: &[Value]) -> Result<Compiled, Problems> {
    Ok(compile::compile(&config::check(&stored(resources)?)?))
}

/// Compiled content in the form that is stored.
///
/// # Errors
/// Content that has no canonical form.
pub fn encoded(compiled: &Compiled) -> Result<Stored, EncodeError> {
    let policies: Vec<Vec<u8>> = compiled.policies.iter().map(canonical::encode).collect::<Result<_, _>>()?;
    let facts: Vec<Vec<u8>> = compiled.facts.iter().map(canonical::encode).collect::<Result<_, _>>()?;
    let mut shared: HashMap<(usize, usize), Arc<ScopeContent>> = HashMap::new();
    let scopes = compiled.scopes.iter().map(|(name, scope)| {
        let content = shared.entry((scope.policy, scope.facts)).or_insert_with(|| {
            let (policy, facts) = (policies[scope.policy].clone(), facts[scope.facts].clone());
            Arc::new(ScopeContent { policy, facts })
        });
        (name.clone(), Arc::clone(content))
    });
    Ok(Stored::shared(SCHEMA, scopes.collect()))
}

fn compare(before: &[Resource], after: &Checked) -> Draft {
    let shrinks = match config::check(before) {
        Ok(checked) => {
            let (old, new) = (compile::compile(&checked), compile::compile(after));
            let mut shrinks: Vec<String> =
                compile::shrink(&old, &new).iter().map(ToString::to_string).collect();
            // Scopes that go are seen by those that stay; if none stays, nobody is left to see it.
            if shrinks.is_empty()
                && !old.scopes.is_empty()
                && !old.scopes.keys().any(|scope| new.scopes.contains_key(scope))
            {
                shrinks.push(format!("all {} services go, and others take their place", old.scopes.len()));
            }
            shrinks
        }
        // Nobody can tell what a step away from it takes away.
        Err(problems) => {
            vec![format!("the newest revision has problems today and can't be compared ({problems})")]
        }
    };
    let resources = after.resources();
    let changes = changes(before, resources);
    let changed: BTreeSet<(&str, &str, &str)> = changes
        .iter()
        .map(|change| (change.kind.as_str(), change.namespace.as_str(), change.name.as_str()))
        .collect();
    let based = resources.iter().filter_map(|resource| Some((resource.key(), resource.base()?)));
    Draft {
        based: based
            .filter(|(key, _)| changed.contains(&(key.kind.name(), &key.namespace, &key.name)))
            .collect(),
        resources: resources.iter().map(|resource| resource.value().clone()).collect(),
        changes,
        shrinks,
    }
}

fn stored(resources: &[Value]) -> Result<Vec<Resource>, Problems> {
    resources.iter().map(Resource::from_value).collect()
}

fn without(before: &[Resource], deleted: &[Resource]) -> Result<Vec<Resource>, Problems> {
    let mut after: BTreeMap<Key, &Resource> =
        before.iter().map(|resource| (resource.key(), resource)).collect();
    let mut problems = Problems::default();
    for resource in deleted {
        if after.remove(&resource.key()).is_none() {
            problems.add(|| resource.absent());
        }
    }
    problems.or(after.into_values().cloned().collect())
}

fn changes(before: &[Resource], after: &[Resource]) -> Vec<Change> {
    let by_key = |resources: &[Resource]| -> BTreeMap<Key, Value> {
        resources.iter().map(|resource| (resource.key(), resource.value().clone())).collect()
    };
    let (mut before, mut after) = (by_key(before), by_key(after));
    let keys: BTreeSet<Key> = before.keys().chain(after.keys()).cloned().collect();
    let mut changes = Vec::new();
    for key in keys {
        let (before, after) = (before.remove(&key), after.remove(&key));
        if before != after {
            let Key { kind, namespace, name } = key;
            changes.push(Change { kind: kind.to_string(), namespace, name, before, after });
        }
    }
    changes
}

#[cfg(test)]
mod tests;
