//! The decisions of controllers.
