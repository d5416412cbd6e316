//! landfall-agent
