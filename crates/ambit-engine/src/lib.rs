//! The one path and the sequencer. (The rest of its modules lands with the policies.)

mod archive;
mod custody;
mod moment;

pub use crate::{
    archive::{Archive, ArchiveError},
    custody::{Custody, CustodyError},
    moment::{Clock, Moment},
};
