//! From the typed ruleset to netlink messages.

use std::time::Duration;

use crate::netlink::MessageWriter;

use super::constants::*;
use super::expression::{
    DynamicOperation, Expression, FibResult, NatKind, PayloadBase, RejectWith,
};
use super::model::{
    BaseChain, Chain, ChainKind, Element, Family, Field, Policy, Rule, Set, SetData, TableId,
    Value, Verdict, fields_bytes,
};

/// Elements are sent in messages of about this size: an attribute's length has 16 bits.
const ELEMENT_MESSAGE_BYTES: usize = 32 * 1024;
/// Longest comment; its length field has one byte and counts the closing zero.
const COMMENT_BYTES_MAX: usize = 127;
/// `NF_NAT_RANGE_PROTO_RANDOM_FULLY`.
const NAT_RANDOM_PORT: u32 = 1 << 4;
const LOOKUP: &str = "lookup";
const ICMP_PORT_UNREACHABLE: u8 = 3;
const ICMPV6_PORT_UNREACHABLE: u8 = 4;
const ICMPX_PORT_UNREACHABLE: u8 = 1;

/// Writes the messages of a batch and numbers them.
#[derive(Debug)]
pub(super) struct Encoder {
    writer: MessageWriter,
    first_sequence: u32,
    messages: u32,
    anonymous_sets: u32,
}

impl Encoder {
    pub(super) fn new(first_sequence: u32) -> Self {
        Self { writer: MessageWriter::default(), first_sequence, messages: 0, anonymous_sets: 0 }
    }

    pub(super) fn messages(&self) -> u32 {
        self.messages
    }

    pub(super) fn finish(self) -> Option<Vec<u8>> {
        self.writer.finish()
    }

    pub(super) fn boundary(&mut self, kind: u16) {
        let sequence = self.next_sequence();
        self.writer.message(kind, NLM_F_REQUEST, sequence, |writer| {
            writer.raw(&[0, 0]);
            writer.raw(&NFNL_SUBSYS_NFTABLES.to_be_bytes());
        });
    }

    pub(super) fn add_table(&mut self, table: &TableId) {
        self.message(NFT_MSG_NEWTABLE, NLM_F_CREATE, table.family, |writer| {
            writer.put_text(NFTA_TABLE_NAME, &table.name);
            writer.put_be32(NFTA_TABLE_FLAGS, 0);
        });
    }

    pub(super) fn delete_table(&mut self, table: &TableId) {
        self.message(NFT_MSG_DELTABLE, 0, table.family, |writer| {
            writer.put_text(NFTA_TABLE_NAME, &table.name);
        });
    }

    pub(super) fn add_chain(&mut self, table: &TableId, chain: &Chain) {
        self.message(NFT_MSG_NEWCHAIN, NLM_F_CREATE, table.family, |writer| {
            writer.put_text(NFTA_CHAIN_TABLE, &table.name);
            writer.put_text(NFTA_CHAIN_NAME, &chain.name);
            if let Some(base) = chain.base {
                write_base_chain(writer, base);
            }
        });
    }

    pub(super) fn delete_chain(&mut self, table: &TableId, chain: &str) {
        self.message(NFT_MSG_DELCHAIN, 0, table.family, |writer| {
            writer.put_text(NFTA_CHAIN_TABLE, &table.name);
            writer.put_text(NFTA_CHAIN_NAME, chain);
        });
    }

    /// Deletes the rules of a chain.
    pub(super) fn flush_chain(&mut self, table: &TableId, chain: &str) {
        self.message(NFT_MSG_DELRULE, 0, table.family, |writer| {
            writer.put_text(NFTA_RULE_TABLE, &table.name);
            writer.put_text(NFTA_RULE_CHAIN, chain);
        });
    }

    pub(super) fn add_rule(&mut self, table: &TableId, chain: &str, rule: &Rule) {
        let first_set = self.anonymous_sets + 1;
        for set in rule.expressions.iter().filter_map(Expression::own_set) {
            self.anonymous_sets += 1;
            let (name, number) = (anonymous_name(set), Some(self.anonymous_sets));
            self.write_set(table, set, name, number);
            self.write_elements(NFT_MSG_NEWSETELEM, table, name, &set.elements, number);
        }
        self.message(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, table.family, |writer| {
            writer.put_text(NFTA_RULE_TABLE, &table.name);
            writer.put_text(NFTA_RULE_CHAIN, chain);
            writer.nest(NFTA_RULE_EXPRESSIONS, |writer| {
                let mut set_number = first_set;
                for expression in &rule.expressions {
                    write_expression(writer, table.family, expression, &mut set_number);
                }
            });
            if let Some(comment) = &rule.comment {
                write_comment(writer, comment);
            }
        });
    }

    pub(super) fn add_set(&mut self, table: &TableId, set: &Set) {
        self.write_set(table, set, &set.name, None);
        self.write_elements(NFT_MSG_NEWSETELEM, table, &set.name, &set.elements, None);
    }

    pub(super) fn delete_set(&mut self, table: &TableId, set: &str) {
        self.message(NFT_MSG_DELSET, 0, table.family, |writer| {
            writer.put_text(NFTA_SET_TABLE, &table.name);
            writer.put_text(NFTA_SET_NAME, set);
        });
    }

    pub(super) fn add_elements(&mut self, table: &TableId, set: &str, elements: &[Element]) {
        self.write_elements(NFT_MSG_NEWSETELEM, table, set, elements, None);
    }

    pub(super) fn delete_elements(&mut self, table: &TableId, set: &str, elements: &[Element]) {
        self.write_elements(NFT_MSG_DELSETELEM, table, set, elements, None);
    }

    fn write_set(&mut self, table: &TableId, set: &Set, name: &str, number: Option<u32>) {
        // The kernel wants a number for every set of a batch; named ones are never looked up by it.
        let number = number.unwrap_or(u32::MAX);
        self.message(NFT_MSG_NEWSET, NLM_F_CREATE, table.family, |writer| {
            writer.put_text(NFTA_SET_TABLE, &table.name);
            writer.put_text(NFTA_SET_NAME, name);
            writer.put_be32(NFTA_SET_ID, number);
            writer.put_be32(NFTA_SET_FLAGS, set_flags(set, number != u32::MAX));
            writer.put_be32(NFTA_SET_KEY_TYPE, type_number(&set.key));
            writer.put_be32(NFTA_SET_KEY_LEN, length(fields_bytes(&set.key)));
            match &set.data {
                SetData::None => {}
                SetData::Verdict => writer.put_be32(NFTA_SET_DATA_TYPE, NFT_DATA_VERDICT),
                SetData::Fields(fields) => {
                    writer.put_be32(NFTA_SET_DATA_TYPE, type_number(fields));
                    writer.put_be32(NFTA_SET_DATA_LEN, length(fields_bytes(fields)));
                }
            }
            if let Some(timeout) = set.dynamic_timeout {
                writer.put_be64(NFTA_SET_TIMEOUT, milliseconds(timeout));
            }
            if let Some(size) = set.size_max {
                writer.nest(NFTA_SET_DESC, |writer| writer.put_be32(NFTA_SET_DESC_SIZE, size));
            }
        });
    }

    fn write_elements(
        &mut self,
        kind: u16,
        table: &TableId,
        set: &str,
        mut elements: &[Element],
        number: Option<u32>,
    ) {
        let flags = if kind == NFT_MSG_NEWSETELEM { NLM_F_CREATE } else { 0 };
        while !elements.is_empty() {
            let mut written = 0;
            self.message(kind, flags, table.family, |writer| {
                writer.put_text(NFTA_SET_ELEM_LIST_TABLE, &table.name);
                writer.put_text(NFTA_SET_ELEM_LIST_SET, set);
                if let Some(number) = number {
                    writer.put_be32(NFTA_SET_ELEM_LIST_SET_ID, number);
                }
                let limit = writer.len() + ELEMENT_MESSAGE_BYTES;
                writer.nest(NFTA_SET_ELEM_LIST_ELEMENTS, |writer| {
                    for element in elements {
                        if writer.len() > limit {
                            break;
                        }
                        writer.nest(NFTA_LIST_ELEM, |writer| {
                            write_element(writer, element, kind == NFT_MSG_NEWSETELEM);
                        });
                        written += 1;
                    }
                });
            });
            elements = &elements[written..];
        }
    }

    fn message(
        &mut self,
        kind: u16,
        flags: u16,
        family: Family,
        body: impl FnOnce(&mut MessageWriter),
    ) {
        let sequence = self.next_sequence();
        let kind = NFNL_SUBSYS_NFTABLES << 8 | kind;
        self.writer.message(kind, NLM_F_REQUEST | flags, sequence, |writer| {
            writer.raw(&[family.number(), 0, 0, 0]);
            body(writer);
        });
    }

    fn next_sequence(&mut self) -> u32 {
        let sequence = self.first_sequence.wrapping_add(self.messages);
        self.messages += 1;
        sequence
    }
}

fn anonymous_name(set: &Set) -> &'static str {
    if set.data == SetData::None { "__set%d" } else { "__map%d" }
}

fn set_flags(set: &Set, anonymous: bool) -> u32 {
    let mut flags = 0;
    if anonymous {
        flags |= NFT_SET_ANONYMOUS | NFT_SET_CONSTANT;
    }
    if set.interval {
        flags |= NFT_SET_INTERVAL;
    }
    if set.data != SetData::None {
        flags |= NFT_SET_MAP;
    }
    if set.dynamic_timeout.is_some() {
        flags |= NFT_SET_TIMEOUT | NFT_SET_EVAL;
    }
    flags
}

fn type_number(fields: &[Field]) -> u32 {
    fields.iter().fold(0, |number, field| number << 6 | field.type_number())
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn write_base_chain(writer: &mut MessageWriter, base: BaseChain) {
    writer.nest(NFTA_CHAIN_HOOK, |writer| {
        writer.put_be32(NFTA_HOOK_HOOKNUM, base.hook.number());
        writer.put(NFTA_HOOK_PRIORITY, &base.priority.to_be_bytes());
    });
    writer.put_be32(NFTA_CHAIN_POLICY, u32::from(base.policy == Policy::Accept));
    let kind = match base.kind {
        ChainKind::Filter => "filter",
        ChainKind::Nat => "nat",
    };
    writer.put_text(NFTA_CHAIN_TYPE, kind);
}

fn write_comment(writer: &mut MessageWriter, comment: &str) {
    let mut end = comment.len().min(COMMENT_BYTES_MAX);
    while !comment.is_char_boundary(end) {
        end -= 1;
    }
    let mut userdata = vec![RULE_USERDATA_COMMENT, u8::try_from(end + 1).unwrap_or(u8::MAX)];
    userdata.extend_from_slice(&comment.as_bytes()[..end]);
    userdata.push(0);
    writer.put(NFTA_RULE_USERDATA, &userdata);
}

fn write_element(writer: &mut MessageWriter, element: &Element, with_value: bool) {
    writer.nest(NFTA_SET_ELEM_KEY, |writer| {
        writer.put(NFTA_DATA_VALUE, element.key.as_bytes());
    });
    if element.ends_interval {
        writer.put_be32(NFTA_SET_ELEM_FLAGS, NFT_SET_ELEM_INTERVAL_END);
    }
    match element.value.as_ref().filter(|_| with_value) {
        None => {}
        Some(Value::Data(data)) => writer.nest(NFTA_SET_ELEM_DATA, |writer| {
            writer.put(NFTA_DATA_VALUE, data.as_bytes());
        }),
        Some(Value::Verdict(verdict)) => {
            writer.nest(NFTA_SET_ELEM_DATA, |writer| write_verdict(writer, verdict));
        }
    }
}

fn write_verdict(writer: &mut MessageWriter, verdict: &Verdict) {
    let (code, chain): (i32, Option<&str>) = match verdict {
        Verdict::Drop => (0, None),
        Verdict::Accept => (1, None),
        Verdict::Return => (-5, None),
        Verdict::Jump(chain) => (-3, Some(chain)),
        Verdict::Goto(chain) => (-4, Some(chain)),
    };
    writer.nest(NFTA_DATA_VERDICT, |writer| {
        writer.put(NFTA_VERDICT_CODE, &code.to_be_bytes());
        if let Some(chain) = chain {
            writer.put_text(NFTA_VERDICT_CHAIN, chain);
        }
    });
}

fn write_expression(
    writer: &mut MessageWriter,
    family: Family,
    expression: &Expression,
    set_number: &mut u32,
) {
    writer.nest(NFTA_LIST_ELEM, |writer| {
        writer.put_text(NFTA_EXPR_NAME, kernel_name(expression));
        writer.nest(NFTA_EXPR_DATA, |writer| {
            write_expression_data(writer, family, expression, set_number);
        });
    });
}

fn kernel_name(expression: &Expression) -> &'static str {
    match expression {
        Expression::Meta { .. } | Expression::SetMark { .. } => "meta",
        Expression::Payload { .. } => "payload",
        Expression::Conntrack { .. } => "ct",
        Expression::Fib { .. } => "fib",
        Expression::Random { .. } => "numgen",
        Expression::Bitwise { .. } => "bitwise",
        Expression::Constant { .. } | Expression::Verdict(_) => "immediate",
        Expression::Equal { .. } | Expression::NotEqual { .. } => "cmp",
        Expression::InSet { .. }
        | Expression::NotInSet { .. }
        | Expression::InOwnSet { .. }
        | Expression::NotInOwnSet { .. }
        | Expression::Map { .. }
        | Expression::OwnMap { .. }
        | Expression::VerdictMap { .. }
        | Expression::OwnVerdictMap { .. } => LOOKUP,
        Expression::Dynamic { .. } => "dynset",
        Expression::Nat { .. } => "nat",
        Expression::Masquerade => "masq",
        Expression::Reject(_) => "reject",
        Expression::Counter => "counter",
    }
}

/// The attributes inside each expression are numbered by that expression; the kernel's name stands at each.
fn write_expression_data(
    writer: &mut MessageWriter,
    family: Family,
    expression: &Expression,
    set_number: &mut u32,
) {
    match expression {
        Expression::Counter => {}
        Expression::SetMark { from } => {
            writer.put_be32(2, super::expression::MetaKey::Mark.number()); // NFTA_META_KEY
            writer.put_be32(3, from.number()); // NFTA_META_SREG
        }
        Expression::Verdict(verdict) => {
            writer.put_be32(1, NFT_REG_VERDICT); // NFTA_IMMEDIATE_DREG
            writer.nest(2, |writer| write_verdict(writer, verdict)); // NFTA_IMMEDIATE_DATA
        }
        Expression::Bitwise { register, mask, xor } => {
            writer.put_be32(1, register.number()); // NFTA_BITWISE_SREG
            writer.put_be32(2, register.number()); // NFTA_BITWISE_DREG
            writer.put_be32(3, length(mask.len())); // NFTA_BITWISE_LEN
            writer.nest(4, |writer| writer.put(NFTA_DATA_VALUE, mask)); // NFTA_BITWISE_MASK
            writer.nest(5, |writer| writer.put(NFTA_DATA_VALUE, xor)); // NFTA_BITWISE_XOR
        }
        Expression::Equal { register, value } => write_comparison(writer, 0, *register, value),
        Expression::NotEqual { register, value } => write_comparison(writer, 1, *register, value),
        Expression::Reject(with) => write_reject(writer, family, *with),
        Expression::Masquerade => writer.put_be32(1, NAT_RANDOM_PORT), // NFTA_MASQ_FLAGS
        Expression::Nat { kind, address, port } => {
            writer.put_be32(1, u32::from(*kind == NatKind::Destination)); // NFTA_NAT_TYPE
            writer.put_be32(2, u32::from(family.number())); // NFTA_NAT_FAMILY
            writer.put_be32(3, address.number()); // NFTA_NAT_REG_ADDR_MIN
            if let Some(port) = port {
                writer.put_be32(5, port.number()); // NFTA_NAT_REG_PROTO_MIN
            }
        }
        Expression::Dynamic { operation, set, key, data, timeout } => {
            let operation = match operation {
                DynamicOperation::Update => 1,
                DynamicOperation::Delete => 2,
            };
            writer.put_text(1, set); // NFTA_DYNSET_SET_NAME
            writer.put_be32(3, operation); // NFTA_DYNSET_OP
            writer.put_be32(4, key.number()); // NFTA_DYNSET_SREG_KEY
            if let Some(data) = data {
                writer.put_be32(5, data.number()); // NFTA_DYNSET_SREG_DATA
            }
            if let Some(timeout) = timeout {
                writer.put_be64(6, milliseconds(*timeout)); // NFTA_DYNSET_TIMEOUT
            }
        }
        lookup if kernel_name(lookup) == LOOKUP => write_lookup(writer, lookup, set_number),
        load => write_load(writer, load),
    }
}

/// Expressions that put something into a register.
fn write_load(writer: &mut MessageWriter, expression: &Expression) {
    match expression {
        Expression::Meta { key, into } => {
            writer.put_be32(1, into.number()); // NFTA_META_DREG
            writer.put_be32(2, key.number()); // NFTA_META_KEY
        }
        Expression::Payload { base, offset, bytes, into } => {
            let base = match base {
                PayloadBase::Network => 1,
                PayloadBase::Transport => 2,
            };
            writer.put_be32(1, into.number()); // NFTA_PAYLOAD_DREG
            writer.put_be32(2, base); // NFTA_PAYLOAD_BASE
            writer.put_be32(3, *offset); // NFTA_PAYLOAD_OFFSET
            writer.put_be32(4, *bytes); // NFTA_PAYLOAD_LEN
        }
        Expression::Conntrack { key, into } => {
            writer.put_be32(1, into.number()); // NFTA_CT_DREG
            writer.put_be32(2, key.number()); // NFTA_CT_KEY
        }
        Expression::Fib { result, into } => {
            let flags = match result {
                FibResult::SourceType => 1,
                FibResult::DestinationType => 2,
            };
            writer.put_be32(1, into.number()); // NFTA_FIB_DREG
            writer.put_be32(2, 3); // NFTA_FIB_RESULT: address type
            writer.put_be32(3, flags); // NFTA_FIB_FLAGS
        }
        Expression::Random { modulus, into } => {
            writer.put_be32(1, into.number()); // NFTA_NG_DREG
            writer.put_be32(2, *modulus); // NFTA_NG_MODULUS
            writer.put_be32(3, 1); // NFTA_NG_TYPE: random
            writer.put_be32(4, 0); // NFTA_NG_OFFSET
        }
        Expression::Constant { value, into } => {
            writer.put_be32(1, into.number()); // NFTA_IMMEDIATE_DREG
            writer.nest(2, |writer| writer.put(NFTA_DATA_VALUE, value)); // NFTA_IMMEDIATE_DATA
        }
        _ => {}
    }
}

fn write_comparison(
    writer: &mut MessageWriter,
    operation: u32,
    register: super::expression::Register,
    value: &[u8],
) {
    writer.put_be32(1, register.number()); // NFTA_CMP_SREG
    writer.put_be32(2, operation); // NFTA_CMP_OP
    writer.nest(3, |writer| writer.put(NFTA_DATA_VALUE, value)); // NFTA_CMP_DATA
}

fn write_reject(writer: &mut MessageWriter, family: Family, with: RejectWith) {
    let (kind, code) = match (with, family) {
        (RejectWith::TcpReset, _) => (1, None),
        (RejectWith::PortUnreachable, Family::Ipv4) => (0, Some(ICMP_PORT_UNREACHABLE)),
        (RejectWith::PortUnreachable, Family::Ipv6) => (0, Some(ICMPV6_PORT_UNREACHABLE)),
        (RejectWith::PortUnreachable, Family::Inet) => (2, Some(ICMPX_PORT_UNREACHABLE)),
    };
    writer.put_be32(1, kind); // NFTA_REJECT_TYPE
    if let Some(code) = code {
        writer.put_u8(2, code); // NFTA_REJECT_ICMP_CODE
    }
}

fn write_lookup(writer: &mut MessageWriter, expression: &Expression, set_number: &mut u32) {
    let (name, register) = match expression {
        Expression::InSet { set, register } | Expression::NotInSet { set, register } => {
            (set.as_str(), register)
        }
        Expression::Map { map, register, .. } | Expression::VerdictMap { map, register } => {
            (map.as_str(), register)
        }
        Expression::InOwnSet { set, register }
        | Expression::NotInOwnSet { set, register }
        | Expression::OwnMap { map: set, register, .. }
        | Expression::OwnVerdictMap { map: set, register } => (anonymous_name(set), register),
        _ => return,
    };
    writer.put_text(1, name); // NFTA_LOOKUP_SET
    writer.put_be32(2, register.number()); // NFTA_LOOKUP_SREG
    match expression {
        Expression::Map { into, .. } | Expression::OwnMap { into, .. } => {
            writer.put_be32(3, into.number()); // NFTA_LOOKUP_DREG
        }
        Expression::VerdictMap { .. } | Expression::OwnVerdictMap { .. } => {
            writer.put_be32(3, NFT_REG_VERDICT);
        }
        Expression::NotInSet { .. } | Expression::NotInOwnSet { .. } => {
            writer.put_be32(5, 1); // NFTA_LOOKUP_FLAGS: inverted
        }
        _ => {}
    }
    if expression.own_set().is_some() {
        writer.put_be32(4, *set_number); // NFTA_LOOKUP_SET_ID
        *set_number += 1;
    }
}
