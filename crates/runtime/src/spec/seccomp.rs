//! Seccomp: from profiles to filters that the kernel takes.
//!
//! A filter of seccompiler has one action for what matches and one for what does not; a profile may have
//! many. It becomes several filters, of which the kernel obeys the strictest, and among equals the latest.
//! Not here: installing them (the shim's executor does, as late as possible).

use std::collections::BTreeMap;

use linux::process::SeccompProgram;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};
use serde::Deserialize;

mod default;
mod names;

pub(crate) use default::default_profile;

/// A profile that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SeccompError {
    /// Not a profile.
    #[error("cannot parse the seccomp profile")]
    Json(#[from] serde_json::Error),
    /// An action or operator that is not supported.
    #[error("seccomp profile: {0} is not supported")]
    Unsupported(String),
    /// This kind of machine has no filters.
    #[error("seccomp filters cannot be made for {0}")]
    Architecture(&'static str),
    /// A filter that the compiler refuses.
    #[error("cannot compile the seccomp profile")]
    Compile(#[from] seccompiler::BackendError),
    /// A filter that the kernel would refuse.
    #[error("the seccomp profile is too long")]
    TooLong,
}

/// What happens to a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Action {
    KillProcess,
    KillThread,
    Trap,
    Errno(u32),
    Log,
    Allow,
}

impl Action {
    /// Whether the kernel prefers this action over the other when two filters differ.
    fn is_stricter_than(self, other: Self) -> bool {
        let rank = |action| match action {
            Self::KillProcess => 0,
            Self::KillThread => 1,
            Self::Trap => 2,
            Self::Errno(_) => 3,
            Self::Log => 4,
            Self::Allow => 5,
        };
        rank(self) < rank(other)
    }

    fn compiled(self) -> SeccompAction {
        match self {
            Self::KillProcess => SeccompAction::KillProcess,
            Self::KillThread => SeccompAction::KillThread,
            Self::Trap => SeccompAction::Trap,
            Self::Errno(number) => SeccompAction::Errno(number),
            Self::Log => SeccompAction::Log,
            Self::Allow => SeccompAction::Allow,
        }
    }
}

/// A condition on an argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Condition {
    pub(crate) argument: u8,
    pub(crate) operator: SeccompCmpOp,
    pub(crate) value: u64,
}

/// What happens to some calls when all conditions hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) names: Vec<String>,
    pub(crate) action: Action,
    pub(crate) conditions: Vec<Condition>,
}

/// A whole profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Profile {
    pub(crate) default: Action,
    pub(crate) rules: Vec<Rule>,
}

impl Profile {
    /// Parses a profile in the form that Kubernetes and docker use.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, SeccompError> {
        let file: File = serde_json::from_slice(text)?;
        let default_errno = file.default_errno_ret;
        let default = action(&file.default_action, default_errno)?;
        let rules = file.syscalls.into_iter().map(|rule| {
            let conditions = rule.args.iter().map(condition).collect::<Result<_, _>>()?;
            let names = rule.names.into_iter().chain(rule.name).collect();
            Ok(Rule { names, action: action(&rule.action, rule.errno_ret)?, conditions })
        });
        Ok(Self { default, rules: rules.collect::<Result<_, SeccompError>>()? })
    }

    /// The filters, in the order in which they have to be installed.
    pub(crate) fn compile(&self) -> Result<Vec<SeccompProgram>, SeccompError> {
        let mut programs = Vec::new();
        if self.default != Action::Allow {
            let freer = self.rules.iter().filter(|rule| self.default.is_stricter_than(rule.action));
            programs.push(program(freer, Action::Allow, self.default)?);
        }
        let mut actions: Vec<Action> = self.rules.iter().map(|rule| rule.action).collect();
        actions.sort();
        actions.dedup();
        for action in actions {
            if action != Action::Allow && action != self.default {
                let rules = self.rules.iter().filter(|rule| rule.action == action);
                programs.push(program(rules, action, Action::Allow)?);
            }
        }
        Ok(programs)
    }
}

fn program<'a>(
    rules: impl Iterator<Item = &'a Rule>,
    on_match: Action,
    otherwise: Action,
) -> Result<SeccompProgram, SeccompError> {
    let mut map: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    let mut always: Vec<i64> = Vec::new();
    for rule in rules {
        let numbers = rule.names.iter().filter_map(|name| names::number(name));
        for number in numbers {
            let chain = map.entry(number).or_default();
            if rule.conditions.is_empty() {
                always.push(number);
            } else {
                chain.push(SeccompRule::new(compile_conditions(&rule.conditions)?)?);
            }
        }
    }
    // An empty chain matches always.
    for number in always {
        map.insert(number, Vec::new());
    }
    let filter =
        SeccompFilter::new(map, otherwise.compiled(), on_match.compiled(), architecture()?)?;
    let compiled: BpfProgram = filter.try_into()?;
    let instructions = compiled.iter().map(|i| (i.code, i.jt, i.jf, i.k));
    SeccompProgram::from_instructions(instructions).ok_or(SeccompError::TooLong)
}

fn compile_conditions(conditions: &[Condition]) -> Result<Vec<SeccompCondition>, SeccompError> {
    let compiled = conditions.iter().map(|condition| {
        let length = SeccompCmpArgLen::Qword;
        let operator = condition.operator.clone();
        SeccompCondition::new(condition.argument, length, operator, condition.value)
    });
    Ok(compiled.collect::<Result<_, _>>()?)
}

fn architecture() -> Result<TargetArch, SeccompError> {
    let name = std::env::consts::ARCH;
    name.try_into().map_err(|_| SeccompError::Architecture(name))
}

/// The file's form.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    default_action: String,
    default_errno_ret: Option<u32>,
    #[serde(default)]
    syscalls: Vec<FileRule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FileRule {
    #[serde(default)]
    names: Vec<String>,
    name: Option<String>,
    action: String,
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Vec<FileArgument>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FileArgument {
    index: u8,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

fn action(name: &str, errno: Option<u32>) -> Result<Action, SeccompError> {
    const EPERM: u32 = 1;
    Ok(match name {
        "SCMP_ACT_ALLOW" => Action::Allow,
        "SCMP_ACT_ERRNO" => Action::Errno(errno.unwrap_or(EPERM)),
        "SCMP_ACT_LOG" => Action::Log,
        "SCMP_ACT_TRAP" => Action::Trap,
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Action::KillThread,
        "SCMP_ACT_KILL_PROCESS" => Action::KillProcess,
        other => return Err(SeccompError::Unsupported(other.to_owned())),
    })
}

fn condition(argument: &FileArgument) -> Result<Condition, SeccompError> {
    let (operator, value) = match argument.op.as_str() {
        "SCMP_CMP_EQ" => (SeccompCmpOp::Eq, argument.value),
        "SCMP_CMP_NE" => (SeccompCmpOp::Ne, argument.value),
        "SCMP_CMP_GT" => (SeccompCmpOp::Gt, argument.value),
        "SCMP_CMP_GE" => (SeccompCmpOp::Ge, argument.value),
        "SCMP_CMP_LT" => (SeccompCmpOp::Lt, argument.value),
        "SCMP_CMP_LE" => (SeccompCmpOp::Le, argument.value),
        "SCMP_CMP_MASKED_EQ" => (SeccompCmpOp::MaskedEq(argument.value), argument.value_two),
        other => return Err(SeccompError::Unsupported(other.to_owned())),
    };
    Ok(Condition { argument: argument.index, operator, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_profile_compiles_for_every_set_of_capabilities() {
        for capabilities in [0, 0xa804_25fb, u64::MAX] {
            let programs = default_profile(capabilities).compile().unwrap();
            assert!(!programs.is_empty());
        }
    }

    #[test]
    fn every_name_of_the_default_profile_is_known() {
        for rule in default_profile(u64::MAX).rules {
            for name in rule.names {
                assert!(names::number(&name).is_some() || names::is_foreign(&name), "{name}");
            }
        }
    }

    #[test]
    fn a_profile_of_a_user_is_read() {
        let text = br#"{
            "defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [
                {"names": ["read", "no_such_call"], "action": "SCMP_ACT_ALLOW"},
                {"names": ["clone"], "action": "SCMP_ACT_ALLOW",
                 "args": [{"index": 0, "value": 2114060288, "op": "SCMP_CMP_MASKED_EQ"}]},
                {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
                {"names": ["mkdir"], "action": "SCMP_ACT_LOG"}
            ]}"#;
        let profile = Profile::parse(text).unwrap();
        assert_eq!(profile.default, Action::Errno(1));
        assert_eq!(profile.rules[1].conditions[0].value, 0);
        assert_eq!(profile.rules[2].action, Action::Errno(38));
        // What is freer than the default, then one filter each for ENOSYS and the log.
        assert_eq!(profile.compile().unwrap().len(), 3);
        let allow = Profile { default: Action::Allow, rules: Vec::new() };
        assert_eq!(allow.compile().unwrap().len(), 0);
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        let text = br#"{"defaultAction": "SCMP_ACT_NOTIFY"}"#;
        assert!(matches!(Profile::parse(text), Err(SeccompError::Unsupported(_))));
        assert!(matches!(Profile::parse(b"{"), Err(SeccompError::Json(_))));
    }
}
