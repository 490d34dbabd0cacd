//! Follows the FlowSchemas and PriorityLevelConfigurations: takes them over, keeps those that every cluster has, and
//! notes in each FlowSchema whether its level is there.

use std::sync::Arc;

use api::meta;
use api::object::Object;
use api::status::Status;
use futures::StreamExt as _;
use k8s_openapi::api::flowcontrol::v1::{FlowSchema, PriorityLevelConfiguration};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::bootstrap;
use crate::cache::Cache;
use crate::call::WriteOptions;
use crate::limits::{FAIRNESS_PERIOD, STORE_RETRY_PAUSE};
use crate::server::Server;
use crate::write::Part;

const GROUP: &str = "flowcontrol.apiserver.k8s.io";
const SCHEMAS: &str = "flowschemas";
const LEVELS: &str = "prioritylevelconfigurations";
/// The owner of the conditions and of the bootstrap objects, upstream's names.
const STATUS_MANAGER: &str = "api-priority-and-fairness-config-consumer-v1";
const OBJECT_MANAGER: &str = "api-priority-and-fairness-config-producer-v1";
const WRITES_AT_ONCE: usize = 8;

impl Server {
    /// Follows the objects for as long as the server runs.
    pub(crate) fn start_fairness(self: &Arc<Self>) {
        self.configure_fairness();
        let server = Arc::clone(self);
        self.scope.spawn_until_cancelled("priority and fairness", async move {
            server.follow_fairness().await;
        });
        let server = Arc::clone(self);
        self.scope.spawn_until_cancelled("bootstrap of priority and fairness", async move {
            loop {
                server.keep_fairness_objects().await;
                server.clock.sleep(FAIRNESS_PERIOD).await;
            }
        });
    }

    async fn follow_fairness(self: &Arc<Self>) {
        let [schemas, levels] = self.fairness_places();
        let (mut schemas, mut levels) = (schemas.subscribe(), levels.subscribe());
        loop {
            schemas.borrow_and_update();
            levels.borrow_and_update();
            self.configure_fairness();
            let changed = async {
                tokio::select! {
                    changed = schemas.changed() => changed,
                    changed = levels.changed() => changed,
                }
            };
            let healthy = self.keep_mandatory().await & self.note_dangling().await;
            if healthy {
                if changed.await.is_err() {
                    return;
                }
                continue;
            }
            tokio::select! {
                _ = changed => {}
                () = self.clock.sleep(STORE_RETRY_PAUSE) => {}
            }
        }
    }

    fn fairness_places(&self) -> [Arc<Cache>; 2] {
        [self.caches.place(GROUP, SCHEMAS), self.caches.place(GROUP, LEVELS)]
    }

    fn configure_fairness(&self) {
        let [schemas, levels] = self.fairness_places();
        self.fairness.configure(
            &typed::<FlowSchema>(&schemas.list("", |_| true)),
            &typed::<PriorityLevelConfiguration>(&levels.list("", |_| true)),
        );
    }

    /// Puts back at once what the server cannot do without; whether that succeeded.
    async fn keep_mandatory(&self) -> bool {
        let mut healthy = true;
        for (plural, object) in bootstrap::objects() {
            if bootstrap::MANDATORY.contains(&meta::name(&object)) {
                healthy &= self.keep_fairness_object(plural, &object).await;
            }
        }
        healthy
    }

    async fn keep_fairness_objects(&self) {
        let work = futures::stream::iter(bootstrap::objects());
        work.for_each_concurrent(WRITES_AT_ONCE, |(plural, object)| async move {
            self.keep_fairness_object(plural, &object).await;
        })
        .await;
        for (place, plural) in self.fairness_places().iter().zip([SCHEMAS, LEVELS]) {
            for object in place.list("", |_| true) {
                if bootstrap::is_left_over(&object.to_value()) {
                    self.drop_left_over(plural, &object.name).await;
                }
            }
        }
    }

    async fn keep_fairness_object(&self, plural: &str, wanted: &Value) -> bool {
        let name = meta::name(wanted);
        let result = self.try_keep(plural, wanted).await;
        let healthy = result.is_ok();
        if let Err(status) = result {
            tracing::warn!(plural, name, %status, "an object of priority and fairness is not kept");
        }
        healthy
    }

    async fn try_keep(&self, plural: &str, wanted: &Value) -> Result<(), Status> {
        let name = meta::name(wanted);
        let Some(present) = self.caches.place(GROUP, plural).get("", name) else {
            return self.ensure(plural, wanted.clone()).await;
        };
        if bootstrap::revised(&present.to_value(), wanted).is_none() {
            return Ok(());
        }
        let call = self.own_call(GROUP, "v1", plural, "", name)?;
        let options =
            WriteOptions { manager: OBJECT_MANAGER.to_owned(), ..WriteOptions::default() };
        let change = |present: &Value| {
            Ok(bootstrap::revised(present, wanted).unwrap_or_else(|| present.clone()))
        };
        match self.update(&call, Part::Main, &options, change).await {
            // Deleted in the meantime: the next round makes it anew.
            Err(status) if status.code != 404 => Err(status),
            _ => Ok(()),
        }
    }

    async fn drop_left_over(&self, plural: &str, name: &str) {
        let dropped = match self.own_call(GROUP, "v1", plural, "", name) {
            Ok(call) => self.delete(&call, &crate::delete::DeleteOptions::default()).await,
            Err(status) => Err(status),
        };
        if let Err(status) = dropped
            && status.code != 404
        {
            tracing::warn!(plural, name, %status, "an object of an older release is not removed");
        }
    }

    /// Brings the condition of every FlowSchema up to date; whether that succeeded.
    async fn note_dangling(&self) -> bool {
        let [schemas, levels] = self.fairness_places();
        let mut healthy = true;
        for schema in schemas.list("", |_| true) {
            let schema = schema.to_value();
            let level = level_of(&schema);
            // What is mandatory is there even when somebody has just deleted it.
            let exists = levels.get("", level).is_some() || bootstrap::MANDATORY.contains(&level);
            if with_condition(&schema, exists, "").is_none() {
                continue;
            }
            if let Err(status) = self.note_one(&schema, exists).await {
                let name = meta::name(&schema);
                tracing::warn!(name, %status, "a FlowSchema's status is not kept");
                healthy = false;
            }
        }
        healthy
    }

    async fn note_one(&self, schema: &Value, exists: bool) -> Result<(), Status> {
        let mut call = self.own_call(GROUP, "v1", SCHEMAS, "", meta::name(schema))?;
        "status".clone_into(&mut call.info.subresource);
        let options =
            WriteOptions { manager: STATUS_MANAGER.to_owned(), ..WriteOptions::default() };
        let now = crate::metadata::seconds(self.clock.now());
        let level = level_of(schema);
        let change = |present: &Value| {
            // Of another level by now: the change that made it so brings us back.
            let same = level_of(present) == level;
            let new = same.then(|| with_condition(present, exists, &now)).flatten();
            Ok(new.unwrap_or_else(|| present.clone()))
        };
        match self.update(&call, Part::Status, &options, change).await {
            Err(status) if status.code != 404 => Err(status),
            _ => Ok(()),
        }
    }
}

fn typed<K: DeserializeOwned + Send + Sync + 'static>(objects: &[Arc<Object>]) -> Vec<Arc<K>> {
    let read = |object: &Arc<Object>| {
        object
            .typed::<K>()
            .inspect_err(
                |error| tracing::error!(?object, %error, "a stored object is not readable"),
            )
            .ok()
    };
    objects.iter().filter_map(read).collect()
}

fn level_of(schema: &Value) -> &str {
    crate::handle::text(schema, "/spec/priorityLevelConfiguration/name")
}

/// A FlowSchema whose condition says whether its level exists, unless it says so already.
fn with_condition(schema: &Value, exists: bool, now: &str) -> Option<Value> {
    let level = level_of(schema);
    let referring =
        format!("This FlowSchema references the PriorityLevelConfiguration object named {level:?}");
    let (status, reason, message) = match exists {
        true => ("False", "Found", format!("{referring} and it exists")),
        false => ("True", "NotFound", format!("{referring} but there is no such object")),
    };
    let mut new = schema.clone();
    let place = meta::child_mut(meta::child_mut(&mut new, "status"), "conditions");
    let mut conditions = place.as_array().cloned().unwrap_or_default();
    let known = conditions.iter().position(|condition| condition["type"] == "Dangling");
    let said = known.map(|index| &conditions[index]);
    if said.is_some_and(|said| {
        said["status"] == status && said["reason"] == reason && said["message"] == message
    }) {
        return None;
    }
    let condition = json!({"type": "Dangling", "status": status, "reason": reason,
        "message": message, "lastTransitionTime": now});
    match known {
        Some(index) => conditions[index] = condition,
        None => conditions.push(condition),
    }
    *place = json!(conditions);
    Some(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_says_whether_its_level_is_there() {
        let schema = json!({"spec": {"priorityLevelConfiguration": {"name": "p"}}});
        let found = with_condition(&schema, true, "t1").unwrap();
        assert_eq!(
            found["status"]["conditions"],
            json!([{"type": "Dangling", "status": "False", "reason": "Found", "lastTransitionTime": "t1",
                "message": "This FlowSchema references the PriorityLevelConfiguration object named \"p\" and it exists"}])
        );
        assert_eq!(with_condition(&found, true, "t2"), None);
        let lost = with_condition(&found, false, "t2").unwrap();
        assert_eq!(lost["status"]["conditions"].as_array().unwrap().len(), 1);
        assert_eq!(lost["status"]["conditions"][0]["reason"], "NotFound");
    }
}
