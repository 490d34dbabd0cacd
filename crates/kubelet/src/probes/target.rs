//! Which port a probe or hook means.

use k8s_openapi::api::core::v1::Container;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// A port that there is not.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PortError {
    #[error("invalid port number: {0}")]
    Number(i32),
    #[error("couldn't find port: {0}")]
    Name(String),
}

/// The number of a port that is named or numbered.
pub(crate) fn port(wanted: &IntOrString, container: &Container) -> Result<u16, PortError> {
    let number = match wanted {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => {
            let mut ports = container.ports.iter().flatten();
            let named = ports.find(|port| port.name.as_deref() == Some(name));
            match named.map(|port| port.container_port).or_else(|| name.parse().ok()) {
                Some(number) => number,
                None => return Err(PortError::Name(name.clone())),
            }
        }
    };
    u16::try_from(number).ok().filter(|port| *port > 0).ok_or(PortError::Number(number))
}
