//! The machine of a simulation: the real engine, the real store, a disk that loses power.

use std::{path::PathBuf, sync::Arc};

use ambit_audit::{LogKey, VerifierKey};
use ambit_broker::{FileCustody, SecretKey};
use ambit_core::{Digest, Millis, TrustDomain, estate::Estate, task::Task};
use ambit_engine::{Archive, Handle, Moment, RecordedKeys, Sequencer, Setup};
use ambit_identity::{
    Authority, InstanceCaller, Issuance, PeerCredentials, PersonCaller, SvidKey, identify_instance,
    identify_person,
};
use ambit_policy::PolicyBook;
use ambit_store::{Keeping, SqliteArchive, SqliteWriter, create_or_open};
use tempfile::TempDir;

use super::{
    estates::Estates,
    laws::{Broken, Laws},
    whole::words,
};
use crate::{TestClock, TornDisk};

/// The log's name in simulations.
pub const ORIGIN: &str = "example.org/log";

/// After how many records a simulation's log holds the digest of its state: often enough that most seeds have several.
const DIGEST_EVERY_RECORDS: u64 = 24;

/// Returns the key that signs the log in simulations.
pub fn log_key() -> LogKey {
    LogKey::from_seed(&[3; 32]).expect("a key")
}

/// Where an engine lives: what outlives every crash of it.
pub struct Site {
    clock: TestClock,
    pub(super) estates: Arc<Estates>,
    authority: Authority,
    directory: PathBuf,
    vfs: Option<String>,
}

/// A running engine over SQLite.
pub struct Engine {
    /// The engine, as its doors hold it.
    pub handle: Handle,
    /// Its one writer.
    pub sequencer: Sequencer<SqliteWriter>,
    /// What the store can be asked.
    pub archive: Arc<SqliteArchive>,
}

/// A site on a disk that loses power, with its engine while it lives.
pub(super) struct Machine {
    pub(super) engine: Option<Engine>,
    pub(super) disk: TornDisk,
    pub(super) clock: TestClock,
    pub(super) site: Site,
    _directory: TempDir,
}

impl Site {
    /// Returns a site in `directory`; its disk is the system's, or the one of a SQLite VFS.
    pub fn new(directory: impl Into<PathBuf>, vfs: Option<String>, clock: TestClock) -> Self {
        let beginning = TestClock::new(0).now();
        let authority = Authority::create(trust_domain(), [7; 32], beginning);
        Self {
            clock,
            estates: Arc::new(Estates::new()),
            authority: authority.expect("an authority"),
            directory: directory.into(),
            vfs,
        }
    }

    /// Opens the engine over what is durable.
    ///
    /// # Errors
    /// The store or the engine refuses.
    pub fn open(&self) -> Result<Engine, Broken> {
        let (durable, archive) = create_or_open(&Keeping {
            path: self.directory.join("ambit.db"),
            mark: self.directory.join("mark"),
            tables: ambit_engine::TABLES,
            verifier: self.verifier(),
            vfs: self.vfs.clone(),
        })
        .map_err(words)?;
        let archive = Arc::new(archive);
        let estates = self.estates.clone();
        let setup = Setup {
            durable,
            archive: archive.clone(),
            custody: Arc::new(FileCustody::new(SecretKey::new([9; 32]))),
            clock: self.clock.to_clock(),
            trust_domain: trust_domain(),
            log_key: log_key(),
            origin: ORIGIN.to_owned(),
            compile: Arc::new(move |files| estates.compile(files)),
            issuing: Some(RecordedKeys {
                certificate: Digest::of(b"a certificate"),
                sequence: 1,
            }),
        };
        let (handle, sequencer) = setup.open().map_err(words)?;
        Ok(Engine {
            handle,
            sequencer: sequencer.with_digest_every(DIGEST_EVERY_RECORDS),
            archive,
        })
    }

    /// Returns the laws of an empty log of this site.
    pub fn laws(&self) -> Laws {
        Laws::new(self.estates.by_digest())
    }

    /// Returns what checks the log's checkpoints.
    pub fn verifier(&self) -> VerifierKey {
        log_key().verifier(ORIGIN).expect("a name")
    }

    /// Returns a version of the estate and its files.
    pub fn estate(&self, version: u64) -> (Arc<PolicyBook>, Vec<u8>) {
        self.estates.version(version)
    }

    /// Returns the moment.
    pub fn moment(&self) -> Moment {
        self.clock.moment()
    }

    /// Returns the evidence that `alias` is at the control socket.
    pub fn person(&self, alias: &str) -> PersonCaller {
        let (book, _) = self.estates.version(0);
        let estate: &Estate = book.estate();
        let uid = estate.people.get(alias).and_then(|it| it.unix_uid);
        let uid = uid.expect("a person");
        let peer = PeerCredentials {
            uid,
            gid: uid,
            pid: None,
        };
        identify_person(peer, &estate.people).expect("a person of the estate")
    }

    /// Returns the evidence that the instance of `task` is at the gateway.
    pub fn instance(&self, task: &Task) -> InstanceCaller {
        let key = SvidKey::generate(self.clock.chance()).expect("a key");
        let now = self.clock.now();
        let svid = self.authority.issue(&Issuance {
            key: &key.proved().expect("a proved key"),
            spiffe_id: &task.spiffe_id,
            now,
            expires_at: task.expires_at,
            chance: *self.clock.chance().first_chunk().expect("16 bytes"),
        });
        let svid = svid.expect("an SVID");
        identify_instance(svid.chain(), self.authority.bundle(), now).expect("an instance")
    }
}

impl Machine {
    pub(super) fn new(seed: u64) -> Self {
        let clock = TestClock::new(seed);
        // The clock may go back, but not before the authority began.
        clock.advance(Millis::from_seconds(90 * 24 * 3600));
        let disk = TornDisk::new(seed).expect("a disk");
        let directory = tempfile::tempdir().expect("a directory");
        let vfs = Some(disk.vfs().to_owned());
        Self {
            engine: None,
            site: Site::new(directory.path(), vfs, clock.clone()),
            disk,
            clock,
            _directory: directory,
        }
    }

    /// Opens the engine over what is durable.
    pub(super) fn open(&mut self) -> Result<(), Broken> {
        self.engine = Some(self.site.open()?);
        Ok(())
    }

    pub(super) fn engine(&mut self) -> Result<&mut Engine, Broken> {
        self.engine
            .as_mut()
            .ok_or_else(|| "the engine is not open".to_owned())
    }

    pub(super) fn archive(&self) -> Result<&dyn Archive, Broken> {
        let engine = self.engine.as_ref();
        let engine = engine.ok_or_else(|| "the engine is not open".to_owned())?;
        Ok(engine.archive.as_ref())
    }
}

impl std::fmt::Debug for Site {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Site({})", self.directory.display())
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Engine")
    }
}

fn trust_domain() -> TrustDomain {
    "example.org".parse().expect("a trust domain")
}
