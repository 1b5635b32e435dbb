//! The one path that every act takes (identify, decide, record, act, record) and the sequencer that gives all
//! facts one order.
//!
//! Decisions are computed in parallel on a snapshot; the [`Sequencer`] takes them in order, decides again what
//! changed meanwhile, writes a batch of records and the rows they fold into in one durable transaction, and
//! only then hands out the evidence ([`ambit_audit::Recorded`]) without which no door acts.
//!
//! **Architecture invariant:** no HTTP, no SQL, no spawning, no clock. Time and chance come as [`Moment`]s.

mod archive;
mod bans;
mod custody;
mod cut;
mod desk;
mod doors;
mod error;
mod govern;
mod ground;
mod handle;
mod live;
mod metrics;
mod moment;
mod queue;
mod quota;
mod rebuild;
mod sequencer;
mod state;
mod tokens;

pub use crate::{
    archive::{Archive, ArchiveError},
    bans::{Ban, Bans, Replaced, bans},
    custody::{Custody, CustodyError},
    doors::{Effect, Passage, RESULT_KEPT_BYTES_MAX},
    error::{Denied, EngineError, Refusal},
    govern::{
        Applied, ApprovalSummary, Claim, Counts, Delegate, DelegateTask, DelegationSummary,
        Delegator, EffectiveRecord, EndedTask, Ender, Enrolled, ExchangeRefusal, Found, Inspection,
        KeyLeave, KeyRotation, LoginAsk, LoginGrant, NewPasskey, NoLogin, NoPasskey, NotInstance,
        OfferedEnrolment, Opened, Reinstatement, RevocationReport, ServerInspection, Settled,
        StartTask, Started, TaskSummary, WAITING_PER_AGENT_MAX, Waits, Withdrawal,
    },
    ground::Ground,
    handle::{Answer, Handle, Held, Offer, Offers},
    live::{HELD_KEPT_BYTES_MAX, REFUSED_KEPT_BYTES_MAX},
    metrics::{
        BUCKETS, COUNTED_ACTIONS, COUNTED_OUTCOMES, COUNTED_TARGETS, Count, Gauges, Histogram,
        Metrics,
    },
    moment::{Clock, Moment},
    rebuild::{RebuildError, Rebuilt, ReplayReport, rebuild, replay_all},
    sequencer::{CompileEstate, STATE_DIGEST_EVERY_RECORDS, Sequencer, Setup, SetupError, Step},
    state::{
        Approval, ApprovalStanding, DelegationEntry, FoldError, LoginEntry, OpenAct, PasskeyEntry,
        RecordedKeys, RowError, State, TABLES, TaskEntry, TokenEntry, TokenUse, recorded_keys,
    },
    tokens::{
        ClaimedTokens, ClientLeave, ClientShown, Presented, RefreshAsk, Refreshable, TokenAsk,
        TokenBy, TokenGrant, TokenRefusal, TokenStanding,
    },
};
