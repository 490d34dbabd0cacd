//! The device controller of version 2: a small BPF program that the kernel asks whether a process of the
//! group may touch a device. Version 1 has files for that.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use nix::libc;

/// Kinds of device nodes, as the kernel's program context numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    /// Block devices.
    Block = 1,
    /// Character devices.
    Character = 2,
}

/// What is allowed with some devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceRule {
    /// Kind.
    pub kind: DeviceKind,
    /// Major number; `None`: all.
    pub major: Option<u32>,
    /// Minor number; `None`: all.
    pub minor: Option<u32>,
    /// Sum of [`MAKE`], [`READ`] and [`WRITE`].
    pub access: u32,
}

/// Making nodes.
pub const MAKE: u32 = 1;
/// Reading.
pub const READ: u32 = 2;
/// Writing.
pub const WRITE: u32 = 4;

impl DeviceRule {
    /// What every container may do: make any node, and use those that hold nothing of the host.
    pub fn usual() -> Vec<Self> {
        let any = |kind| Self { kind, major: None, minor: None, access: MAKE };
        let character = |major, minor| Self {
            kind: DeviceKind::Character,
            major: Some(major),
            minor,
            access: MAKE | READ | WRITE,
        };
        let mut rules = vec![any(DeviceKind::Block), any(DeviceKind::Character)];
        // null, zero, full, random, urandom; tty, console, ptmx; terminals.
        rules.extend([3, 5, 7, 8, 9].map(|minor| character(1, Some(minor))));
        rules.extend([0, 1, 2].map(|minor| character(5, Some(minor))));
        rules.push(character(136, None));
        rules
    }
}

/// One instruction of extended BPF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
struct Instruction {
    code: u8,
    /// Destination in the low half, source in the high one.
    registers: u8,
    offset: i16,
    immediate: i32,
}

const fn instruction(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction { code, registers: to | (from << 4), offset, immediate }
}

const LOAD_WORD: u8 = 0x61;
const MOVE_32: u8 = 0xbc;
const MOVE_IMMEDIATE: u8 = 0xb7;
const AND_IMMEDIATE_32: u8 = 0x54;
const SHIFT_RIGHT_32: u8 = 0x74;
const JUMP_IF_NOT_EQUAL: u8 = 0x55;
const JUMP_IF_REGISTERS_DIFFER: u8 = 0x5d;
const EXIT: u8 = 0x95;
/// Registers: the context comes in 1, the answer goes in 0.
const ANSWER: u8 = 0;
const SCRATCH: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

/// The program: allow what a rule allows, refuse everything else.
fn program(rules: &[DeviceRule]) -> Vec<Instruction> {
    let mut program = vec![
        instruction(LOAD_WORD, KIND, SCRATCH, 0, 0),
        instruction(MOVE_32, ACCESS, KIND, 0, 0),
        instruction(AND_IMMEDIATE_32, KIND, 0, 0, 0xffff),
        instruction(SHIFT_RIGHT_32, ACCESS, 0, 0, 16),
        instruction(LOAD_WORD, MAJOR, SCRATCH, 4, 0),
        instruction(LOAD_WORD, MINOR, SCRATCH, 8, 0),
    ];
    for rule in rules {
        program.extend(block(rule));
    }
    program.push(instruction(MOVE_IMMEDIATE, ANSWER, 0, 0, 0));
    program.push(instruction(EXIT, 0, 0, 0, 0));
    program
}

/// The part of one rule; each check that fails jumps behind it.
fn block(rule: &DeviceRule) -> Vec<Instruction> {
    let number = |number: u32| i32::from_ne_bytes(number.to_ne_bytes());
    let mut checks = vec![instruction(JUMP_IF_NOT_EQUAL, KIND, 0, 0, rule.kind as i32)];
    // Nothing may be asked for beyond what is allowed.
    checks.push(instruction(MOVE_32, SCRATCH, ACCESS, 0, 0));
    checks.push(instruction(AND_IMMEDIATE_32, SCRATCH, 0, 0, number(rule.access)));
    checks.push(instruction(JUMP_IF_REGISTERS_DIFFER, SCRATCH, ACCESS, 0, 0));
    for (register, wanted) in [(MAJOR, rule.major), (MINOR, rule.minor)] {
        if let Some(wanted) = wanted {
            checks.push(instruction(JUMP_IF_NOT_EQUAL, register, 0, 0, number(wanted)));
        }
    }
    checks.push(instruction(MOVE_IMMEDIATE, ANSWER, 0, 0, 1));
    checks.push(instruction(EXIT, 0, 0, 0, 0));
    let length = checks.len();
    for (index, check) in checks.iter_mut().enumerate() {
        if matches!(check.code, JUMP_IF_NOT_EQUAL | JUMP_IF_REGISTERS_DIFFER) {
            check.offset = i16::try_from(length - index - 1).unwrap_or(i16::MAX);
        }
    }
    checks
}

/// The arguments of `BPF_PROG_LOAD`, as far as they are used.
#[derive(Default)]
#[repr(C)]
struct Load {
    kind: u32,
    instructions: u32,
    program: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
}

/// The arguments of `BPF_PROG_ATTACH`, as far as they are used.
#[repr(C)]
struct Attach {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const KIND_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
const ALLOW_MULTI: u32 = 2;

/// Puts the group at `directory` under `rules`, until it is removed.
pub fn confine(directory: &Path, rules: &[DeviceRule]) -> io::Result<()> {
    let group = File::open(directory)?;
    let program = load(&program(rules))?;
    let number = |descriptor: i32| u32::try_from(descriptor).map_err(io::Error::other);
    let attach = Attach {
        target: number(group.as_raw_fd())?,
        program: number(program.as_raw_fd())?,
        kind: ATTACH_CGROUP_DEVICE,
        flags: ALLOW_MULTI,
    };
    bpf(PROG_ATTACH, &attach).map(|_| ())
}

#[expect(unsafe_code, reason = "the kernel answers a descriptor")]
fn load(program: &[Instruction]) -> io::Result<OwnedFd> {
    const LICENSE: &std::ffi::CStr = c"Apache-2.0";
    let load = Load {
        kind: KIND_CGROUP_DEVICE,
        instructions: u32::try_from(program.len()).map_err(io::Error::other)?,
        program: program.as_ptr() as u64,
        license: LICENSE.as_ptr() as u64,
        ..Load::default()
    };
    let descriptor = bpf(PROG_LOAD, &load)?;
    // SAFETY: the kernel has just made the descriptor, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

#[expect(unsafe_code, reason = "bpf has no safe wrapper")]
fn bpf<T>(command: libc::c_int, arguments: &T) -> io::Result<i32> {
    // SAFETY: `arguments` is one of the two structures above, whose layout is the kernel's, and what it
    // points to lives until the call returns. The kernel takes fewer fields than it knows as zero.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(arguments), size_of::<T>())
    };
    let result = nix::errno::Errno::result(result)?;
    i32::try_from(result).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_checks_jump_to_the_next_rule() {
        let rule = DeviceRule {
            kind: DeviceKind::Character,
            major: Some(1),
            minor: None,
            access: READ | WRITE,
        };
        let block = block(&rule);
        for (index, check) in block.iter().enumerate() {
            if check.offset != 0 {
                assert_eq!(index + 1 + usize::try_from(check.offset).unwrap(), block.len());
            }
        }
        assert_eq!(block.iter().filter(|check| check.offset != 0).count(), 3);
        assert_eq!(program(&[rule, rule]).len(), 6 + 2 * block.len() + 2);
        assert_eq!(size_of::<Instruction>(), 8);
    }
}
