//! Tests of the crate as a whole; each part's own stand beside it.

mod bounds;
mod laws;
mod limits;
mod people;
mod people_policies;
mod separation;
mod table;
mod tenant;
mod world;
