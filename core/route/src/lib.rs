//! landfall-route
