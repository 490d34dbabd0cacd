//! DefaultPreemption: switches preemption on for a profile; the thinking is in `preemption.rs`.

use super::Row;
use crate::framework::Plugin;

pub(super) const ROW: Row =
    Row { name: "DefaultPreemption", weight: 0, build: |_| Ok(Box::new(DefaultPreemption)) };

#[derive(Debug)]
struct DefaultPreemption;

impl Plugin for DefaultPreemption {
    fn name(&self) -> &'static str {
        ROW.name
    }

    fn preempts(&self) -> bool {
        true
    }
}
