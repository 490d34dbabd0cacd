//! `autoscaling HorizontalPodAutoscaler`, versions v1 and v2: scales by metrics; v2 is the storage form.

use crate::kinds::row;
use crate::resource::{Names, Plain, Resource, Subresource};

/// The rows of this kind.
pub(super) fn rows() -> Vec<Resource> {
    vec![
        Resource {
            short_names: Names::Static(&["hpa"]),
            categories: Names::Static(&["all"]),
            subresources: vec![Subresource::STATUS],
            has_status: true,
            ..row(
                "autoscaling",
                "v2",
                "HorizontalPodAutoscaler",
                "horizontalpodautoscalers",
                &Plain,
            )
        },
        Resource {
            short_names: Names::Static(&["hpa"]),
            categories: Names::Static(&["all"]),
            subresources: vec![Subresource::STATUS],
            has_status: true,
            ..row(
                "autoscaling",
                "v1",
                "HorizontalPodAutoscaler",
                "horizontalpodautoscalers",
                &Plain,
            )
            .stored_as("autoscaling", "v2", "horizontalpodautoscalers")
        },
    ]
}
