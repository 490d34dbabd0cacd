//! A list of operations that the kernel carries out as one, and the socket that hands it over.

use std::fmt;

use crate::netlink::{NetlinkError, Protocol, Socket};

use super::constants::{NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END};
use super::encode::Encoder;
use super::expression::Expression;
use super::model::{Chain, Element, Rule, Set, TableId};

/// The largest batch; ten thousand services take about a tenth of it.
const BATCH_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Refusals that an error tells of.
const REFUSALS_MAX: usize = 5;

/// One change of the ruleset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Makes a table; one that is there stays as it is.
    AddTable,
    /// Deletes a table that is there, with all it holds.
    DeleteTable,
    /// Makes a chain; one that is there stays as it is.
    AddChain(Chain),
    /// Deletes the rules of a chain.
    FlushChain(String),
    /// Deletes a chain that nothing refers to.
    DeleteChain(String),
    /// Appends a rule to a chain.
    AddRule(String, Rule),
    /// Makes a set with its elements.
    AddSet(Set),
    /// Deletes a set that nothing refers to.
    DeleteSet(String),
    /// Adds elements to a set.
    AddElements(String, Vec<Element>),
    /// Deletes elements from a set.
    DeleteElements(String, Vec<Element>),
}

/// Operations in order, carried out all or none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    operations: Vec<(TableId, Operation)>,
}

impl Batch {
    /// Nothing to do.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends an operation on `table`.
    pub fn push(&mut self, table: &TableId, operation: Operation) {
        self.operations.push((table.clone(), operation));
    }

    /// Makes `table` anew, empty, whether it is there or not.
    pub fn replace_table(&mut self, table: &TableId) {
        // Deleting a table that is not there is refused, so it is made first.
        self.push(table, Operation::AddTable);
        self.push(table, Operation::DeleteTable);
        self.push(table, Operation::AddTable);
    }

    /// Removes `table`, whether it is there or not.
    pub fn remove_table(&mut self, table: &TableId) {
        self.push(table, Operation::AddTable);
        self.push(table, Operation::DeleteTable);
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// How many operations there are.
    pub fn len(&self) -> usize {
        self.operations.len()
    }

    /// The operations, in order.
    pub fn operations(&self) -> impl Iterator<Item = &(TableId, Operation)> {
        self.operations.iter()
    }

    /// The messages, and for each message the operation that it belongs to.
    fn encode(&self, first_sequence: u32) -> Option<(Vec<u8>, Vec<usize>)> {
        let mut encoder = Encoder::new(first_sequence);
        let mut owners = vec![0];
        encoder.boundary(NFNL_MSG_BATCH_BEGIN);
        for (index, (table, operation)) in self.operations.iter().enumerate() {
            encode_operation(&mut encoder, table, operation);
            owners.resize(encoder.messages() as usize, index);
        }
        encoder.boundary(NFNL_MSG_BATCH_END);
        encoder.finish().map(|bytes| (bytes, owners))
    }

    /// An upper bound for the number of messages.
    fn messages_max(&self) -> u32 {
        let of = |operation: &Operation| match operation {
            Operation::AddRule(_, rule) => 1 + rule.expressions.len() * 2 + own_elements(rule),
            Operation::AddSet(set) => 2 + set.elements.len(),
            Operation::AddElements(_, elements) | Operation::DeleteElements(_, elements) => {
                1 + elements.len()
            }
            _ => 1,
        };
        let messages: usize = self.operations.iter().map(|(_, operation)| of(operation)).sum();
        u32::try_from(messages + 2).unwrap_or(u32::MAX / 2)
    }
}

fn own_elements(rule: &Rule) -> usize {
    rule.expressions.iter().filter_map(Expression::own_set).map(|set| set.elements.len()).sum()
}

fn encode_operation(encoder: &mut Encoder, table: &TableId, operation: &Operation) {
    match operation {
        Operation::AddTable => encoder.add_table(table),
        Operation::DeleteTable => encoder.delete_table(table),
        Operation::AddChain(chain) => encoder.add_chain(table, chain),
        Operation::FlushChain(chain) => encoder.flush_chain(table, chain),
        Operation::DeleteChain(chain) => encoder.delete_chain(table, chain),
        Operation::AddRule(chain, rule) => encoder.add_rule(table, chain, rule),
        Operation::AddSet(set) => encoder.add_set(table, set),
        Operation::DeleteSet(set) => encoder.delete_set(table, set),
        Operation::AddElements(set, elements) => encoder.add_elements(table, set, elements),
        Operation::DeleteElements(set, elements) => encoder.delete_elements(table, set, elements),
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddTable => write!(formatter, "add table"),
            Self::DeleteTable => write!(formatter, "delete table"),
            Self::AddChain(chain) => write!(formatter, "add chain {}", chain.name),
            Self::FlushChain(chain) => write!(formatter, "flush chain {chain}"),
            Self::DeleteChain(chain) => write!(formatter, "delete chain {chain}"),
            Self::AddRule(chain, rule) => {
                let comment = rule.comment.as_deref().unwrap_or("without a comment");
                write!(formatter, "add rule to chain {chain} ({comment})")
            }
            Self::AddSet(set) => write!(formatter, "add set {}", set.name),
            Self::DeleteSet(set) => write!(formatter, "delete set {set}"),
            Self::AddElements(set, elements) => {
                write!(formatter, "add {} elements to set {set}", elements.len())
            }
            Self::DeleteElements(set, elements) => {
                write!(formatter, "delete {} elements from set {set}", elements.len())
            }
        }
    }
}

/// A batch was not carried out; nothing of it was.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The kernel refused at least one operation.
    #[error("cannot {}", refused.join("; "))]
    Refused {
        /// What was refused, each with its table; the first few.
        refused: Vec<String>,
        /// Why the first was.
        #[source]
        source: NetlinkError,
    },
    /// The batch is larger than a message to the kernel may be.
    #[error("a ruleset change of {bytes} bytes is over the limit of {BATCH_BYTES_MAX}")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// It could not be handed over.
    #[error("cannot hand a ruleset change to the kernel")]
    Exchange(#[from] NetlinkError),
}

/// A connection to nf_tables of one network namespace.
#[derive(Debug)]
pub struct Nftables {
    pub(super) socket: Socket,
    port: u32,
}

impl Nftables {
    /// Speaks to the network namespace of the calling thread.
    pub fn open() -> Result<Self, NetlinkError> {
        Self::with_socket(Socket::open(Protocol::Netfilter)?)
    }

    /// Speaks to the network namespace that `namespace` is open on.
    pub fn open_in(namespace: std::os::fd::BorrowedFd<'_>) -> Result<Self, NetlinkError> {
        Self::with_socket(Socket::open_in(Protocol::Netfilter, namespace)?)
    }

    fn with_socket(socket: Socket) -> Result<Self, NetlinkError> {
        socket.set_buffers(BATCH_BYTES_MAX)?;
        let port = socket.port()?;
        Ok(Self { socket, port })
    }

    /// The number by which a [`super::Monitor`] tells this connection's changes from others'.
    pub fn port(&self) -> u32 {
        self.port
    }

    /// Carries out all operations of `batch`, or none.
    pub fn commit(&mut self, batch: &Batch) -> Result<(), CommitError> {
        if batch.is_empty() {
            return Ok(());
        }
        let first = self.socket.reserve_sequence(batch.messages_max());
        let (bytes, owners) = batch.encode(first).ok_or(NetlinkError::TooLong)?;
        if bytes.len() > BATCH_BYTES_MAX {
            return Err(CommitError::TooLarge { bytes: bytes.len() });
        }
        self.socket.send(&bytes)?;
        let (mut refused, mut cause) = (Vec::new(), None);
        for answer in self.socket.acknowledgements()? {
            let Err(error) = answer.outcome else { continue };
            let message = answer.sequence.wrapping_sub(first) as usize;
            let owner = owners.get(message).and_then(|owner| batch.operations.get(*owner));
            cause = cause.or(Some(error));
            if let Some((table, operation)) = owner.filter(|_| refused.len() < REFUSALS_MAX) {
                refused.push(format!("{operation} in table {table}"));
            }
        }
        match cause {
            None => Ok(()),
            Some(source) => Err(CommitError::Refused { refused, source }),
        }
    }
}
