//! Changes in the cluster that may let a waiting pod be placed.

use k8s_openapi::api::{
    core::v1::{Node, PersistentVolume, PersistentVolumeClaim},
    storage::v1::{CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment},
};

use crate::{labels, pod::PodInfo};

/// Before and after; an absent side means that the object was created or deleted.
#[derive(Debug)]
pub struct Change<'a, K: ?Sized> {
    /// As it was.
    pub old: Option<&'a K>,
    /// As it is.
    pub new: Option<&'a K>,
}

impl<K: ?Sized> Clone for Change<'_, K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K: ?Sized> Copy for Change<'_, K> {}

impl<'a, K: ?Sized> Change<'a, K> {
    /// Whether the object is new.
    pub fn is_added(&self) -> bool {
        self.old.is_none() && self.new.is_some()
    }

    /// The object when it is gone.
    pub fn deleted(&self) -> Option<&'a K> {
        if self.new.is_none() { self.old } else { None }
    }

    /// Whether what `part` picks is not what it was; true for a new object.
    pub fn differs<P: PartialEq>(&self, part: impl Fn(&'a K) -> P) -> bool {
        match (self.old, self.new) {
            (Some(old), Some(new)) => part(old) != part(new),
            (None, Some(_)) => true,
            _ => false,
        }
    }
}

/// A change that queueing hints judge.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A node.
    Node(Change<'a, Node>),
    /// A pod that is on a node, or was assumed to be.
    AssignedPod(Change<'a, PodInfo>),
    /// A pod that waits for a node; also the very pod that the hint is asked about.
    WaitingPod(Change<'a, PodInfo>),
    /// A PersistentVolumeClaim.
    Claim(Change<'a, PersistentVolumeClaim>),
    /// A PersistentVolume.
    Volume(Change<'a, PersistentVolume>),
    /// A StorageClass.
    Class(Change<'a, StorageClass>),
    /// A CSINode.
    CsiNode(Change<'a, CSINode>),
    /// A CSIDriver.
    CsiDriver(Change<'a, CSIDriver>),
    /// A CSIStorageCapacity.
    Capacity(Change<'a, CSIStorageCapacity>),
    /// A VolumeAttachment.
    Attachment(Change<'a, VolumeAttachment>),
}

impl<'a> Event<'a> {
    /// The node of a node that is there, whose labels are not what they were.
    pub(crate) fn node_labels_changed(&self) -> Option<&'a Node> {
        match self {
            Event::Node(change) if change.differs(|node| labels::of(&node.metadata)) => change.new,
            _ => None,
        }
    }

    /// Whether the pod that the hint is asked about was itself changed.
    pub(crate) fn changes_itself(&self, pod: &PodInfo) -> bool {
        matches!(self, Event::WaitingPod(change)
            if change.new.is_some_and(|new| new.uid == pod.uid) && change.old.is_some())
    }
}
