//! Quantities: exact decimal and binary amounts such as `500m` and `1Gi`.
