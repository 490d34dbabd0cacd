//! MutatingAdmissionPolicies: they change the object before it is judged.

use admission::Request;
use api::status::{Cause, Status};
use expression::Budget;
use schema::Schema;
use serde_json::Value;

use super::compiled::{Mutating, Mutation};
use super::conditions::Verdict;
use super::inputs::Inputs;
use super::invocations::{Invocation, Step, invocations, namespace_object};
use super::validating::subject_name;
use super::{apply_configuration, json_patches};
use crate::admit::Rounds;
use crate::call::Call;
use crate::patching::check_against_schema;
use crate::server::Server;
use crate::webhook::has_own_kind;

/// What went wrong with a policy.
struct Fault {
    message: String,
    /// Whether the policy could be run at all.
    was_run: bool,
}

impl Fault {
    fn new(policy: &str, binding: Option<&str>, why: &str, was_run: bool) -> Self {
        let message = match binding {
            Some(binding) => {
                format!("policy '{policy}' with binding '{binding}' denied request: {why}")
            }
            None => format!("policy {policy:?} denied request: {why}"),
        };
        Self { message, was_run }
    }
}

/// The refusal that the faults of all policies come to.
fn refusal(request: &Request<'_>, faults: &[Fault]) -> Result<(), Status> {
    let Some(first) = faults.first() else { return Ok(()) };
    let resource = request.resource;
    let mut status =
        Status::forbidden(&resource.group, &resource.plural, subject_name(request), "");
    status.message.clone_from(&first.message);
    if first.was_run {
        status.reason = "Invalid";
    }
    let cause =
        |fault: &Fault| Cause { reason: "", message: fault.message.clone(), field: String::new() };
    status.details.causes = faults.iter().map(cause).collect();
    Err(status)
}

impl Server {
    /// Lets every MutatingAdmissionPolicy that is bound to the request change the object.
    pub(crate) async fn apply_policies(
        &self,
        call: &Call,
        request: &mut Request<'_>,
        rounds: &mut Rounds,
    ) -> Result<(), Status> {
        let steps = invocations::<Mutating>(self, call, request).await?;
        if steps.is_empty() {
            return Ok(());
        }
        if rounds.is_second {
            rounds.policies.begin_again(&request.object);
        }
        let namespace = namespace_object(self, call, request)?;
        let mut faults = Vec::new();
        for step in &steps {
            let Step::Refuse(misfit) = step else { continue };
            if !misfit.policy.policy.ignores_failures() {
                let binding = misfit.binding.as_ref().map(|binding| &*binding.name);
                let policy = &misfit.policy.policy.name;
                faults.push(Fault::new(policy, binding, &misfit.message, false));
            }
        }
        for step in &steps {
            let Step::Run(invocation) = step else { continue };
            let failures = self.run_policy(call, request, rounds, invocation, &namespace).await?;
            let policy = &invocation.policy.policy;
            if policy.ignores_failures() {
                continue;
            }
            let binding = &*invocation.binding.name;
            let fault = |why: String| Fault::new(&policy.name, Some(binding), &why, true);
            faults.extend(failures.into_iter().map(fault));
        }
        rounds.policies.end(&request.object);
        refusal(request, &faults)
    }

    /// Runs one policy with one parameter; what failed in it.
    async fn run_policy(
        &self,
        call: &Call,
        request: &mut Request<'_>,
        rounds: &mut Rounds,
        invocation: &Invocation<Mutating>,
        namespace: &Value,
    ) -> Result<Vec<String>, Status> {
        let whole = &*invocation.policy;
        let inputs = Inputs::new(self, call, request, &invocation.row).await?;
        let activation = inputs.activation(invocation.params.as_ref(), &Value::Null);
        match whole.policy.conditions.decide(&activation) {
            Verdict::Matches => {}
            Verdict::Differs => return Ok(Vec::new()),
            Verdict::Failed(why) => return Ok(vec![why]),
        }
        let key = key_of(invocation);
        if rounds.is_second && !rounds.policies.is_due(&key) {
            return Ok(Vec::new());
        }
        let before = request.object.clone();
        let mut failures = Vec::new();
        for mutation in &whole.mutations {
            if request.object.is_null() {
                break;
            }
            match self.mutate_object(call, request, invocation, mutation, namespace).await? {
                Ok(object) => request.object = object,
                Err(why) => failures.push(why),
            }
        }
        if request.object != before {
            rounds.policies.note_change();
            rounds.again = true;
        }
        if whole.again {
            rounds.policies.note_call(key);
        }
        Ok(failures)
    }

    /// The object as one mutation leaves it.
    async fn mutate_object(
        &self,
        call: &Call,
        request: &Request<'_>,
        invocation: &Invocation<Mutating>,
        mutation: &Mutation,
        namespace: &Value,
    ) -> Result<Result<Value, String>, Status> {
        let row = &invocation.row;
        let inputs = Inputs::new(self, call, request, row).await?;
        let mut activation = inputs.activation(invocation.params.as_ref(), namespace);
        invocation.policy.policy.add_variables(&mut activation);
        let shown = self.shown(call, &request.object, &call.resource, row).await?;
        let mut budget = Budget::default();
        let (Mutation::Patch(expression) | Mutation::Apply(expression)) = mutation;
        let result = match expression.evaluate(&activation, &mut budget) {
            Ok(Ok(result)) => result,
            Ok(Err(why)) => return Ok(Err(why)),
            Err(cost) => return Ok(Err(cost.to_string())),
        };
        drop(activation);
        let changed = match mutation {
            Mutation::Patch(_) => json_patches::patch_of(&result)
                .and_then(|patch| json_patches::apply(&shown, &patch)),
            Mutation::Apply(_) => {
                apply_configuration::apply(&shown, &result, &self.schema_of(call, row))
            }
        };
        let changed = match changed {
            Ok(changed) => changed,
            Err(why) => return Ok(Err(why)),
        };
        // The object goes through the decoder again, as any body does.
        let object = self.shown(call, &changed, row, &call.resource).await?;
        let schema = self.schema_of(call, &call.resource);
        let mut object =
            check_against_schema(call, &object, &schema, "Strict").map_err(Status::internal)?;
        if !has_own_kind(call) {
            call.resource.strategy.default(&mut object);
        }
        Ok(Ok(object))
    }

    /// The schema of the request's objects in a row's version.
    fn schema_of(&self, call: &Call, row: &crate::webhook::Row) -> Schema {
        let sub = call.resource.subresource(call.subresource());
        match sub.filter(|sub| !sub.kind.is_empty()) {
            Some(sub) => {
                let version = if sub.version.is_empty() { &*row.version } else { sub.version };
                schema::for_kind(sub.group, version, sub.kind).unwrap_or_else(Schema::any)
            }
            None => self.registry.table().schema(row),
        }
    }
}

fn key_of(invocation: &Invocation<Mutating>) -> [String; 4] {
    let params = invocation.params.as_ref().unwrap_or(&Value::Null);
    [
        invocation.policy.policy.name.clone(),
        invocation.binding.name.clone(),
        api::meta::namespace(params).to_owned(),
        api::meta::name(params).to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_name_policy_and_binding() {
        let cases = [
            (Some("b"), "policy 'p' with binding 'b' denied request: w"),
            (None, "policy \"p\" denied request: w"),
        ];
        for (binding, expected) in cases {
            assert_eq!(Fault::new("p", binding, "w", true).message, expected);
        }
    }
}
