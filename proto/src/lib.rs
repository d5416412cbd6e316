//! landfall-proto
