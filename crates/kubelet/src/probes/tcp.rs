//! Probing with a connection.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, TCPSocketAction};
use podlife::probe::Outcome;
use tokio::net::TcpStream;

use super::target;

pub(crate) async fn probe(
    action: &TCPSocketAction,
    container: &Container,
    pod_ip: &str,
    limit: Duration,
) -> Outcome {
    let host = action.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(pod_ip);
    let port = match target::port(&action.port, container) {
        Ok(port) => port,
        Err(error) => return Outcome::unknown(error.to_string()),
    };
    let reason = match tokio::time::timeout(limit, TcpStream::connect((host, port))).await {
        Ok(Ok(_)) => return Outcome::Success,
        Ok(Err(error)) => describe(&error),
        Err(_) => "i/o timeout".to_owned(),
    };
    Outcome::Failure(format!("dial tcp {}: {reason}", target::authority(host, port)))
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

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::{TcpListener, TcpSocket};

    async fn ask(port: impl Into<serde_json::Value>) -> Outcome {
        let port: serde_json::Value = port.into();
        let action = serde_json::from_value(serde_json::json!({"port": port})).unwrap();
        let limit = Duration::from_secs(60);
        probe(&action, &Container::default(), "127.0.0.1", limit).await
    }

    #[tokio::test]
    async fn a_connection_is_enough() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(ask(port).await, Outcome::Success);
        drop(listener);
        let refused = format!("dial tcp 127.0.0.1:{port}: connect: connection refused");
        assert_eq!(ask(port).await, Outcome::Failure(refused));
        let unknown = Outcome::unknown("strconv.Atoi: parsing \"http\": invalid syntax");
        assert_eq!(ask("http").await, unknown);
    }

    #[tokio::test(start_paused = true)]
    async fn time_runs_out() {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        // The kernel keeps one connection for it and answers no other.
        let listener = socket.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let _kept = TcpStream::connect(address).await.unwrap();
        let late = Outcome::Failure(format!("dial tcp {address}: i/o timeout"));
        assert_eq!(ask(address.port()).await, late);
    }
}
