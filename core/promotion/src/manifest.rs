//! The manifest formats, read with the position of everything.

pub(crate) mod files;
pub(crate) mod half;
pub(crate) mod images;
pub mod layout;
pub(crate) mod yaml;
