//! Opening what stands sealed beside records: by whom, of what, and on the record.

use std::sync::Arc;

use ambit_core::{
    Digest, PersonId, Reason, TaskId,
    act::Target,
    estate::PersonRole,
    limits::OPENED_AT_ONCE_MAX,
    record::{Body, Content},
    task::Contained,
};
use ambit_engine::{Archive, ArchiveError, Found, Opened, RESULT_KEPT_BYTES_MAX, Refusal};
use ambit_testkit::{Opened as Survives, World, office};

use crate::support::{done, id, pass, person, revoke_as};

/// The office, where ben is the auditor and eve starts tasks, too.
fn estate() -> ambit_core::estate::Estate {
    let mut estate = office(&[]);
    let ana = [
        PersonRole::Starter,
        PersonRole::Operator,
        PersonRole::Administrator,
    ];
    let roles = [
        ("ana", &ana[..]),
        ("ben", &[PersonRole::Auditor]),
        ("eve", &[PersonRole::Starter]),
    ];
    for (alias, roles) in roles {
        let person = estate.people.get_mut(alias).expect("a person");
        person.roles = roles.iter().copied().collect();
    }
    estate
}

/// Returns a world in which a ticket was read, and the places of its decision and outcome.
fn world() -> (World, TaskId, Vec<u64>) {
    let mut world = World::new(estate(), 6);
    let (started, caller) = world.start();
    let passage = pass(&mut world, &caller, "get_ticket", id("T-1"));
    let decision = passage.decision();
    done(&mut world, passage);
    let of = |body: &Body| match body {
        Body::Decided(it) => it.decision == decision,
        Body::Performed(it) => it.decision == decision,
        _ => false,
    };
    let leaves = (0..).zip(world.records()).filter(|(_, it)| of(&it.body));
    let leaves = leaves.map(|it| it.0).collect();
    (world, started.task.id, leaves)
}

fn open(world: &mut World, alias: &str, leaves: &[u64]) -> Result<Vec<Opened>, Refusal> {
    let (handle, person, moment) = (
        world.handle.clone(),
        world.person(alias),
        world.clock.moment(),
    );
    let leaves = leaves.to_vec();
    world.run(async move { handle.open_sealed(&person, leaves, moment).await })
}

#[track_caller]
fn refused(result: Result<Vec<Opened>, Refusal>, part: &str) {
    let text = result.expect_err("refused").to_string();
    assert!(text.contains(part), "`{text}` does not say `{part}`");
}

#[test]
fn what_was_asked_and_what_came_back_is_opened_and_that_is_on_the_record() {
    let (mut world, task, leaves) = world();
    let ben = person(&mut world, "ben");
    let opened = open(&mut world, "ben", &leaves).expect("an auditor");
    let [act, result] = opened.as_slice() else {
        panic!("two contents: {opened:?}");
    };
    let Found::Whole(text) = &act.found else {
        panic!("it is kept: {act:?}");
    };
    let text = String::from_utf8_lossy(text);
    assert!(text.contains(r#""arguments":{"id":"T-1"}"#), "{text}");
    assert_eq!(
        (act.content, result.content),
        (Content::Act, Content::Result)
    );
    assert_eq!(result.found, Found::Whole(b"{}".to_vec()));
    let records = world.records();
    let Some(Body::SealedOpened {
        task: of,
        leaves: named,
        warrant,
    }) = records.last().map(|it| it.body.clone())
    else {
        panic!("it is on the record: {:?}", records.last());
    };
    assert_eq!((of, named, warrant.by), (task, leaves, ben));
    assert_eq!(warrant.rules, ["auditor-opens"]);
}

/// ASI03: a role that may look at the record may not open what is sealed beside it; whoever started the task may.
#[test]
fn asi03_only_an_auditor_and_the_person_of_the_task_open_what_is_sealed() {
    let (mut world, _, leaves) = world();
    let before = world.records().len();
    let Err(Refusal::Denied { denied, .. }) = open(&mut world, "eve", &leaves) else {
        panic!("eve started another task, if any");
    };
    assert_eq!(denied.reason, Reason::RoleMissing);
    let told = world.records().into_iter().skip(before);
    let told: Vec<_> = told.map(|it| it.body).collect();
    let denial = told.iter().any(
        |it| matches!(it, Body::Decided(it) if it.action == "open_sealed" && it.task.is_some()),
    );
    assert!(denial, "a no is on the record of its task: {told:?}");
    assert!(
        !told
            .iter()
            .any(|it| matches!(it, Body::SealedOpened { .. }))
    );
    let subject: PersonId = person(&mut world, "ana");
    let opened = open(&mut world, "ana", &leaves).expect("ana started it");
    assert_eq!(opened.len(), 2);
    let by = world
        .records()
        .last()
        .and_then(|it| it.body.warrant().map(|it| it.by));
    assert_eq!(by, Some(subject));
}

/// ASI03: what runs beside a person as the same local user does not open what the person may.
#[test]
fn asi03_an_agent_without_containment_opens_nothing_for_its_user() {
    let (mut world, _, leaves) = world();
    let ask = ambit_engine::StartTask {
        template: "answer".parse().expect("a name"),
        agent: "clerk".parse().expect("a name"),
        parameters: [
            ("ticket".to_owned(), "T-2".into()),
            ("customer".to_owned(), "kim@example.org".into()),
        ]
        .into(),
        contained: Contained::None,
    };
    let (handle, ana, moment) = (
        world.handle.clone(),
        world.person("ana"),
        world.clock.moment(),
    );
    world
        .run(async move { handle.start_task(&ana, ask, moment).await })
        .expect("optional here");
    let Err(Refusal::Denied { denied, .. }) = open(&mut world, "ana", &leaves) else {
        panic!("it could be the agent");
    };
    assert_eq!(denied.reason, Reason::BindingTooWeak);
}

#[test]
fn records_without_anything_sealed_open_nothing() {
    let (mut world, _, leaves) = world();
    let (other, _) = world.start();
    let start = (0..)
        .zip(world.records())
        .find_map(|(index, it)| match it.body {
            Body::TaskStarted { task, .. } if task.id == other.task.id => Some(index),
            _ => None,
        });
    let start = start.expect("it started");
    let parameters = open(&mut world, "ben", &[start]).expect("an auditor");
    assert_eq!(parameters[0].content, Content::Parameters);
    refused(open(&mut world, "ben", &[]), "1 to 8 records");
    let most = vec![leaves[0]; OPENED_AT_ONCE_MAX];
    assert_eq!(
        open(&mut world, "ben", &most).expect("at the limit").len(),
        8
    );
    let more = vec![leaves[0]; OPENED_AT_ONCE_MAX + 1];
    refused(open(&mut world, "ben", &more), "1 to 8 records");
    refused(open(&mut world, "ben", &[0]), "nothing is sealed there");
    refused(open(&mut world, "ben", &[9999]), "no record 9999");
    refused(
        open(&mut world, "ben", &[leaves[0], start]),
        "of several tasks",
    );
}

#[test]
fn what_was_not_kept_or_was_erased_is_said_so() {
    let (mut world, task, _) = world();
    let (_, caller) = world.start();
    let passage = pass(&mut world, &caller, "get_ticket", id("T-1"));
    let (handle, moment) = (world.handle.clone(), world.clock.moment());
    let effect = ambit_engine::Effect {
        status: ambit_core::record::Status::Done,
        took: ambit_core::Millis::new(3),
        sent_bytes: 10,
        received_bytes: 20,
        labels: ambit_core::Labels::none(),
        result: Some(vec![b' '; RESULT_KEPT_BYTES_MAX + 1]),
        failure: None,
    };
    world
        .run(async move { handle.performed(passage, effect, moment).await })
        .expect("written");
    world.settle();
    let last = world.records().len() as u64 - 1;
    let opened = open(&mut world, "ben", &[last]).expect("an auditor");
    assert_eq!(opened[0].found, Found::NotKept);

    revoke_as(&mut world, "ana", Target::Task(task), "over");
    let clock = world.clock.clone();
    let survives = world.crash();
    let survives = Survives {
        durable: survives.durable,
        archive: Arc::new(WithoutKey(survives.archive, task)),
    };
    let mut world = World::open(survives, estate(), clock);
    let of = |body: &Body| body.sealed().is_some_and(|it| it.0 == task);
    let leaves = (0..).zip(world.records()).filter(|(_, it)| of(&it.body));
    let leaves: Vec<u64> = leaves.map(|it| it.0).collect();
    let opened = open(&mut world, "ben", &leaves).expect("an auditor");
    assert!(opened.len() >= 3, "{opened:?}");
    assert!(
        opened.iter().all(|it| it.found == Found::Erased),
        "{opened:?}"
    );
}

/// A store in which the key of a task was destroyed.
struct WithoutKey(Arc<dyn Archive>, TaskId);

impl Archive for WithoutKey {
    fn size(&self) -> Result<u64, ArchiveError> {
        self.0.size()
    }
    fn leaves(&self, first: u64, count: usize) -> Result<Vec<Vec<u8>>, ArchiveError> {
        self.0.leaves(first, count)
    }
    fn tile(&self, level: u8, index: u64, width: u16) -> Result<Option<Vec<u8>>, ArchiveError> {
        self.0.tile(level, index, width)
    }
    fn checkpoint(&self) -> Result<Option<String>, ArchiveError> {
        self.0.checkpoint()
    }
    fn blob(&self, leaf: u64, id: Digest) -> Result<Option<Vec<u8>>, ArchiveError> {
        self.0.blob(leaf, id)
    }
    fn rows(&self, table: &str) -> Result<Vec<(String, Vec<u8>)>, ArchiveError> {
        self.0.rows(table)
    }
    fn rows_before(
        &self,
        table: &str,
        before: &str,
        count: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, ArchiveError> {
        self.0.rows_before(table, before, count)
    }
    fn row(&self, table: &str, key: &str) -> Result<Option<Vec<u8>>, ArchiveError> {
        self.0.row(table, key)
    }
    fn task_key(&self, task: TaskId) -> Result<Option<Vec<u8>>, ArchiveError> {
        if task == self.1 {
            return Ok(None);
        }
        self.0.task_key(task)
    }
    fn directory(&self) -> Result<Vec<(PersonId, String)>, ArchiveError> {
        self.0.directory()
    }
    fn estate(&self, digest: Digest) -> Result<Option<Vec<u8>>, ArchiveError> {
        self.0.estate(digest)
    }
    fn secret(&self, reference: &str) -> Result<Option<Vec<u8>>, ArchiveError> {
        self.0.secret(reference)
    }
}
