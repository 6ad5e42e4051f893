//! Dicts. A dict never changes: `set` and `unset` give another one (the tree assigns it to the variable, as in Go).

use std::collections::BTreeMap;
use std::sync::Arc;

use gotmpl::Value;

use super::{Answer, Function, expect_map, list, map, string, text_of};

pub(super) const FUNCTIONS: &[Function] = &[
    Function::at_least("dict", 0, dict),
    Function::exactly("get", 2, |a| {
        Ok(expect_map(&a[0])?.get(&*text_of(&a[1])).cloned().unwrap_or_else(|| string("")))
    }),
    Function::exactly("set", 3, set),
    Function::exactly("unset", 2, unset),
    Function::exactly("hasKey", 2, |a| Ok(Value::Bool(expect_map(&a[0])?.contains_key(&*text_of(&a[1]))))),
    Function::at_least("pluck", 1, pluck),
    Function::at_least("keys", 0, keys),
    Function::exactly("values", 1, |a| Ok(list(expect_map(&a[0])?.values().cloned()))),
    Function::at_least("pick", 1, |a| kept(a, true)),
    Function::at_least("omit", 1, |a| kept(a, false)),
    Function::at_least("merge", 1, |a| merged(a, false)),
    Function::at_least("mustMerge", 1, |a| merged(a, false)),
    Function::at_least("mergeOverwrite", 1, |a| merged(a, true)),
    Function::at_least("mustMergeOverwrite", 1, |a| merged(a, true)),
    Function::at_least("dig", 3, dig),
];

fn dict(arguments: &[Value]) -> Answer {
    Ok(map(arguments.chunks(2).map(|pair| (text_of(&pair[0]), pair.get(1).cloned().unwrap_or_else(|| string(""))))))
}

fn set(arguments: &[Value]) -> Answer {
    let mut changed = BTreeMap::clone(expect_map(&arguments[0])?);
    changed.insert(text_of(&arguments[1]), arguments[2].clone());
    Ok(Value::Map(Arc::new(changed)))
}

fn unset(arguments: &[Value]) -> Answer {
    let mut changed = BTreeMap::clone(expect_map(&arguments[0])?);
    changed.remove(&*text_of(&arguments[1]));
    Ok(Value::Map(Arc::new(changed)))
}

fn pluck(arguments: &[Value]) -> Answer {
    let key = text_of(&arguments[0]);
    let mut found = Vec::new();
    for dict in &arguments[1..] {
        found.extend(expect_map(dict)?.get(&*key).cloned());
    }
    Ok(list(found))
}

/// In order of the keys; sprig's order is random.
fn keys(arguments: &[Value]) -> Answer {
    let mut all = Vec::new();
    for dict in arguments {
        all.extend(expect_map(dict)?.keys().cloned().map(Value::String));
    }
    Ok(list(all))
}

fn kept(arguments: &[Value], wanted: bool) -> Answer {
    let named: Vec<_> = arguments[1..].iter().map(text_of).collect();
    let dict = expect_map(&arguments[0])?;
    Ok(map(dict
        .iter()
        .filter(|(key, _)| named.contains(key) == wanted)
        .map(|(key, value)| (Arc::clone(key), value.clone()))))
}

fn merged(arguments: &[Value], overwrite: bool) -> Answer {
    let mut target = BTreeMap::clone(expect_map(&arguments[0])?);
    for source in &arguments[1..] {
        merge_into(&mut target, expect_map(source)?, overwrite);
    }
    Ok(Value::Map(Arc::new(target)))
}

/// Sprig's mergo: an empty value counts as absent; dicts merge all the way down.
fn merge_into(target: &mut BTreeMap<Arc<str>, Value>, source: &BTreeMap<Arc<str>, Value>, overwrite: bool) {
    for (key, value) in source {
        match (target.get_mut(key), value) {
            (Some(Value::Map(inner)), Value::Map(from)) => merge_into(Arc::make_mut(inner), from, overwrite),
            (Some(present), value) if present.is_truthy() && !(overwrite && value.is_truthy()) => {}
            (Some(present), value) => *present = value.clone(),
            (None, value) => {
                target.insert(Arc::clone(key), value.clone());
            }
        }
    }
}

/// `dig "a" "b" "default" dict`.
fn dig(arguments: &[Value]) -> Answer {
    let (path, rest) = arguments.split_at(arguments.len() - 2);
    let mut value = rest[1].clone();
    for key in path {
        let Some(inner) = expect_map(&value)?.get(&*text_of(key)).cloned() else {
            return Ok(rest[0].clone());
        };
        value = inner;
    }
    Ok(value)
}
