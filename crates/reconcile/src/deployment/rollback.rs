//! Rollback asked for by annotation, as clients of old API versions do.

use k8s_openapi::api::apps::v1::Deployment;

use super::draft::Draft;
use super::history::is_own;
use super::{ROLLBACK_TO, Work};
use crate::note::Note;
use crate::template;

/// The revision asked for; 0 means the last.
pub(crate) fn wanted(deployment: &Deployment) -> Option<i64> {
    deployment.metadata.annotations.as_ref()?.get(ROLLBACK_TO)?.parse().ok()
}

impl Work<'_> {
    pub(crate) fn roll_back(&mut self) {
        let asked = wanted(self.deployment).unwrap_or(0);
        let revision = if asked == 0 { self.last_revision() } else { asked };
        let mut rolled = self.deployment.clone();
        if let Some(annotations) = rolled.metadata.annotations.as_mut() {
            annotations.remove(ROLLBACK_TO);
        }
        let target = self.drafts.all().find(|draft| draft.revision() == Some(revision));
        let note = match target {
            _ if revision == 0 => {
                Note::warning("DeploymentRollbackRevisionNotFound", "Unable to find last revision.")
            }
            None => Note::warning(
                "DeploymentRollbackRevisionNotFound",
                "Unable to find the revision to rollback to.",
            ),
            Some(draft) => self.put_back(draft, revision, &mut rolled),
        };
        self.plan.notes.push(note);
        self.plan.rollback = Some(Box::new(rolled));
    }

    fn put_back(&self, draft: &Draft, revision: i64, rolled: &mut Deployment) -> Note {
        let old = draft.set.spec.template.clone().unwrap_or_default();
        let name = self.name();
        if template::same(&old, &self.spec.template) {
            let message = format!(
                "The rollback revision contains the same template as current deployment \"{name}\""
            );
            return Note::warning("DeploymentRollbackTemplateUnchanged", &message);
        }
        let spec = &mut rolled.spec;
        spec.template = old;
        if let Some(labels) = spec.template.metadata.as_mut().and_then(|m| m.labels.as_mut()) {
            labels.remove(template::HASH_LABEL);
        }
        let annotations = rolled.metadata.annotations.get_or_insert_default();
        annotations.retain(|key, _| is_own(key));
        let others =
            draft.set.metadata.annotations.iter().flatten().filter(|(key, _)| !is_own(key));
        annotations.extend(others.map(|(key, value)| (key.clone(), value.clone())));
        let message = format!("Rolled back deployment \"{name}\" to revision {revision}");
        Note::normal("DeploymentRollback", message)
    }

    /// The revision before the newest; 0 when there is none.
    fn last_revision(&self) -> i64 {
        let mut revisions: Vec<i64> = self.drafts.all().filter_map(Draft::revision).collect();
        revisions.sort_unstable();
        revisions.iter().rev().nth(1).copied().unwrap_or(0)
    }
}
