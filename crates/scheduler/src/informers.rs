//! The caches that the scheduler reads, wired to its inbox.

use std::sync::{Arc, Weak};

use client::{Client, Informer};
use k8s_openapi::api::{
    apps::v1::{ReplicaSet, StatefulSet},
    core::v1::{
        Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, ReplicationController,
        Service,
    },
    policy::v1::PodDisruptionBudget,
    storage::v1::{CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment},
};

use crate::inbox::{Changed, Inbox, Watched};

/// One cache per watched kind.
#[derive(Clone, Debug)]
pub(crate) struct Informers {
    pub(crate) pods: Informer<Pod>,
    pub(crate) nodes: Informer<Node>,
    pub(crate) claims: Informer<PersistentVolumeClaim>,
    pub(crate) volumes: Informer<PersistentVolume>,
    pub(crate) classes: Informer<StorageClass>,
    pub(crate) csi_nodes: Informer<CSINode>,
    pub(crate) csi_drivers: Informer<CSIDriver>,
    pub(crate) capacities: Informer<CSIStorageCapacity>,
    pub(crate) attachments: Informer<VolumeAttachment>,
    pub(crate) namespaces: Informer<Namespace>,
    pub(crate) services: Informer<Service>,
    pub(crate) replica_sets: Informer<ReplicaSet>,
    pub(crate) stateful_sets: Informer<StatefulSet>,
    pub(crate) replication_controllers: Informer<ReplicationController>,
    pub(crate) budgets: Informer<PodDisruptionBudget>,
}

impl Informers {
    /// Starts or joins the caches.
    pub(crate) fn start(client: &Client, inbox: &Arc<Inbox>) -> Self {
        Self {
            pods: wire(client, inbox, Watched::Pod),
            nodes: wire(client, inbox, Watched::Node),
            claims: wire(client, inbox, Watched::Claim),
            volumes: wire(client, inbox, Watched::Volume),
            classes: wire(client, inbox, Watched::Class),
            csi_nodes: wire(client, inbox, Watched::CsiNode),
            csi_drivers: wire(client, inbox, Watched::CsiDriver),
            capacities: wire(client, inbox, Watched::Capacity),
            attachments: wire(client, inbox, Watched::Attachment),
            namespaces: wire(client, inbox, Watched::Namespace),
            services: wire(client, inbox, Watched::Service),
            replica_sets: wire(client, inbox, Watched::ReplicaSet),
            stateful_sets: wire(client, inbox, Watched::StatefulSet),
            replication_controllers: wire(client, inbox, Watched::ReplicationController),
            budgets: wire(client, inbox, Watched::Budget),
        }
    }

    /// Resolves when every cache has its first list.
    pub(crate) async fn synced(&self) {
        futures::join!(
            self.pods.synced(),
            self.nodes.synced(),
            self.claims.synced(),
            self.volumes.synced(),
            self.classes.synced(),
            self.csi_nodes.synced(),
            self.csi_drivers.synced(),
            self.capacities.synced(),
            self.attachments.synced(),
            self.namespaces.synced(),
            self.services.synced(),
            self.replica_sets.synced(),
            self.stateful_sets.synced(),
            self.replication_controllers.synced(),
            self.budgets.synced(),
        );
    }

    /// The kinds whose first list has not arrived.
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        let all = [
            ("pods", self.pods.is_synced()),
            ("nodes", self.nodes.is_synced()),
            ("persistentvolumeclaims", self.claims.is_synced()),
            ("persistentvolumes", self.volumes.is_synced()),
            ("storageclasses", self.classes.is_synced()),
            ("csinodes", self.csi_nodes.is_synced()),
            ("csidrivers", self.csi_drivers.is_synced()),
            ("csistoragecapacities", self.capacities.is_synced()),
            ("volumeattachments", self.attachments.is_synced()),
            ("namespaces", self.namespaces.is_synced()),
            ("services", self.services.is_synced()),
            ("replicasets", self.replica_sets.is_synced()),
            ("statefulsets", self.stateful_sets.is_synced()),
            ("replicationcontrollers", self.replication_controllers.is_synced()),
            ("poddisruptionbudgets", self.budgets.is_synced()),
        ];
        all.into_iter().filter(|(_, synced)| !synced).map(|(name, _)| name).collect()
    }
}

/// Handlers outlive a scheduler that is started again, so they hold the inbox weakly.
fn wire<K: client::informer::Kind>(
    client: &Client,
    inbox: &Arc<Inbox>,
    kind: Watched,
) -> Informer<K> {
    let informer = client.informer::<K>();
    let inbox: Weak<Inbox> = Arc::downgrade(inbox);
    informer.on_change(move |change| {
        let Some(inbox) = inbox.upgrade() else { return };
        let metadata = change.object().meta();
        let text = |text: &Option<String>| Box::from(text.as_deref().unwrap_or_default());
        inbox.add(Changed {
            kind,
            namespace: text(&metadata.namespace),
            name: text(&metadata.name),
        });
    });
    informer
}
