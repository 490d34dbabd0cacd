//! The hash by which a running container is compared with its spec. Only name and image take part: a
//! change of anything else either is refused by the API or does not need a restart.

use k8s_openapi::api::core::v1::Container;

/// 64-bit FNV-1a.
pub fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The container's hash as text.
pub fn of_container(container: &Container) -> String {
    let image = container.image.as_deref().unwrap_or_default();
    format!("{:x}", fnv(format!("{}\0{image}", container.name).as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_name_and_image_count() {
        let base = Container { name: "a".into(), image: Some("i".into()), ..Container::default() };
        let changed = Container { command: Some(vec!["x".into()]), ..base.clone() };
        let other = Container { image: Some("j".into()), ..base.clone() };
        assert_eq!(of_container(&base), of_container(&changed));
        assert_ne!(of_container(&base), of_container(&other));
    }
}
