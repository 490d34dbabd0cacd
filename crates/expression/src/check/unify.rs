//! Type variables: what they stand for, and whether one type may be used where another is wanted.

use std::sync::Arc;

use crate::functions::signatures::Overload;
use crate::types::Type;

/// What the type variables of one expression stand for.
#[derive(Clone, Debug, Default)]
pub(super) struct Bindings {
    bound: Vec<Option<Type>>,
    /// What was bound, in order, so that an attempt that fails can be undone.
    trail: Vec<usize>,
}

impl Bindings {
    /// A new variable.
    pub(super) fn fresh(&mut self) -> Type {
        self.bound.push(None);
        Type::Parameter(self.bound.len() - 1)
    }

    /// The parameters and the result of an overload, with new variables for its own.
    pub(super) fn instantiate(&mut self, overload: &Overload) -> (Vec<Type>, Type) {
        /// A signature has at most the variables A and B.
        const PARAMETERS: usize = 2;
        let fresh: Vec<Type> = (0..PARAMETERS).map(|_| self.fresh()).collect();
        let parameters = overload.arguments.iter().map(|ty| replace(ty, &fresh)).collect();
        (parameters, replace(&overload.result, &fresh))
    }

    /// A type with its variables replaced by what they stand for; with `last` the free ones are dynamic.
    pub(super) fn resolve(&self, ty: &Type, last: bool) -> Type {
        match ty {
            Type::Parameter(index) => match self.bound.get(*index).and_then(Option::as_ref) {
                Some(bound) => self.resolve(bound, last),
                None if last => Type::Dyn,
                None => ty.clone(),
            },
            Type::List(element) => Type::list(self.resolve(element, last)),
            Type::Map(both) => Type::map(self.resolve(&both.0, last), self.resolve(&both.1, last)),
            Type::Optional(inner) => Type::optional(self.resolve(inner, last)),
            Type::Type(inner) => Type::Type(Arc::new(self.resolve(inner, last))),
            other => other.clone(),
        }
    }

    /// Whether `from` may be used as `to`; binds variables if so, and changes nothing if not.
    pub(super) fn assignable(&mut self, from: &Type, to: &Type) -> bool {
        let mark = self.trail.len();
        let fits = self.unify(from, to);
        if !fits {
            self.undo(mark);
        }
        fits
    }

    fn undo(&mut self, mark: usize) {
        for index in self.trail.drain(mark..) {
            self.bound[index] = None;
        }
    }

    /// [`Self::assignable`] for a list of arguments, all or nothing.
    pub(super) fn all_assignable(&mut self, from: &[Type], to: &[Type]) -> bool {
        if from.len() != to.len() {
            return false;
        }
        let mark = self.trail.len();
        let fits = from.iter().zip(to).all(|(from, to)| self.unify(from, to));
        if !fits {
            self.undo(mark);
        }
        fits
    }

    /// Of two types that fit each other the one that says less.
    pub(super) fn more_general(&self, a: Type, b: Type) -> Type {
        let (resolved_a, resolved_b) = (self.resolve(&a, false), self.resolve(&b, false));
        if less_specific(&resolved_a, &resolved_b) { a } else { b }
    }

    fn unify(&mut self, from: &Type, to: &Type) -> bool {
        let (from, to) = (self.resolve(from, false), self.resolve(to, false));
        match (&from, &to) {
            (a, b) if a == b => true,
            (_, Type::Parameter(index)) => self.bind(*index, &from),
            (Type::Parameter(index), _) => self.bind(*index, &to),
            (a, b) if a.is_dyn() || b.is_dyn() => true,
            (Type::Null, to) => nullable(to),
            (from, Type::Null) => nullable(from),
            (Type::List(a), Type::List(b)) | (Type::Optional(a), Type::Optional(b)) => {
                self.unify(a, b)
            }
            // Types compare with each other, whatever they are the types of.
            (Type::Type(_), Type::Type(_)) => true,
            (Type::Map(a), Type::Map(b)) => self.unify(&a.0, &b.0) && self.unify(&a.1, &b.1),
            (Type::Object(a), Type::Object(b)) => a.name == b.name,
            _ => false,
        }
    }

    fn bind(&mut self, index: usize, ty: &Type) -> bool {
        if self.occurs(index, ty) {
            return false;
        }
        self.bound[index] = Some(if matches!(ty, Type::Error) { Type::Dyn } else { ty.clone() });
        self.trail.push(index);
        true
    }

    fn occurs(&self, index: usize, ty: &Type) -> bool {
        match ty {
            Type::Parameter(own) => *own == index,
            Type::List(inner) | Type::Optional(inner) | Type::Type(inner) => {
                self.occurs(index, inner)
            }
            Type::Map(both) => self.occurs(index, &both.0) || self.occurs(index, &both.1),
            _ => false,
        }
    }
}

/// Types that `null` is a value of.
fn nullable(ty: &Type) -> bool {
    matches!(
        ty,
        Type::Object(_) | Type::Opaque(_) | Type::Optional(_) | Type::Timestamp | Type::Duration
    )
}

fn less_specific(a: &Type, b: &Type) -> bool {
    match (a, b) {
        (Type::Dyn, _) => true,
        (_, Type::Dyn) => false,
        (Type::List(a), Type::List(b)) | (Type::Optional(a), Type::Optional(b)) => {
            less_specific(a, b)
        }
        (Type::Map(a), Type::Map(b)) => less_specific(&a.0, &b.0) && less_specific(&a.1, &b.1),
        (Type::Null, _) => false,
        _ => true,
    }
}

fn replace(ty: &Type, fresh: &[Type]) -> Type {
    match ty {
        Type::Parameter(index) => fresh.get(*index).cloned().unwrap_or(Type::Dyn),
        Type::List(element) => Type::list(replace(element, fresh)),
        Type::Map(both) => Type::map(replace(&both.0, fresh), replace(&both.1, fresh)),
        Type::Optional(inner) => Type::optional(replace(inner, fresh)),
        Type::Type(inner) => Type::Type(Arc::new(replace(inner, fresh))),
        other => other.clone(),
    }
}
