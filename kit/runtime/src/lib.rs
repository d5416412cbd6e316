//! landfall-runtime
