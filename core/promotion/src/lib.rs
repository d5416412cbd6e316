//! landfall-promotion
