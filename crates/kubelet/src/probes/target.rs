//! Which address a probe or hook means.

use k8s_openapi::api::core::v1::Container;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// A port that there is not.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PortError {
    #[error("invalid port number: {0}")]
    Number(i32),
    /// In the words of the library that upstream reads it with.
    #[error("strconv.Atoi: parsing {0:?}: invalid syntax")]
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

/// Host and port as one text.
pub(crate) fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_one_text() {
        assert_eq!(authority("10.0.0.1", 80), "10.0.0.1:80");
        assert_eq!(authority("fd00::1", 80), "[fd00::1]:80");
    }
}
