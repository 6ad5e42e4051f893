//! Lists.

use gotmpl::Value;

use super::{Answer, Function, expect_count, expect_list, list, spend, string, text_of};

pub(super) const FUNCTIONS: &[Function] = &[
    Function::at_least("list", 0, |a| Ok(list(a.iter().cloned()))),
    Function::at_least("tuple", 0, |a| Ok(list(a.iter().cloned()))),
    Function::exactly("first", 1, first),
    Function::exactly("mustFirst", 1, first),
    Function::exactly("last", 1, last),
    Function::exactly("mustLast", 1, last),
    Function::exactly("rest", 1, rest),
    Function::exactly("mustRest", 1, rest),
    Function::exactly("initial", 1, initial),
    Function::exactly("mustInitial", 1, initial),
    Function::exactly("append", 2, append),
    Function::exactly("push", 2, append),
    Function::exactly("mustAppend", 2, append),
    Function::exactly("mustPush", 2, append),
    Function::exactly("prepend", 2, prepend),
    Function::exactly("mustPrepend", 2, prepend),
    Function::at_least("concat", 0, concat),
    Function::exactly("reverse", 1, |a| Ok(list(expect_list(&a[0])?.iter().rev().cloned()))),
    Function::exactly("mustReverse", 1, |a| Ok(list(expect_list(&a[0])?.iter().rev().cloned()))),
    Function::exactly("uniq", 1, uniq),
    Function::exactly("mustUniq", 1, uniq),
    Function::at_least("without", 1, without),
    Function::at_least("mustWithout", 1, without),
    Function::exactly("has", 2, has),
    Function::exactly("mustHas", 2, has),
    Function::exactly("compact", 1, |a| Ok(list(expect_list(&a[0])?.iter().filter(|item| item.is_truthy()).cloned()))),
    Function::exactly("mustCompact", 1, |a| {
        Ok(list(expect_list(&a[0])?.iter().filter(|item| item.is_truthy()).cloned()))
    }),
    Function::exactly("chunk", 2, chunk),
    Function::exactly("mustChunk", 2, chunk),
    Function::between("mustSlice", 1, 3, slice),
    Function::exactly("sortAlpha", 1, sort_alpha),
    Function::exactly("until", 1, |a| counted(0, expect_count(&a[0])?, if expect_count(&a[0])? < 0 { -1 } else { 1 })),
    Function::exactly("untilStep", 3, |a| counted(expect_count(&a[0])?, expect_count(&a[1])?, expect_count(&a[2])?)),
    Function::between("seq", 0, 3, seq),
];

fn first(arguments: &[Value]) -> Answer {
    Ok(expect_list(&arguments[0])?.first().cloned().unwrap_or(Value::Nil))
}

fn last(arguments: &[Value]) -> Answer {
    Ok(expect_list(&arguments[0])?.last().cloned().unwrap_or(Value::Nil))
}

fn rest(arguments: &[Value]) -> Answer {
    Ok(list(expect_list(&arguments[0])?.iter().skip(1).cloned()))
}

fn initial(arguments: &[Value]) -> Answer {
    let items = expect_list(&arguments[0])?;
    Ok(list(items[..items.len().saturating_sub(1)].iter().cloned()))
}

fn append(arguments: &[Value]) -> Answer {
    Ok(list(expect_list(&arguments[0])?.iter().chain([&arguments[1]]).cloned()))
}

fn prepend(arguments: &[Value]) -> Answer {
    Ok(list([&arguments[1]].into_iter().chain(expect_list(&arguments[0])?.iter()).cloned()))
}

fn concat(arguments: &[Value]) -> Answer {
    let mut all = Vec::new();
    for argument in arguments {
        all.extend(expect_list(argument)?.iter().cloned());
    }
    Ok(list(all))
}

fn uniq(arguments: &[Value]) -> Answer {
    let items = expect_list(&arguments[0])?;
    let mut kept: Vec<Value> = Vec::new();
    for item in items.iter() {
        spend(kept.len() as u64)?;
        if !kept.contains(item) {
            kept.push(item.clone());
        }
    }
    Ok(list(kept))
}

fn without(arguments: &[Value]) -> Answer {
    let unwanted = &arguments[1..];
    Ok(list(expect_list(&arguments[0])?.iter().filter(|item| !unwanted.contains(item)).cloned()))
}

fn has(arguments: &[Value]) -> Answer {
    match &arguments[1] {
        Value::Nil => Ok(Value::Bool(false)),
        haystack => Ok(Value::Bool(expect_list(haystack)?.contains(&arguments[0]))),
    }
}

fn chunk(arguments: &[Value]) -> Answer {
    let size =
        usize::try_from(expect_count(&arguments[0])?).ok().filter(|size| *size > 0).ok_or("wants a size above 0")?;
    Ok(list(expect_list(&arguments[1])?.chunks(size).map(|chunk| list(chunk.iter().cloned()))))
}

fn slice(arguments: &[Value]) -> Answer {
    let bound = |index: usize| arguments.get(index).map(expect_count).transpose();
    arguments[0].slice(bound(1)?, bound(2)?).map_err(|error| error.to_string())
}

fn sort_alpha(arguments: &[Value]) -> Answer {
    let Value::List(items) = &arguments[0] else {
        return Ok(list([Value::String(text_of(&arguments[0]))]));
    };
    let mut texts: Vec<_> = items.iter().map(text_of).collect();
    texts.sort();
    Ok(list(texts.into_iter().map(Value::String)))
}

fn counted(start: i64, stop: i64, step: i64) -> Answer {
    if step == 0 || (step > 0 && start >= stop) || (step < 0 && start <= stop) {
        return Ok(list([]));
    }
    let count = start.abs_diff(stop).div_ceil(step.unsigned_abs());
    spend(count.saturating_mul(16))?;
    Ok(list((0..count as i64).map(|index| Value::Int(start.wrapping_add(index.wrapping_mul(step))))))
}

/// Numbers from first to last, both included, as the shell's `seq` prints them.
fn seq(arguments: &[Value]) -> Answer {
    let numbers = arguments.iter().map(expect_count).collect::<Result<Vec<i64>, String>>()?;
    let (start, step, end) = match numbers[..] {
        [end] => (1, if end < 1 { -1 } else { 1 }, end),
        [start, end] => (start, if end < start { -1 } else { 1 }, end),
        [start, step, end] => (start, step, end),
        _ => return Ok(string("")),
    };
    if step == 0 || (step > 0) != (end >= start) && end != start {
        return Ok(string(""));
    }
    let beyond = end.checked_add(step.signum()).ok_or("the numbers are too large")?;
    let Value::List(items) = counted(start, beyond, step)? else {
        return Ok(string(""));
    };
    let texts: Vec<String> = items.iter().map(Value::to_string).collect();
    Ok(string(texts.join(" ")))
}
