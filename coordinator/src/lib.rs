//! landfall-coordinator
