//! May they: one pure function from an act and its facts to an answer.
//!
//! [`decide`] answers for agents, [`decide_person`] for people. Both gather facts first and judge them
//! second; the facts go into the log, and [`replay`] derives the answer again from them alone. The fixed
//! policies (`acts.cedar`, `people.cedar`) serve every task, since what differs between tasks is data.
//!
//! **Architecture invariants:** no other crate names the policy engine (Cedar). Nothing here reads a clock
//! or does I/O. An error, a missing fact or an unknown word is a denial. [`Permit`], [`Hold`] and
//! [`PersonPermit`] are made here and nowhere else.

mod authority;
mod bare;
mod book;
mod constraints;
mod contexts;
mod decision;
mod delegation;
mod entities;
mod explain;
mod facts;
mod gather;
mod judge;
mod narrowed;
mod parameters;
mod parts;
mod people;
mod problem;
mod replay;
mod request;
mod rules;
mod schemas;
mod scope;
mod screen;
mod separation;
mod tenant;
mod try_out;
mod vocabulary;
mod wanted;

pub use crate::{
    authority::{
        AUTHORIZATION_DETAIL_TYPE, authorization_details, authorization_details_in_first_form,
    },
    bare::Bare,
    book::PolicyBook,
    constraints::{path_is_under, url_is_under},
    decision::{Decision, Denial, Hold, Permit, charge, decide, refuse},
    delegation::{
        Acting, CallerToken, DelegationAsk, DelegationDecision, DelegationPermit, DelegationRoom,
        DelegationStanding, SubjectToken, decide_delegation,
    },
    explain::explain,
    narrowed::{token_details, token_part},
    parameters::{ParameterProblem, check_parameter, check_parameters},
    parts::{PartAsk, PartProblem, part_details},
    people::{
        PersonDecision, PersonPermit, PersonRequest, Prospect, Touched, WeakBinding, decide_person,
    },
    problem::PolicyProblem,
    replay::{Again, Replay, replay, replay_mandate, replay_warrant},
    request::{ApprovalState, Epochs, Live, Node, Request, Standing, SubjectStanding},
    scope::{Offering, ScopeError, TaskScope, TemplateStanding},
    separation::{Alone, PAIRS_LOOKED_AT_MAX, Separation},
    tenant::{POLICY_NAME_BYTES_MAX, TENANT_POLICIES_MAX},
    try_out::{Tried, TriedOut, TryOut, TryOutProblem},
    wanted::{WantedBounds, WantedProblem},
};
#[cfg(test)]
mod tests;
