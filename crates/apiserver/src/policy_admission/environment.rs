//! What the expressions of policies and match conditions may refer to, and how they are compiled and run.

use std::sync::LazyLock;

use expression::{
    Activation, Budget, CostError, Environment, EvaluationError, Program, Type, Value,
};

/// What the result of an expression must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Returns {
    /// Validations and match conditions.
    Bool,
    /// Messages.
    Text,
    /// Audit annotations.
    TextOrNull,
    /// Variables.
    Anything,
    /// Mutations by JSON patch.
    Patches,
    /// Mutations by apply configuration.
    Object,
}

/// Which variables there are beside `object`, `oldObject`, `namespaceObject` and `request`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extras {
    pub(super) params: bool,
    pub(super) authorizer: bool,
    /// `variables`, for policies that have some.
    pub(super) variables: bool,
    /// The types that patches are made of.
    pub(super) patches: bool,
}

/// What match conditions may refer to.
pub(crate) fn for_conditions(params: bool) -> Environment {
    with(Extras { params, authorizer: true, ..Extras::default() })
}

/// An environment for objects of which nothing is known.
pub(super) fn with(extras: Extras) -> Environment {
    let base = Environment::new().with_dynamic("object").with_dynamic("oldObject");
    extend(base, extras.params.then_some(Type::Dyn), extras)
}

/// Adds everything but the objects.
pub(super) fn extend(
    base: Environment,
    params: Option<impl Into<expression::Shape>>,
    extras: Extras,
) -> Environment {
    let mut environment =
        base.with("namespaceObject", NAMESPACE.clone()).with("request", REQUEST.clone());
    if let Some(params) = params {
        environment = environment.with("params", params);
    }
    if extras.authorizer {
        environment = environment.with_authorizer(true);
    }
    if extras.variables {
        environment = environment.with_variables();
    }
    if extras.patches {
        environment = environment.with_constructors();
    }
    environment
}

static REQUEST: LazyLock<Type> = LazyLock::new(|| {
    let text = |name: &'static str| (name, Type::String);
    let kind =
        || Type::object("kubernetes.GroupVersionKind", ["group", "version", "kind"].map(text));
    let resource = || {
        Type::object("kubernetes.GroupVersionResource", ["group", "version", "resource"].map(text))
    };
    let user = Type::object(
        "kubernetes.UserInfo",
        [
            ("username", Type::String),
            ("uid", Type::String),
            ("groups", Type::list(Type::String)),
            ("extra", Type::map(Type::String, Type::list(Type::String))),
        ],
    );
    Type::object(
        "kubernetes.AdmissionRequest",
        [
            ("kind", kind()),
            ("resource", resource()),
            ("subResource", Type::String),
            ("requestKind", kind()),
            ("requestResource", resource()),
            ("requestSubResource", Type::String),
            ("name", Type::String),
            ("namespace", Type::String),
            ("operation", Type::String),
            ("userInfo", user),
            ("dryRun", Type::Bool),
            ("options", Type::Dyn),
        ],
    )
});

static NAMESPACE: LazyLock<Type> = LazyLock::new(|| {
    let texts = || Type::list(Type::String);
    let labels = || Type::map(Type::String, Type::String);
    let condition = Type::object(
        "kubernetes.NamespaceCondition",
        [
            ("status", Type::String),
            ("type", Type::String),
            ("lastTransitionTime", Type::Timestamp),
            ("message", Type::String),
            ("reason", Type::String),
        ],
    );
    let metadata = Type::object(
        "kubernetes.NamespaceMetadata",
        [
            ("name", Type::String),
            ("generateName", Type::String),
            ("namespace", Type::String),
            ("labels", labels()),
            ("annotations", labels()),
            ("UID", Type::String),
            ("creationTimestamp", Type::Timestamp),
            ("deletionGracePeriodSeconds", Type::Int),
            ("deletionTimestamp", Type::Timestamp),
            ("generation", Type::Int),
            ("resourceVersion", Type::String),
            ("finalizers", texts()),
        ],
    );
    let status = Type::object(
        "kubernetes.NamespaceStatus",
        [("conditions", Type::list(condition)), ("phase", Type::String)],
    );
    let spec = Type::object("kubernetes.NamespaceSpec", [("finalizers", texts())]);
    let parts = [("metadata", metadata), ("spec", spec), ("status", status)];
    Type::object("kubernetes.Namespace", parts)
});

/// Compiles an expression whose result has to be of a type.
///
/// # Errors
/// What is wrong, in upstream's words.
pub(super) fn compile(
    environment: &Environment,
    text: &str,
    returns: Returns,
) -> Result<Program, String> {
    let program = Program::compile(environment, text)
        .map_err(|error| format!("compilation failed: {error}"))?;
    let have = program.result_type();
    let list_of_patches = |have: &Type| matches!(have, Type::List(item) if matches!(&**item, Type::Object(item) if &*item.name == "JSONPatch"));
    let (fits, wanted) = match returns {
        Returns::Anything => (true, ""),
        Returns::Bool => (*have == Type::Bool, "bool"),
        Returns::Text => (*have == Type::String, "string"),
        Returns::TextOrNull => {
            (matches!(have, Type::String | Type::Null), "one of [string null_type]")
        }
        Returns::Patches => (list_of_patches(have), "list(JSONPatch)"),
        Returns::Object => {
            (matches!(have, Type::Object(object) if &*object.name == "Object"), "Object")
        }
    };
    if fits {
        return Ok(program);
    }
    Err(format!("must evaluate to {wanted} but got {}", name_of(have)))
}

/// The name of a type as messages about results have it.
fn name_of(ty: &Type) -> String {
    match ty {
        Type::Null => "null_type".to_owned(),
        Type::Timestamp => "google.protobuf.Timestamp".to_owned(),
        Type::Duration => "google.protobuf.Duration".to_owned(),
        Type::List(item) => format!("list({})", name_of(item)),
        Type::Map(both) => format!("map({}, {})", name_of(&both.0), name_of(&both.1)),
        other => other.to_string(),
    }
}

/// An expression of a stored policy, which may have stopped to compile since it was written.
#[derive(Clone, Debug)]
pub(super) struct Expression {
    text: String,
    program: Result<Program, String>,
}

impl Expression {
    pub(super) fn compile(environment: &Environment, text: &str, returns: Returns) -> Self {
        Self { text: text.to_owned(), program: compile(environment, text, returns) }
    }

    /// The source.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The value, or why there is none; an error when nothing further may be evaluated.
    pub(super) fn evaluate(
        &self,
        activation: &Activation<'_>,
        budget: &mut Budget,
    ) -> Result<Result<Value, String>, CostError> {
        let program = match &self.program {
            Ok(program) => program,
            Err(why) => return Ok(Err(format!("compilation error: {why}"))),
        };
        match program.evaluate(activation, budget) {
            Ok(value) => Ok(Ok(value)),
            Err(EvaluationError::Cost(CostError::Total)) => Err(CostError::Total),
            Err(error) => Ok(Err(format!("expression '{}' resulted in error: {error}", self.text))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str, returns: Returns) -> String {
        let extras = Extras { authorizer: true, variables: true, patches: true, params: false };
        compile(&with(extras), text, returns).err().unwrap_or_default()
    }

    #[test]
    fn results_are_of_the_type_that_is_wanted() {
        use Returns::*;
        let cases = [
            ("object.spec.replicas > 1", Bool, ""),
            ("request.userInfo.groups.exists(g, g == 'a')", Bool, ""),
            ("authorizer.requestResource.check('x').allowed()", Bool, ""),
            ("object.spec", Bool, "must evaluate to bool but got dyn"),
            ("1", Bool, "must evaluate to bool but got int"),
            ("'a'", Text, ""),
            ("null", TextOrNull, ""),
            ("[1]", TextOrNull, "must evaluate to one of [string null_type] but got list(int)"),
            (
                "now",
                Anything,
                "compilation failed: ERROR: <input>:1:1: undeclared reference to 'now' (in container '')\n | now\n | ^",
            ),
            ("[JSONPatch{op: 'remove', path: '/a'}]", Patches, ""),
            ("Object{spec: Object.spec{replicas: 1}}", Object, ""),
            ("Object.spec{}", Object, "must evaluate to Object but got Object.spec"),
        ];
        for (text, returns, expected) in cases {
            assert_eq!(fault(text, returns), expected, "{text}");
        }
    }
}
