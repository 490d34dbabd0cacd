//! A cluster made of JSON objects, and requests in one line: for the tests of the plugins.

use std::sync::Arc;

use api::object::{Object, encode};
use api::resource::Resource;
use api::status::Status;
use serde_json::{Value, json};

use crate::{Lookup, Operation, Plugin, Request, User};

/// Objects by group and plural; rights as `verb plural name`.
#[derive(Default)]
pub(crate) struct Cluster {
    objects: Vec<(String, String, Arc<Object>)>,
    rights: Vec<String>,
}

impl Cluster {
    pub(crate) fn with(mut self, plural: &str, object: Value) -> Self {
        let row = row(plural);
        let object = Object::new(&object, encode(&object), Vec::new(), 1);
        self.objects.push((row.group.to_string(), plural.to_owned(), Arc::new(object)));
        self
    }

    pub(crate) fn allowing(mut self, right: &str) -> Self {
        self.rights.push(right.to_owned());
        self
    }
}

impl Lookup for Cluster {
    fn get(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Option<Arc<Object>> {
        self.list(group, plural, namespace).into_iter().find(|object| *object.name == *name)
    }

    fn list(&self, group: &str, plural: &str, namespace: &str) -> Vec<Arc<Object>> {
        let found = self.objects.iter().filter(|(g, p, object)| {
            g == group && p == plural && (namespace.is_empty() || *object.namespace == *namespace)
        });
        found.map(|(_, _, object)| Arc::clone(object)).collect()
    }

    fn may(&self, _: &User, verb: &str, _: &str, plural: &str, _: &str, name: &str) -> bool {
        self.rights.contains(&format!("{verb} {plural} {name}"))
    }
}

/// The row of a built-in kind.
pub(crate) fn row(plural: &str) -> Arc<Resource> {
    let mut rows = api::kinds::all().iter().filter(|row| row.plural == plural);
    let found = rows.clone().find(|row| row.version == "v1").or_else(|| rows.next());
    found.cloned().unwrap_or_else(|| panic!("no kind {plural}"))
}

/// One request to be put before a plugin.
pub(crate) struct Case {
    pub(crate) operation: Operation,
    pub(crate) plural: &'static str,
    pub(crate) subresource: &'static str,
    pub(crate) user: User,
    pub(crate) object: Value,
    pub(crate) old: Option<Value>,
}

/// What became of it.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) object: Value,
    pub(crate) warnings: Vec<String>,
    pub(crate) annotations: Vec<(String, String)>,
}

impl Case {
    pub(crate) fn create(plural: &'static str, object: Value) -> Self {
        Self {
            operation: Operation::Create,
            plural,
            subresource: "",
            user: User { name: "alice".into(), ..User::default() },
            object,
            old: None,
        }
    }

    pub(crate) fn update(plural: &'static str, old: Value, object: Value) -> Self {
        Self { operation: Operation::Update, old: Some(old), ..Self::create(plural, object) }
    }

    pub(crate) fn delete(plural: &'static str, old: Value) -> Self {
        Self { operation: Operation::Delete, old: Some(old), ..Self::create(plural, Value::Null) }
    }

    pub(crate) fn at(mut self, subresource: &'static str) -> Self {
        self.subresource = subresource;
        self
    }

    /// As the node of this name.
    pub(crate) fn by_node(mut self, name: &str) -> Self {
        self.user.name = format!("system:node:{name}");
        self.user.groups = vec!["system:nodes".into()];
        self
    }

    /// Both phases of a plugin.
    pub(crate) fn run(self, plugin: &dyn Plugin, cluster: &Cluster) -> Result<Outcome, Status> {
        let row = row(self.plural);
        let null = json!(null);
        let named =
            if self.operation == Operation::Create { &null } else { self.old.as_ref().unwrap() };
        let name = api::meta::name(named).to_owned();
        let either = self.old.as_ref().unwrap_or(&self.object);
        let namespace = api::meta::namespace(either).to_owned();
        let mut request = Request {
            operation: self.operation,
            resource: &row,
            subresource: self.subresource,
            namespace: &namespace,
            name: &name,
            user: &self.user,
            dry_run: false,
            object: self.object,
            old: self.old.as_ref(),
            options: &null,
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
            random: 0,
            warnings: Vec::new(),
            annotations: Vec::new(),
        };
        plugin.mutate(&mut request, cluster)?;
        plugin.validate(&mut request, cluster)?;
        Ok(Outcome {
            object: request.object,
            warnings: request.warnings,
            annotations: request.annotations,
        })
    }

    /// The refusal's message, empty when there is none.
    pub(crate) fn refusal(self, plugin: &dyn Plugin, cluster: &Cluster) -> String {
        self.run(plugin, cluster).map_or_else(|status| status.message, |_| String::new())
    }

    /// The object as the plugin leaves it.
    pub(crate) fn admitted(self, plugin: &dyn Plugin, cluster: &Cluster) -> Value {
        self.run(plugin, cluster).map(|outcome| outcome.object).unwrap()
    }
}
