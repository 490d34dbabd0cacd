//! The requests: samples, and each of their fields made wrong in turn.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

/// Samples of kinds, good as they are.
const SAMPLES: &str = include_str!("samples.yaml");
/// Stands for a request for a certificate.
const CERTIFICATE_REQUEST: &str = "CSRPEM";
/// Kinds of which objects are asked and not kept, or stand in the way of everything that is asked later.
const NOT_STORED: [&str; 8] = [
    "APIService",
    "LocalSubjectAccessReview",
    "MutatingWebhookConfiguration",
    "SelfSubjectAccessReview",
    "SelfSubjectRulesReview",
    "SubjectAccessReview",
    "TokenReview",
    "ValidatingWebhookConfiguration",
];

/// An object to begin with.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) object: Value,
}

/// A request.
#[derive(Debug)]
pub(super) struct Case {
    /// What is wrong with it.
    pub(super) title: String,
    pub(super) method: &'static str,
    pub(super) path: String,
    /// One for both servers, or ours and theirs.
    pub(super) bodies: Vec<Value>,
}

/// The way to a field.
type Steps = Vec<Step>;

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Field(String),
    Item(usize),
}

/// Reads the samples of the kinds, or all.
///
/// # Errors
/// One cannot be read.
pub(super) fn samples(kinds: &[String]) -> Result<Vec<Sample>> {
    let request = certificate_request()?;
    let read = |text: &str| -> Result<Sample> {
        let text = text.replace(CERTIFICATE_REQUEST, &request);
        let object = serde_saphyr::from_str(&text).with_context(|| format!("read {text}"))?;
        Ok(Sample { object })
    };
    let all = SAMPLES.split("\n---\n").map(read).collect::<Result<Vec<_>>>()?;
    let is_wanted =
        |sample: &Sample| kinds.is_empty() || kinds.iter().any(|it| it == sample.kind());
    Ok(all.into_iter().filter(is_wanted).collect())
}

/// In PEM, in base 64.
fn certificate_request() -> Result<String> {
    let key = rcgen::KeyPair::generate().context("make a key")?;
    let request = rcgen::CertificateParams::default().serialize_request(&key)?.pem()?;
    let bytes = k8s_openapi::ByteString(request.into_bytes());
    Ok(serde_json::to_value(bytes)?.as_str().unwrap_or_default().to_owned())
}

impl Sample {
    fn text(&self, pointer: &str) -> &str {
        self.object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    fn kind(&self) -> &str {
        self.text("/kind")
    }

    pub(super) fn title(&self) -> String {
        format!("{}/{}", self.kind(), self.text("/metadata/name"))
    }

    /// Whether there can be such an object.
    pub(super) fn is_stored(&self) -> bool {
        !NOT_STORED.contains(&self.kind())
    }

    /// Of the collection.
    pub(super) fn path(&self) -> String {
        let version = self.text("/apiVersion");
        let root = if version.contains('/') { "apis" } else { "api" };
        let namespace = match self.text("/metadata/namespace") {
            "" => String::new(),
            namespace => format!("/namespaces/{namespace}"),
        };
        format!("/{root}/{version}{namespace}/{}", plural(self.kind()))
    }

    pub(super) fn object_path(&self) -> String {
        format!("{}/{}", self.path(), self.text("/metadata/name"))
    }
}

fn plural(kind: &str) -> String {
    let kind = kind.to_lowercase();
    match kind.as_str() {
        "endpoints" => kind,
        _ if kind.ends_with('s') => format!("{kind}es"),
        _ => match kind.strip_suffix('y') {
            Some(stem) if !kind.ends_with("ay") => format!("{stem}ies"),
            _ => format!("{kind}s"),
        },
    }
}

/// The sample, and the sample with one thing wrong, as new objects.
pub(super) fn creations(sample: &Sample) -> Vec<Case> {
    let path = format!("{}?dryRun=All", sample.path());
    let case = |what: String, body: Value| Case {
        title: format!("{} {what}", sample.title()),
        method: "POST",
        path: path.clone(),
        bodies: vec![body],
    };
    let whole = case("as it is".to_owned(), sample.object.clone());
    let wrong = wrongs(&sample.object)
        .into_iter()
        .filter_map(|(steps, what, value)| Some(case(what, with(&sample.object, &steps, value)?)));
    std::iter::once(whole).chain(wrong).collect()
}

/// The same as changes of what each server made of the sample.
pub(super) fn updates(sample: &Sample, ours: &Value, theirs: &Value) -> Vec<Case> {
    let path = format!("{}?dryRun=All", sample.object_path());
    let bare = |object: &Value| {
        let mut object = object.clone();
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove("managedFields");
        }
        object
    };
    let (ours, theirs) = (bare(ours), bare(theirs));
    let update = |(steps, what, value): (Steps, String, Option<Value>)| {
        let bodies = vec![with(&ours, &steps, value.clone())?, with(&theirs, &steps, value)?];
        let title = format!("{} {what}", sample.title());
        Some(Case { title, method: "PUT", path: path.clone(), bodies })
    };
    wrongs(&sample.object).into_iter().filter_map(update).collect()
}

/// Every wrong: where, what, and what to put there; nothing to take it away.
fn wrongs(object: &Value) -> Vec<(Steps, String, Option<Value>)> {
    let mut places = Vec::new();
    walk(object, &mut Steps::new(), &mut places);
    let wrong = |(steps, value): (Steps, &Value)| {
        let place = name(&steps);
        wrong_values(value)
            .into_iter()
            .map(move |(what, value)| (steps.clone(), format!("{place} {what}"), value))
    };
    places.into_iter().flat_map(wrong).collect()
}

fn walk<'a>(value: &'a Value, steps: &mut Steps, places: &mut Vec<(Steps, &'a Value)>) {
    if !steps.is_empty() {
        places.push((steps.clone(), value));
    }
    let mut go = |step: Step, value: &'a Value| {
        steps.push(step);
        walk(value, steps, places);
        steps.pop();
    };
    match value {
        Value::Object(map) => {
            map.iter().for_each(|(key, value)| go(Step::Field(key.clone()), value));
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, value)| go(Step::Item(index), value));
        }
        _ => {}
    }
}

fn name(steps: &Steps) -> String {
    let mut name = String::new();
    for step in steps {
        match step {
            Step::Item(index) => name.push_str(&format!("[{index}]")),
            Step::Field(field) if name.is_empty() => name.push_str(field),
            Step::Field(field) => name.push_str(&format!(".{field}")),
        }
    }
    name
}

fn wrong_values(value: &Value) -> Vec<(String, Option<Value>)> {
    let put = |values: Vec<Value>| {
        values.into_iter().map(|value| {
            let text = value.to_string();
            let what = if text.len() > 40 { "long".to_owned() } else { format!("= {text}") };
            (what, Some(value))
        })
    };
    let mut wrong: Vec<(String, Option<Value>)> = vec![("missing".to_owned(), None)];
    match value {
        Value::Null => {}
        Value::Bool(on) => wrong.extend(put(vec![json!(!on), json!("x")])),
        Value::Number(_) => wrong.extend(put(vec![
            json!(-1),
            json!(0),
            json!(1),
            json!(100_000),
            json!(3_000_000_000_u64),
            json!("x"),
        ])),
        Value::String(_) => wrong.extend(put(vec![
            json!(""),
            json!("Not Valid!"),
            json!("-x"),
            json!("a".repeat(300)),
            json!(5),
        ])),
        Value::Array(items) => {
            wrong.extend(put(vec![json!([]), json!("x")]));
            if let Some(first) = items.first() {
                let doubled = items.iter().chain([first]).cloned().collect();
                wrong.push(("doubled".to_owned(), Some(Value::Array(doubled))));
            }
        }
        Value::Object(map) => {
            wrong.extend(put(vec![json!({}), json!("x")]));
            let mut more = map.clone();
            more.insert("zzz".to_owned(), json!(1));
            wrong.push(("with zzz".to_owned(), Some(Value::Object(more))));
        }
    }
    wrong
}

/// The object with another value at a place; nothing where the place is not there.
fn with(object: &Value, steps: &Steps, value: Option<Value>) -> Option<Value> {
    let mut object = object.clone();
    let (last, way) = steps.split_last()?;
    let holder = way.iter().try_fold(&mut object, |value, step| match step {
        Step::Field(field) => value.get_mut(field),
        Step::Item(index) => value.get_mut(index),
    })?;
    match (holder, last, value) {
        (Value::Object(map), Step::Field(field), Some(value)) => {
            *map.get_mut(field)? = value;
        }
        (Value::Object(map), Step::Field(field), None) => {
            map.remove(field)?;
        }
        (Value::Array(items), Step::Item(index), Some(value)) => *items.get_mut(*index)? = value,
        (Value::Array(items), Step::Item(index), None) if *index < items.len() => {
            items.remove(*index);
        }
        _ => return None,
    }
    Some(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_have_paths() {
        let samples = samples(&[]).unwrap();
        assert!(samples.len() > 60, "{}", samples.len());
        let paths: Vec<String> = samples.iter().map(Sample::path).collect();
        for path in [
            "/api/v1/namespaces/default/pods",
            "/api/v1/namespaces/default/endpoints",
            "/apis/networking.k8s.io/v1/ingressclasses",
            "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies",
            "/apis/storage.k8s.io/v1/namespaces/default/csistoragecapacities",
        ] {
            assert!(paths.iter().any(|it| it == path), "{path}");
        }
        let request = samples.iter().find(|it| it.kind() == "CertificateSigningRequest").unwrap();
        assert!(request.text("/spec/request").len() > 100);
    }

    #[test]
    fn one_thing_is_wrong_at_a_time() {
        let object = json!({"kind": "Foo", "metadata": {"name": "a"}, "on": true, "list": [1]});
        let cases = creations(&Sample { object: object.clone() });
        assert_eq!(cases[0].bodies, std::slice::from_ref(&object));
        let find = |title: &str| {
            let found = cases.iter().find(|case| case.title == format!("Foo/a {title}"));
            found.unwrap_or_else(|| panic!("{title}")).bodies[0].clone()
        };
        assert_eq!(find("on = false")["on"], false);
        assert_eq!(find("list[0] = -1")["list"], json!([-1]));
        assert_eq!(find("list doubled")["list"], json!([1, 1]));
        assert_eq!(find("metadata.name missing")["metadata"], json!({}));
        assert_eq!(find("metadata with zzz")["metadata"]["zzz"], 1);
        let titles: std::collections::BTreeSet<&str> =
            cases.iter().map(|case| case.title.as_str()).collect();
        assert_eq!(titles.len(), cases.len());
    }

    #[test]
    fn what_a_server_has_dropped_is_not_changed() {
        let sample = Sample { object: json!({"kind": "Foo", "metadata": {"name": "a"}, "x": "y"}) };
        let kept = json!({"metadata": {"name": "a", "managedFields": []}, "x": "y"});
        let cases = updates(&sample, &kept, &json!({"metadata": {"name": "a"}}));
        assert!(!cases.is_empty());
        assert!(cases.iter().all(|case| !case.title.contains(" x ")));
        assert!(
            cases.iter().all(|case| case.bodies[0].pointer("/metadata/managedFields").is_none())
        );
    }
}
