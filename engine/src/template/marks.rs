//! Plain scalars that keep their text while a manifest is taken apart and put together, as a patch does it.
//!
//! Start at [`Marks`]. The type of a plain scalar is that of its field, and a patch decides where a scalar goes. So each is
//! replaced by a string that only it has, its mark; the patch moves marks; and where they are then, the scalars get their types
//! as those of a template do (see [`super::types`]).

use std::collections::HashSet;

use serde_json::Value;

use super::manifest::Object;
use super::types::{self, Plain, Undecided};
use crate::builtin::{FieldPath, PathStep};

/// The scalars that are marked.
pub(crate) struct Marks {
    /// What each mark begins with. Invariant: no other string of the values does; an event could hold anything.
    prefix: String,
    scalars: Vec<Plain>,
}

impl Marks {
    /// Marks for these values.
    pub fn new(values: [&Value; 2]) -> Marks {
        let mut taken = HashSet::new();
        values.iter().for_each(|value| note_numbers(value, &mut taken));
        let number = (0..).find(|number| !taken.contains(number)).expect("there are more numbers than strings");
        Marks { prefix: format!("\0{number}:"), scalars: Vec::new() }
    }

    /// The value of an object, with a mark for each of its plain scalars. One that is not as it was read any more stays as it is.
    pub fn mark(&mut self, object: Object) -> Value {
        let Object { mut value, plain } = object;
        for scalar in plain {
            if types::at(&value, &scalar.place) == Some(&scalar.untyped) {
                types::put(&mut value, &scalar.place, format!("{}{}", self.prefix, self.scalars.len()).into());
                self.scalars.push(scalar);
            }
        }
        value
    }

    fn marked(&self, value: &Value) -> Option<&Plain> {
        let index = value.as_str()?.strip_prefix(&self.prefix)?;
        self.scalars.get(index.parse::<usize>().ok()?)
    }

    /// Whether two marked values say the same. A plain scalar says its text where the other one is a string.
    pub fn is_same(&self, one: &Value, other: &Value) -> bool {
        let is_same = |scalar: &Plain, value: &Value| match value {
            Value::String(text) => *text == scalar.spelled,
            value => Some(value) == scalar.read.as_ref(),
        };
        match (self.marked(one), self.marked(other)) {
            (Some(one), Some(other)) => one.spelled == other.spelled || one.untyped == other.untyped,
            (Some(scalar), None) => is_same(scalar, other),
            (None, Some(scalar)) => is_same(scalar, one),
            (None, None) => match (one, other) {
                (Value::Array(one), Value::Array(other)) => {
                    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| self.is_same(one, other))
                }
                (Value::Object(one), Value::Object(other)) => {
                    let has = |(name, value)| other.get(name).is_some_and(|other| self.is_same(value, other));
                    one.len() == other.len() && one.iter().all(has)
                }
                (one, other) => one == other,
            },
        }
    }

    /// The object of a marked manifest: each scalar has the type of the place where its mark is.
    pub fn settle(&self, mut manifest: Value) -> Object {
        let mut undecided = Vec::new();
        self.unmark(&mut manifest, &mut FieldPath::new(), &mut undecided);
        let plain = types::settle(&mut manifest, &undecided);
        Object { value: manifest, plain: plain.expect("it blames only actions, and none filled these") }
    }

    fn unmark(&self, value: &mut Value, place: &mut FieldPath, undecided: &mut Vec<Undecided>) {
        if let Some(scalar) = self.marked(value) {
            let scalar = Undecided::at(scalar, place);
            if types::takes_only_strings(place) {
                *value = Value::String(scalar.spelled);
            } else {
                *value = scalar.untyped();
                undecided.push(scalar);
            }
            return;
        }
        let mut visit = |step: PathStep, value: &mut Value| {
            place.push(step);
            self.unmark(value, place, undecided);
            place.pop();
        };
        match value {
            Value::Array(items) => {
                items.iter_mut().enumerate().for_each(|(index, item)| visit(PathStep::Item(index), item))
            }
            Value::Object(map) => map.iter_mut().for_each(|(name, value)| visit(PathStep::Field(name.clone()), value)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}

/// The numbers of prefixes that strings of a value begin with.
fn note_numbers(value: &Value, taken: &mut HashSet<u64>) {
    match value {
        Value::String(text) => {
            let number = text.strip_prefix('\0').and_then(|rest| rest.split_once(':'));
            taken.extend(number.and_then(|(number, _)| number.parse::<u64>().ok()));
        }
        Value::Array(items) => items.iter().for_each(|item| note_numbers(item, taken)),
        Value::Object(map) => map.values().for_each(|value| note_numbers(value, taken)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::parse_part;
    use super::*;

    #[test]
    fn a_scalar_keeps_its_text_on_its_way_to_its_field() {
        let part = parse_part("[1.10, 0x1F, yes, text, '1.10', ~]").expect("a list");
        assert_eq!(part.value, json!([1.1, 31, true, "text", "1.10", null]));
        let mut marks = Marks::new([&Value::Null, &part.value]);
        let list = marks.mark(part);
        assert!(marks.is_same(&list[0], &list[4]) && marks.is_same(&list[1], &json!(31)));
        assert!(marks.is_same(&json!("yes"), &list[2]) && !marks.is_same(&list[0], &json!("1.1")));
        assert!(marks.is_same(&list, &json!(["1.10", 31, "yes", "text", "1.10", null])));
        let data = json!({"a": list[0], "b": list[1], "c": list[2]});
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": data, "immutable": list[2]});
        let Object { value, plain } = marks.settle(map);
        assert_eq!(value["data"], json!({"a": "1.10", "b": "0x1F", "c": "yes"}));
        assert_eq!((&value["immutable"], plain), (&json!(true), Vec::new()));
        // Of a kind that is not built in, the place and the text are noted.
        let Object { value, plain } = marks.settle(json!({"kind": "X", "spec": [list[3], list[0]]}));
        assert_eq!(value["spec"], json!(["text", 1.1]));
        let place = vec![PathStep::Field("spec".into()), PathStep::Item(1)];
        assert_eq!(plain.iter().map(|plain| (&plain.place, &*plain.spelled)).collect::<Vec<_>>(), [(&place, "1.10")]);
    }

    #[test]
    fn no_string_of_an_event_is_taken_for_a_mark() {
        let evil = json!({"kind": "X", "spec": ["\0\u{30}:0", "\0\u{31}:0", "\0:0", "\u{0}02:0"]});
        let part = parse_part("1.10").expect("a number");
        let mut marks = Marks::new([&evil, &part.value]);
        let mark = marks.mark(part);
        let mut manifest = evil.clone();
        manifest["own"] = mark;
        let settled = marks.settle(manifest).value;
        assert_eq!((&settled["spec"], &settled["own"]), (&evil["spec"], &json!(1.1)));
    }
}
