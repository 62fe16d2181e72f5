//! Two versions of a resource side by side, line by line.

use serde_json::Value;

use super::output::Failed;
use crate::api::wire::Change;

/// Longest text, in lines, whose common lines are looked for: the search takes the product of both lengths.
const LINES_MAX: usize = 2_000;

/// What differs, in the manner of `diff -u`.
pub(super) fn text(change: &Change) -> Result<String, Failed> {
    let before = lines(change.before.as_ref())?;
    let after = lines(change.after.as_ref())?;
    let mut out = vec![format!("--- {} {}/{}", change.kind, change.namespace, change.name)];
    out.extend(merge(&before, &after));
    Ok(out.join("\n"))
}

/// `value` as YAML.
pub(super) fn yaml(value: &Value) -> Result<String, Failed> {
    serde_saphyr::to_string(value).map_err(|error| Failed::problem("can't write this as YAML", &error))
}

fn lines(value: Option<&Value>) -> Result<Vec<String>, Failed> {
    let text = value.map(yaml).transpose()?.unwrap_or_default();
    Ok(text.lines().map(str::to_owned).collect())
}

/// All lines of both, the common ones once, found as a longest common subsequence.
fn merge(before: &[String], after: &[String]) -> Vec<String> {
    let mut out = Vec::new();
    let (mut old, mut new) = (0, 0);
    if before.len() <= LINES_MAX && after.len() <= LINES_MAX {
        let common = common_lengths(before, after);
        while old < before.len() && new < after.len() {
            if before[old] == after[new] {
                out.push(format!("  {}", before[old]));
                old += 1;
                new += 1;
            } else if common[old + 1][new] >= common[old][new + 1] {
                out.push(format!("- {}", before[old]));
                old += 1;
            } else {
                out.push(format!("+ {}", after[new]));
                new += 1;
            }
        }
    }
    out.extend(before[old..].iter().map(|line| format!("- {line}")));
    out.extend(after[new..].iter().map(|line| format!("+ {line}")));
    out
}

/// For each pair of positions: how many lines the rests have in common.
fn common_lengths(before: &[String], after: &[String]) -> Vec<Vec<u16>> {
    let mut lengths = vec![vec![0_u16; after.len() + 1]; before.len() + 1];
    for old in (0..before.len()).rev() {
        for new in (0..after.len()).rev() {
            lengths[old][new] = if before[old] == after[new] {
                lengths[old + 1][new + 1] + 1
            } else {
                lengths[old + 1][new].max(lengths[old][new + 1])
            };
        }
    }
    lengths
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn change(before: Option<Value>, after: Option<Value>) -> Change {
        Change { kind: "Service".into(), namespace: "default".into(), name: "cart".into(), before, after }
    }

    #[test]
    fn common_lines_stay_and_others_are_marked() {
        let found = text(&change(Some(json!({"a": 1, "b": 2})), Some(json!({"a": 1, "b": 3})))).unwrap();
        assert_eq!(found, "--- Service default/cart\n  a: 1\n- b: 2\n+ b: 3");
    }

    #[test]
    fn a_new_and_a_removed_resource_are_shown_whole() {
        assert_eq!(text(&change(None, Some(json!({"a": 1})))).unwrap(), "--- Service default/cart\n+ a: 1");
        assert_eq!(text(&change(Some(json!({"a": 1})), None)).unwrap(), "--- Service default/cart\n- a: 1");
    }

    #[test]
    fn long_texts_are_not_searched() {
        let long: Vec<u32> = (0..3_000).collect();
        let found = text(&change(Some(json!(long)), Some(json!([1])))).unwrap();
        assert_eq!(found.lines().count(), 3_002);
    }
}
