//! Probing with a connection.

use k8s_openapi::api::core::v1::{Container, TCPSocketAction};

use super::{Outcome, target};

pub(crate) async fn probe(
    action: &TCPSocketAction,
    container: &Container,
    pod_ip: &str,
) -> Outcome {
    let host = action.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(pod_ip);
    let port = match target::port(&action.port, container) {
        Ok(port) => port,
        Err(error) => return Outcome::Unknown(error.to_string()),
    };
    match tokio::net::TcpStream::connect((host, port)).await {
        Ok(_) => Outcome::Success,
        Err(error) => Outcome::Failure(format!("dial tcp {host}:{port}: {}", describe(&error))),
    }
}

/// A failure to connect as Go words it.
pub(crate) fn describe(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        std::io::ErrorKind::TimedOut => "i/o timeout".to_owned(),
        std::io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        std::io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        _ => error.to_string(),
    }
}
