//! The whole coordinator, in process, on ports of its own.

mod behind;
mod channels;
mod escape;
mod fleet;
mod followers;
mod gate;
mod history;
mod hostile;
mod odd_answers;
mod own;
mod owned;
mod promotion;
mod reach;
mod registry;
mod restart;
mod revert;
mod running;
mod surface;
mod truth;
mod withdraw;
