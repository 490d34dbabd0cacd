//! Authorization decisions.
