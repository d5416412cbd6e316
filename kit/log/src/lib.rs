//! landfall-log
