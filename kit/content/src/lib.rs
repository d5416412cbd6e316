//! landfall-content
