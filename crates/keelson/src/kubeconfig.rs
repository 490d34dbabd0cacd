//! Kubeconfig files.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::pki::Leaf;

/// A kubeconfig with one cluster, user and context, all called `default`.
pub(crate) fn render(server: &str, authority_pem: &str, client: &Leaf) -> String {
    let encode = |text: &str| STANDARD.encode(text);
    format!(
        "apiVersion: v1\nkind: Config\nclusters:\n- name: default\n  cluster:\n    server: {server}\n    certificate-authority-data: {}\nusers:\n- name: default\n  user:\n    client-certificate-data: {}\n    client-key-data: {}\ncontexts:\n- name: default\n  context:\n    cluster: default\n    user: default\ncurrent-context: default\n",
        encode(authority_pem),
        encode(&client.certificate_pem),
        encode(&client.key_pem),
    )
}

/// Whether a kubeconfig is for the cluster of an authority.
pub(crate) fn is_of(kubeconfig: &str, authority_pem: &str) -> bool {
    kubeconfig.contains(&STANDARD.encode(authority_pem))
}
