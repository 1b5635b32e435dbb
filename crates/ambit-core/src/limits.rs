//! Every named maximum of Ambit, in one place. Each has a test at it and one beyond.

use crate::Millis;

/// The longest JSON text that any door reads, in bytes.
pub const JSON_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The deepest nesting of a JSON text.
pub const JSON_DEPTH_MAX: usize = 64;
/// The longest canonical arguments of one act, in bytes.
pub const ARGUMENTS_BYTES_MAX: usize = 1024 * 1024;
/// The longest leaf of the log, in bytes (C2SP tlog-tiles: a 16-bit length).
pub const LEAF_BYTES_MAX: usize = 65_535;
/// The longest SPIFFE ID, in bytes (SPIFFE ID §2.3).
pub const SPIFFE_ID_BYTES_MAX: usize = 2048;
/// The longest trust domain name, in bytes (SPIFFE ID §2.1).
pub const TRUST_DOMAIN_BYTES_MAX: usize = 255;
/// The longest name of an agent, server or template, in bytes.
pub const NAME_BYTES_MAX: usize = 63;
/// The longest name of a tool, in bytes (MCP 2025-11-25, tool names).
pub const TOOL_NAME_BYTES_MAX: usize = 128;
/// The most labels that one task can gather.
pub const LABELS_MAX: usize = 64;
/// How many holds of one task may wait for a human at once.
pub const APPROVALS_PENDING_MAX: usize = 5;
/// How long a hold waits for a human before it expires.
pub const APPROVAL_PENDING_TTL: Millis = Millis::from_seconds(15 * 60);
/// How long a given approval can be spent.
pub const APPROVAL_GRANTED_TTL: Millis = Millis::from_seconds(10 * 60);
/// How long after its decision a permit may begin to act.
pub const PERMIT_ACT_BY: Millis = Millis::from_seconds(2);
/// The longest life of a task, whatever its template says.
pub const TASK_TTL_MAX: Millis = Millis::from_seconds(7 * 24 * 3600);
/// The longest life of an instance's SVID; it never outlives its task.
pub const SVID_TTL_MAX: Millis = Millis::from_seconds(24 * 3600);
/// How long an access token lives; it never outlives its task.
pub const ACCESS_TOKEN_TTL: Millis = Millis::from_seconds(10 * 60);
/// How long a refresh token lives unused; it never outlives its task.
pub const REFRESH_TOKEN_TTL: Millis = Millis::from_seconds(24 * 3600);
/// The most tokens of one task that live at once.
pub const TOKENS_PER_TASK_MAX: usize = 64;
/// The most families of refresh tokens of one task that live at once.
pub const REFRESH_FAMILIES_PER_TASK_MAX: usize = 8;
/// How many spent refresh tokens of one family are remembered. Older ones are known by the tag in their text.
pub const SPENT_PER_FAMILY_MAX: usize = 8;
/// How long a login of a command line lasts, whatever is done with it.
pub const LOGIN_TTL: Millis = Millis::from_seconds(8 * 3600);
/// How many logins one person has at once; one more ends the oldest.
pub const LOGINS_PER_PERSON_MAX: usize = 8;
/// How many passkeys one person has.
pub const PASSKEYS_PER_PERSON_MAX: usize = 8;
/// How long the link of an enrolment is good.
pub const ENROLMENT_TTL: Millis = Millis::from_seconds(15 * 60);
/// The longest identifier of a passkey that its authenticator chooses, in bytes (WebAuthn Level 3 §4).
pub const CREDENTIAL_ID_BYTES_MAX: usize = 1023;
/// The longest public key of a passkey, in bytes.
pub const PASSKEY_KEY_BYTES_MAX: usize = 1024;
/// The longest name of a client of the authorization server, in bytes.
pub const CLIENT_BYTES_MAX: usize = 2048;
/// The most parameters of a template.
pub const PARAMETERS_MAX: usize = 64;
/// The longest text of one parameter, in bytes.
pub const PARAMETER_BYTES_MAX: usize = 16 * 1024;
/// The longest reason that a person gives for a revocation or a refusal, in bytes.
pub const REASON_BYTES_MAX: usize = 1024;
/// The most records whose sealed contents are opened at once.
pub const OPENED_AT_ONCE_MAX: usize = 8;
/// The most tasks that may be live at once.
pub const TASKS_LIVE_MAX: usize = 100_000;
/// The most tools that one server may offer.
pub const TOOLS_PER_SERVER_MAX: usize = 512;
/// The most proposals that wait for the sequencer.
pub const SEQUENCER_QUEUE_MAX: usize = 4096;
/// The most records that nobody waits for and that wait for company beside the sequencer's queue.
pub const RECORDS_ASIDE_MAX: usize = 256;
/// The most records in one durable batch.
pub const BATCH_RECORDS_MAX: usize = 1024;
/// How many acts of one task may be under way at once.
pub const ACTS_IN_FLIGHT_PER_TASK_MAX: usize = 256;
/// How long after its start Ambit waits for a runner that attended a task before; then the task ends.
pub const RUNNER_RETURN_MAX: Millis = Millis::from_seconds(10);
/// How far the clock may jump forward between two records before the log refuses it.
pub const CLOCK_JUMP_MAX: Millis = Millis::from_seconds(24 * 3600);
/// The most hops between a task that a person started and one that was delegated from it.
pub const DELEGATION_DEPTH_MAX: u8 = 8;
/// The most delegations that one task can make, spent and withdrawn ones included.
pub const DELEGATIONS_PER_TASK_MAX: usize = 64;
/// The most children that one task can have, ended ones included.
pub const CHILDREN_PER_TASK_MAX: usize = 32;
/// The most live tasks below one that a person started.
pub const SUBTREE_TASKS_MAX: usize = 128;
/// The most tools that one delegation names.
pub const PART_TOOLS_MAX: usize = 64;
/// The longest part of a task, in bytes of its canonical authorization details.
pub const PART_BYTES_MAX: usize = 64 * 1024;
