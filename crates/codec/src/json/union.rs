//! Fields of a definition's schema that hold a schema or something else: a list of them, a flag, names.
//!
//! Their Go types decode themselves. They do so without strictness, and their errors name fields from there on.

use schema::Schema;

use super::scanner::Start;

/// Before the names of the types.
const PACKAGE: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.";
/// What a flag says of a value that is neither.
pub(super) const NO_FLAG: &str = "boolean or JSON schema expected";

/// What such a field may hold instead of a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Union {
    /// A list of schemas.
    Schemas,
    /// True or false.
    Flag,
    /// A list of names.
    Names,
}

impl Union {
    /// That of a field's type.
    pub(super) fn of(schema: &Schema) -> Option<Self> {
        match schema.definition_name()?.strip_prefix(PACKAGE)? {
            "JSONSchemaPropsOrArray" => Some(Self::Schemas),
            "JSONSchemaPropsOrBool" => Some(Self::Flag),
            "JSONSchemaPropsOrStringArray" => Some(Self::Names),
            _ => None,
        }
    }

    /// By what a value is decoded that starts so; none where it can be no such value.
    pub(super) fn schema(self, start: Start) -> Option<Schema> {
        let whole = schema::builtin(&format!("{PACKAGE}JSONSchemaProps"))?;
        match (self, start) {
            (_, Start::Object) => Some(whole),
            // Fields of the same types.
            (Self::Schemas, Start::Array) => whole.property("allOf"),
            (Self::Names, Start::Array) => whole.property("required"),
            (_, Start::Array | Start::Literal) => None,
        }
    }
}
