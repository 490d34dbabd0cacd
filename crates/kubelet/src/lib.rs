//! Kubelet.
