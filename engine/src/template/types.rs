//! Whether what data filled is a string or something else: a user called `1234`, a version `1.10`, an answer `yes`.
//!
//! Start at [`settle`]. YAML reads a plain scalar by its spelling, so text of an event could turn into a number.
//! Three things are asked, in this order: what the place takes, where the kind is built into Kubernetes and its
//! types are known; what the event holds, a string or not; and only then the spelling. What the template's author wrote is read
//! by its spelling, and becomes the string that it spells where only a string fits.
//!
//! Of a kind that is not built in, nothing is known here: rendering is pure, and its types are in the cluster. So the scalars
//! are handed on as [`Plain`], and the edge that applies the object asks for its [`crate::schema`].

use serde_json::Value;

use super::confine::Violation;
use crate::builtin::{self, FieldPath, PathStep, TypeCheck};

/// A plain scalar of an object whose types are not known where it is rendered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plain {
    /// Where it is, from the root of its object.
    pub(crate) place: FieldPath,
    /// As it is written.
    pub(crate) spelled: String,
    /// As YAML reads it; `None` where JSON has no such number.
    pub(crate) read: Option<Value>,
    /// What it is as long as no type is known.
    pub(crate) untyped: Value,
}

/// A plain scalar that YAML reads as something else than a string.
#[derive(Debug, Clone)]
pub(super) struct Undecided {
    /// Where it is, from the root of its object.
    pub place: FieldPath,
    /// As it is written.
    pub spelled: String,
    /// As YAML reads it; `None` where JSON has no such number.
    pub read: Option<Value>,
    /// Whether a string is part of what filled it.
    pub is_text: bool,
    /// Whether it is put together, of several values or of a value and text of the template.
    pub is_composed: bool,
    /// Which action filled it, as an index into the ranges of the rendered text; `None` where the author wrote it.
    pub filled: Option<usize>,
}

impl Undecided {
    /// A plain scalar that is now at this place. No action is blamed for it.
    pub fn at(scalar: &Plain, place: &[PathStep]) -> Undecided {
        let Plain { spelled, read, untyped, .. } = scalar.clone();
        let is_text = untyped.is_string();
        Undecided { place: place.to_vec(), spelled, read, is_text, is_composed: false, filled: None }
    }

    /// What is known of it where its object was read.
    pub fn plain(&self) -> Plain {
        let Undecided { place, spelled, read, .. } = self.clone();
        Plain { place, spelled, read, untyped: self.untyped() }
    }

    fn string(&self) -> Value {
        Value::String(self.spelled.clone())
    }

    /// What it is where nothing is known of its place.
    pub fn untyped(&self) -> Value {
        match &self.read {
            Some(read) if !self.is_text => read.clone(),
            Some(_) | None => self.string(),
        }
    }

    /// Whether this is how JSON writes the number.
    fn spells(&self, number: &Value) -> bool {
        let written = number.to_string();
        self.spelled == written
    }

    /// What it is if it is not that.
    fn other(&self) -> Option<Value> {
        if self.is_text { self.read.clone() } else { Some(self.string()) }
    }
}

/// Gives each undecided scalar of an object the type that its place takes, and those back whose types are not known here.
///
/// # Errors
/// The index of an action, where a number would not be spelled any more as the template composed it: `1.10` is `1.1`. That of the
/// first one, where there are too many.
pub(super) fn settle(object: &mut Value, undecided: &[Undecided]) -> Result<Vec<Plain>, (usize, Violation)> {
    if undecided.is_empty() {
        return Ok(Vec::new());
    }
    let check = check_of(object);
    if let Some(check) = check
        && fit(object, undecided, check).is_none()
        && let Some(filled) = undecided.iter().find_map(|scalar| scalar.filled)
    {
        return Err((filled, Violation::TooMany));
    }
    // The type is bytes in base64. What is no base64 is refused by the cluster, as the string that it is.
    if object["kind"] == "Secret" && object["apiVersion"] == "v1" {
        let is_of_data =
            |scalar: &&Undecided| matches!(scalar.place.as_slice(), [PathStep::Field(data), _] if data == "data");
        for scalar in undecided.iter().filter(is_of_data) {
            put(object, &scalar.place, scalar.string());
        }
    }
    for scalar in undecided {
        if scalar.is_composed
            && let Some(number @ Value::Number(_)) = at(object, &scalar.place)
            && !scalar.spells(number)
            && let Some(filled) = scalar.filled
        {
            return Err((filled, Violation::Respelled));
        }
    }
    if check.is_some() {
        return Ok(Vec::new());
    }
    Ok(undecided.iter().map(Undecided::plain).collect())
}

/// Whether Kubernetes takes nothing but a string here, whatever the object.
pub(super) fn takes_only_strings(place: &[PathStep]) -> bool {
    let up = |levels: usize| match place.get(place.len().checked_sub(levels)?)? {
        PathStep::Field(name) => Some(name.as_str()),
        PathStep::Item(_) => None,
    };
    is_string_field([up(3), up(2), up(1)])
}

/// The same of a field by its name, the last one, and those of the two that it is in; `None` is no field.
pub(super) fn is_string_field(names: [Option<&str>; 3]) -> bool {
    matches!(
        names,
        [_, Some("metadata"), Some("name" | "namespace" | "generateName")]
            | [Some("metadata"), Some("labels" | "annotations"), Some(_)]
            | [_, Some("matchLabels" | "nodeSelector"), Some(_)]
    )
}

fn check_of(object: &Value) -> Option<TypeCheck> {
    let api_version = object["apiVersion"].as_str()?;
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    builtin::kind(group, version, object["kind"].as_str()?)?.check
}

/// Readings of one object as its kind, at most: each takes as long as the object is large, and data may fill every scalar.
const READINGS_MAX: usize = 1_000;

/// How far the search for a scalar's type has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tried {
    /// It has the type that it has where nothing is known of its place.
    Untyped,
    /// That type did not fit; it was given the other one.
    Other,
    /// Neither type fits, or another mistake hides its place. The cluster reports it.
    Neither,
}

/// Reads the object as its kind until it fits: each misfit is an undecided scalar, which is changed, or a mistake
/// of the template, which is left out of the reading. `None` after [`READINGS_MAX`].
fn fit(object: &mut Value, undecided: &[Undecided], check: TypeCheck) -> Option<()> {
    let mut readings = 0;
    let mut read = |object: &Value| {
        readings += 1;
        (readings <= READINGS_MAX).then(|| check(object))
    };
    let mut reading = without_nulls(object);
    let mut tried = vec![Tried::Untyped; undecided.len()];
    while let Err(misfit) = read(&reading)? {
        let found = undecided.iter().position(|scalar| scalar.place == misfit.place);
        match (found, found.and_then(|index| undecided[index].other())) {
            (Some(index), Some(other)) if tried[index] == Tried::Untyped => {
                tried[index] = Tried::Other;
                put(&mut reading, &misfit.place, other);
                continue;
            }
            (Some(index), _) => tried[index] = Tried::Neither,
            (None, _) => {}
        }
        if !leave_out(&mut reading, &misfit.place) {
            break;
        }
    }
    for (scalar, tried) in undecided.iter().zip(&mut tried) {
        // Where a string and a number both fit (a port, a quantity), what spells a number is one.
        if *tried == Tried::Untyped
            && scalar.is_text
            && let Some(number @ Value::Number(_)) = &scalar.read
            && scalar.spells(number)
            && at(&reading, &scalar.place).is_some()
        {
            put(&mut reading, &scalar.place, number.clone());
            match read(&reading)? {
                Ok(_) => *tried = Tried::Other,
                Err(_) => put(&mut reading, &scalar.place, scalar.string()),
            }
        }
        if *tried == Tried::Other
            && let Some(other) = scalar.other()
        {
            put(object, &scalar.place, other);
        }
    }
    Some(())
}

/// A field that is null says the same as no field.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let fields = map.iter().filter(|(_, value)| !value.is_null());
            Value::Object(fields.map(|(name, value)| (name.clone(), without_nulls(value))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(without_nulls).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

pub(crate) fn at<'v>(value: &'v Value, place: &[PathStep]) -> Option<&'v Value> {
    place.iter().try_fold(value, |value, step| match step {
        PathStep::Field(name) => value.get(name),
        PathStep::Item(index) => value.get(index),
    })
}

fn at_mut<'v>(value: &'v mut Value, place: &[PathStep]) -> Option<&'v mut Value> {
    place.iter().try_fold(value, |value, step| match step {
        PathStep::Field(name) => value.get_mut(name),
        PathStep::Item(index) => value.get_mut(index),
    })
}

pub(crate) fn put(value: &mut Value, place: &[PathStep], new: Value) {
    if let Some(old) = at_mut(value, place) {
        *old = new;
    }
}

/// Takes the innermost field that holds a place out. False where there is none.
fn leave_out(value: &mut Value, place: &[PathStep]) -> bool {
    let Some(last) = place.iter().rposition(|step| matches!(step, PathStep::Field(_))) else { return false };
    let PathStep::Field(name) = &place[last] else { return false };
    at_mut(value, &place[..last]).and_then(Value::as_object_mut).is_some_and(|map| map.remove(name).is_some())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{Data, Dialect, Error, Template};
    use super::*;

    fn render(dialect: Dialect, source: &str, values: &Value) -> Result<Vec<Value>, Error> {
        let data = Data { values, recorded_at_unix_nanos: 0 };
        Template::compile(dialect, "t", source)?.render_manifests(&data)
    }

    #[test]
    fn an_object_whose_values_are_too_many_is_refused_soon() {
        let source = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n{{ range $i, $v := .v }}  k{{ $i }}: {{ $v }}\n{{ end }}";
        let numbers = |count: u32| json!({"v": (0..count).collect::<Vec<_>>()});
        assert_eq!(render(Dialect::Go, source, &numbers(500)).unwrap()[0]["data"]["k7"], "7");
        let error = render(Dialect::Go, source, &numbers(5_000)).unwrap_err().to_string();
        assert!(error.contains("is one of too many values without quotes"), "{error}");
    }

    /// What is at `pointer` of the manifest, with `{{ .v }}` filled by the value; a string also by `{{ v }}` of
    /// Tera, which prints numbers as the author's text.
    #[track_caller]
    fn check(source: &str, pointer: &str, value: &Value, expected: &Value) {
        let values = json!({"v": value});
        let go = (Dialect::Go, source.to_owned());
        let tera = value.is_string().then(|| (Dialect::Tera, source.replace(".v", "v")));
        for (dialect, source) in [go].into_iter().chain(tera) {
            let found = render(dialect, &source, &values).map(|objects| objects[0].pointer(pointer).cloned());
            assert_eq!(found.as_ref().map(Option::as_ref), Ok(Some(expected)), "{dialect:?} {value}\n{source}");
        }
    }

    /// What a user may be called, and a version, and an answer.
    const STRINGS: [&str; 15] = [
        "1234",
        "1.10",
        "true",
        "null",
        "2026-11-22",
        "1e3",
        "0x10",
        "yes",
        "~",
        "",
        "010",
        ".inf",
        "1_000",
        "12:30",
        "123456789012345678901234567890",
    ];

    const STRING_PLACES: [(&str, &str); 15] = [
        (
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: b}\nroleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: r}\nsubjects:\n- kind: User\n  name: {{ .v }}\n",
            "/subjects/0/name",
        ),
        (
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: b}\nroleRef: {kind: Role, name: {{ .v }}}\n",
            "/roleRef/name",
        ),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n  - name: c\n    env:\n    - name: a\n      value: {{ .v }}\n",
            "/spec/containers/0/env/0/value",
        ),
        ("apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - args: [a, {{ .v }}]\n", "/spec/containers/0/args/1"),
        (
            "apiVersion: apps/v1\nkind: Deployment\nspec:\n  template:\n    spec:\n      containers:\n      - command:\n        - {{ .v }}\n",
            "/spec/template/spec/containers/0/command/0",
        ),
        ("apiVersion: v1\nkind: Service\nspec:\n  selector:\n    user: {{ .v }}\n", "/spec/selector/user"),
        (
            "apiVersion: apps/v1\nkind: Deployment\nspec:\n  selector:\n    matchLabels:\n      user: {{ .v }}\n",
            "/spec/selector/matchLabels/user",
        ),
        (
            "apiVersion: apps/v1\nkind: Deployment\nspec:\n  selector:\n    matchExpressions:\n    - {key: user, operator: In, values: [{{ .v }}]}\n",
            "/spec/selector/matchExpressions/0/values/0",
        ),
        ("apiVersion: v1\nkind: ConfigMap\ndata:\n  a: {{ .v }}\n", "/data/a"),
        ("apiVersion: v1\nkind: Secret\nstringData:\n  a: {{ .v }}\n", "/stringData/a"),
        ("apiVersion: v1\nkind: Secret\ndata:\n  a: {{ .v }}\n", "/data/a"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  annotations: {a: {{ .v }}}\n", "/metadata/annotations/a"),
        ("apiVersion: x.dev/v1\nkind: X\nmetadata:\n  labels:\n    a: {{ .v }}\n", "/metadata/labels/a"),
        ("apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: ConfigMap\n  data: {a: {{ .v }}}\n", "/data/a"),
        // Another mistake in the manifest is no reason to give up.
        (
            "apiVersion: v1\nkind: Pod\nspec:\n  hostNetwork: 5\n  nodeName: {{ .v }}\n  priority: null\n",
            "/spec/nodeName",
        ),
    ];

    #[test]
    fn strings_stay_strings_wherever_a_string_is_expected() {
        for (source, pointer) in STRING_PLACES {
            // Nothing at all between brackets is refused.
            for text in STRINGS.iter().filter(|text| !(text.is_empty() && source.contains('['))) {
                check(source, pointer, &json!(text), &json!(text));
            }
        }
    }

    #[test]
    fn numbers_and_booleans_of_events_are_strings_where_only_a_string_fits() {
        for (source, pointer) in STRING_PLACES {
            for (value, expected) in [(json!(1234), "1234"), (json!(true), "true"), (json!(3.5), "3.5")] {
                check(source, pointer, &value, &json!(expected));
            }
        }
    }

    #[test]
    fn a_string_is_a_number_where_only_a_number_fits() {
        let deployment = "apiVersion: apps/v1\nkind: Deployment\nspec: {replicas: {{ .v }}}\n";
        let port = "apiVersion: v1\nkind: Service\nspec:\n  ports:\n  - {port: 80, targetPort: {{ .v }}}\n";
        let job = "apiVersion: batch/v1\nkind: Job\nspec: {suspend: {{ .v }}}\n";
        for (source, pointer, value, expected) in [
            (deployment, "/spec/replicas", json!("3"), json!(3)),
            (deployment, "/spec/replicas", json!(3), json!(3)),
            (deployment, "/spec/replicas", json!("1e3"), json!(1000)),
            // What is no number is left for the cluster to refuse.
            (deployment, "/spec/replicas", json!("three"), json!("three")),
            (deployment, "/spec/replicas", json!("99999999999"), json!("99999999999")),
            (port, "/spec/ports/0/targetPort", json!("8080"), json!(8080)),
            (port, "/spec/ports/0/targetPort", json!("http"), json!("http")),
            (job, "/spec/suspend", json!("true"), json!(true)),
            (job, "/spec/suspend", json!(false), json!(false)),
            ("apiVersion: v1\nkind: Pod\nspec: {priority: {{ .v }}}\n", "/spec/priority", json!(""), json!(null)),
            (
                "apiVersion: v1\nkind: LimitRange\nspec: {limits: [{max: {cpu: {{ .v }}}}]}\n",
                "/spec/limits/0/max/cpu",
                json!("1.10"),
                json!("1.10"),
            ),
            // To YAML this is 8.
            (port, "/spec/ports/0/targetPort", json!("010"), json!("010")),
        ] {
            check(source, pointer, &value, &expected);
        }
    }

    #[test]
    fn where_no_type_is_known_a_value_is_what_it_is_in_the_event() {
        let custom = "apiVersion: x.dev/v1\nkind: X\nspec:\n  a: {{ .v }}\n  b:\n  - {{ .v }}\n";
        for text in STRINGS {
            check(custom, "/spec/a", &json!(text), &json!(text));
            check(custom, "/spec/b/0", &json!(text), &json!(text));
        }
        for value in [json!(3), json!(-1), json!(2.5), json!(true), json!(u64::MAX)] {
            check(custom, "/spec/a", &value, &value);
            check(custom, "/spec/b/0", &value, &value);
        }
        // A string is part of it, so it is one.
        check("apiVersion: x.dev/v1\nkind: X\na: 1{{ .v }}\n", "/a", &json!("2"), &json!("12"));
        check("apiVersion: x.dev/v1\nkind: X\na: 80{{ .v }}\n", "/a", &json!(80), &json!(8080));
        // What is written by the template's author is read as YAML reads it.
        check("apiVersion: x.dev/v1\nkind: X\na: 1e3 # {{ .v }}\n", "/a", &json!("x"), &json!(1000));
    }

    #[test]
    fn what_a_function_gives_counts_as_it_is() {
        let values = json!({"v": "0x10", "n": 3, "t": "Yes"});
        for (action, expected) in [
            (".v | lower", json!("0x10")),
            (".t | lower", json!("yes")),
            ("trunc 1 .v", json!("0")),
            (".n", json!(3)),
            (".n | toString", json!("3")),
            (".v | trimPrefix \"0x\" | int", json!(10)),
            ("add .n 1", json!(4)),
            ("eq .n 3", json!(true)),
            ("printf \"%05d\" .n", json!("00003")),
            (".n | toJson", json!(3)),
            ("toYaml .v", json!("0x10")),
            ("default \"1.0\" .v", json!("0x10")),
            ("index . \"v\"", json!("0x10")),
        ] {
            let source = format!("kind: X\na: {{{{ {action} }}}}\n");
            assert_eq!(render(Dialect::Go, &source, &values).unwrap()[0]["a"], expected, "{action}");
        }
        let looped = "kind: X\na:\n{{ range $k, $v := . }}  {{ $k }}: {{ $v }}\n{{ end }}";
        assert_eq!(render(Dialect::Go, looped, &values).unwrap()[0]["a"], values);
    }

    #[test]
    fn a_number_that_is_put_together_keeps_its_spelling_or_is_refused() {
        let refused = |source: &str, value: Value| {
            let error = render(Dialect::Go, source, &json!({"v": value})).expect_err(source);
            assert!(error.fault().message.contains("would lose its spelling"), "{error}");
            assert!(error.fault().hint.as_ref().is_some_and(|hint| hint.contains("write quotes")), "{error}");
        };
        refused("kind: X\nversion: 1.{{ .v }}\n", json!(10));
        refused("kind: X\nid: 0{{ .v }}\n", json!(10));
        refused("kind: X\nid: {{ .v }}e3\n", json!(1));
        check("kind: X\nversion: 1.{{ .v }}\n", "/version", &json!(5), &json!(1.5));
        check("kind: X\nversion: \"1.{{ .v }}\"\n", "/version", &json!(10), &json!("1.10"));
        check(
            "apiVersion: v1\nkind: ConfigMap\ndata:\n  version: 1.{{ .v }}\n",
            "/data/version",
            &json!(10),
            &json!("1.10"),
        );
    }
}
