//! landfall-bench
