//! What an expression may refer to.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::program::Program;
use crate::shape::Shape;
use crate::types::{ObjectType, Type};

/// The name of the object whose fields are the composed variables.
pub(crate) const VARIABLES: &str = "variables";

/// The variables that an expression may use, with their types. All functions are there always.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    pub(crate) variables: BTreeMap<Arc<str>, Arc<Shape>>,
    pub(crate) composed: BTreeMap<Arc<str>, Type>,
    pub(crate) constructors: bool,
}

impl Environment {
    /// An environment without variables.
    pub fn new() -> Self {
        Self::default()
    }

    /// Declares a variable. A name may have dots (`authorizer.requestResource`).
    #[must_use]
    pub fn with(mut self, name: &str, shape: impl Into<Shape>) -> Self {
        self.variables.insert(name.into(), Arc::new(shape.into()));
        self
    }

    /// Declares a variable of which nothing is known before it has a value.
    #[must_use]
    pub fn with_dynamic(self, name: &str) -> Self {
        self.with(name, Type::Dyn)
    }

    /// Declares `authorizer`, and with `resource` also `authorizer.requestResource`.
    #[must_use]
    pub fn with_authorizer(self, resource: bool) -> Self {
        let this = self.with("authorizer", Type::Opaque(crate::authorizer::AUTHORIZER));
        if !resource {
            return this;
        }
        this.with("authorizer.requestResource", Type::Opaque(crate::authorizer::RESOURCE_CHECK))
    }

    /// Declares `variables`, without fields as yet.
    #[must_use]
    pub fn with_variables(mut self) -> Self {
        self.compose();
        self
    }

    /// Declares `variables.name` for the expressions that are compiled from now on.
    pub fn add_variable(&mut self, name: &str, program: &Program) {
        self.composed.insert(name.into(), program.result_type().clone());
        self.compose();
    }

    fn compose(&mut self) {
        let object = ObjectType {
            name: "kubernetes.variables".into(),
            fields: self.composed.clone(),
            open: false,
        };
        let shape = Shape::from(Type::Object(Arc::new(object)));
        self.variables.insert(VARIABLES.into(), Arc::new(shape));
    }

    /// Allows objects of the types `Object`, `Object.spec...` and `JSONPatch` to be made.
    #[must_use]
    pub fn with_constructors(mut self) -> Self {
        self.constructors = true;
        self
    }

    /// The shape of a declared variable.
    pub(crate) fn variable(&self, name: &str) -> Option<&Arc<Shape>> {
        self.variables.get(name)
    }
}
