//! What a process may do from now on: capabilities and a seccomp filter.

use std::io;

use rustix::thread::{CapabilitySet, CapabilitySets};

/// Capability sets, as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Privileges {
    /// The most that any program started from here can have.
    pub bounding: u64,
    /// Permitted and effective.
    pub permitted: u64,
    /// Inheritable.
    pub inheritable: u64,
    /// Kept by programs that have no capabilities of their own.
    pub ambient: u64,
}

/// The highest capability that any kernel has so far, plus one.
const CAPABILITIES_MAX: u32 = 63;

/// Gives everything up except `keep`; capabilities that the process does not have are not gained.
pub fn drop_privileges(keep: &Privileges) -> io::Result<()> {
    let have = rustix::thread::capabilities(None)?;
    for capability in 0..CAPABILITIES_MAX {
        if keep.bounding & (1 << capability) != 0 {
            continue;
        }
        match drop_from_bounding(capability) {
            // The kernel knows fewer capabilities.
            Err(error) if error.raw_os_error() == Some(nix::libc::EINVAL) => break,
            result => result?,
        }
    }
    let permitted = CapabilitySet::from_bits_retain(keep.permitted) & have.permitted;
    rustix::thread::set_capabilities(
        None,
        CapabilitySets {
            effective: permitted,
            permitted,
            inheritable: CapabilitySet::from_bits_retain(keep.inheritable) & have.permitted,
        },
    )?;
    raise_ambient(keep.ambient & permitted.bits())
}

#[expect(unsafe_code, reason = "prctl")]
fn drop_from_bounding(capability: u32) -> io::Result<()> {
    // SAFETY: the call takes numbers only.
    let result = unsafe { nix::libc::prctl(nix::libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
    nix::errno::Errno::result(result)?;
    Ok(())
}

#[expect(unsafe_code, reason = "prctl")]
fn raise_ambient(capabilities: u64) -> io::Result<()> {
    use nix::libc::{PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, PR_CAP_AMBIENT_RAISE};
    // SAFETY: the calls take numbers only.
    unsafe {
        let cleared = nix::libc::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
        nix::errno::Errno::result(cleared)?;
        for capability in (0..u64::from(CAPABILITIES_MAX)).filter(|c| capabilities & (1 << c) != 0)
        {
            let raised = nix::libc::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0);
            nix::errno::Errno::result(raised)?;
        }
    }
    Ok(())
}

/// A compiled seccomp filter: instructions of classic BPF, eight bytes each in the machine's order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeccompProgram(Vec<u8>);

/// The size of one instruction.
const INSTRUCTION_BYTES: usize = size_of::<nix::libc::sock_filter>();
/// The kernel takes no longer programs.
const INSTRUCTIONS_MAX: usize = 4096;

impl SeccompProgram {
    /// A program from its bytes.
    pub fn from_bytes(bytes: Vec<u8>) -> Option<Self> {
        let count = bytes.len() / INSTRUCTION_BYTES;
        let good = bytes.len().is_multiple_of(INSTRUCTION_BYTES)
            && (1..=INSTRUCTIONS_MAX).contains(&count);
        good.then_some(Self(bytes))
    }

    /// A program from its instructions: code, jump if true, jump if false, operand.
    pub fn from_instructions(
        instructions: impl IntoIterator<Item = (u16, u8, u8, u32)>,
    ) -> Option<Self> {
        let mut bytes = Vec::new();
        for (code, jump_true, jump_false, operand) in instructions {
            bytes.extend_from_slice(&code.to_ne_bytes());
            bytes.extend_from_slice(&[jump_true, jump_false]);
            bytes.extend_from_slice(&operand.to_ne_bytes());
        }
        Self::from_bytes(bytes)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn instructions(&self) -> Vec<nix::libc::sock_filter> {
        let parse = |bytes: &[u8]| nix::libc::sock_filter {
            code: u16::from_ne_bytes([bytes[0], bytes[1]]),
            jt: bytes[2],
            jf: bytes[3],
            k: u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
        };
        self.0.chunks_exact(INSTRUCTION_BYTES).map(parse).collect()
    }
}

/// Puts the thread and what it becomes under the filter, for good. Needs `CAP_SYS_ADMIN` or
/// `no_new_privs`.
#[expect(unsafe_code, reason = "seccomp has no safe wrapper")]
pub fn install_seccomp(program: &SeccompProgram) -> io::Result<()> {
    let mut instructions = program.instructions();
    let length = u16::try_from(instructions.len()).map_err(io::Error::other)?;
    let filter = nix::libc::sock_fprog { len: length, filter: instructions.as_mut_ptr() };
    // SAFETY: `filter` points at `length` instructions that live until the call returns.
    let result = unsafe {
        nix::libc::syscall(
            nix::libc::SYS_seccomp,
            nix::libc::SECCOMP_SET_MODE_FILTER,
            0,
            &raw const filter,
        )
    };
    nix::errno::Errno::result(result)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_keeps_its_instructions() {
        let program = SeccompProgram::from_instructions([(6, 1, 2, 0x7fff_0000)]).unwrap();
        let instructions = program.instructions();
        assert_eq!(instructions.len(), 1);
        assert_eq!((instructions[0].code, instructions[0].k), (6, 0x7fff_0000));
        assert_eq!(SeccompProgram::from_bytes(program.as_bytes().to_vec()), Some(program));
        assert_eq!(SeccompProgram::from_bytes(vec![0; 7]), None);
        assert_eq!(SeccompProgram::from_bytes(Vec::new()), None);
    }
}
