//! Makes Events of what a decision has to tell the user.

use client::{EventKind, Recorder, Subject};
use reconcile::note::Note;

pub(crate) fn tell(recorder: &Recorder, subject: &Subject, notes: &[Note]) {
    for note in notes {
        let kind = if note.warning { EventKind::Warning } else { EventKind::Normal };
        recorder.event(subject, kind, &note.reason, note.message.clone());
    }
}
