//! landfall-redirector
