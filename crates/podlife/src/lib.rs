//! The decisions of the kubelet.
