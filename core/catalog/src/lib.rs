//! landfall-catalog
