//! Rows of logins, passkeys and enrolments.

use ambit_core::{json::Value, proof::ProofFact, record::Body};

use super::{Row, RowError, RowKey};
use crate::state::{EnrolmentEntry, LoginEntry, PasskeyEntry, State};

impl State {
    /// Returns table, key and row of what a person proves with; no row when it is gone.
    pub(super) fn proof_row(&self, key: &RowKey) -> (&'static str, String, Option<Value>) {
        let at = |leaf: u64| Value::object([("leaf", leaf.into())]);
        match key {
            RowKey::Login(id) => {
                let row = self.logins.get(id).map(|it| at(it.leaf));
                ("logins", id.to_string(), row)
            }
            RowKey::Passkey(id) => {
                let row = self.passkeys.get(id).map(|it| {
                    let count = u64::from(it.passkey.sign_count);
                    Value::object([("leaf", it.leaf.into()), ("sign_count", count.into())])
                });
                ("passkeys", id.to_string(), row)
            }
            RowKey::Enrolment(person) => {
                let row = self.enrolments.get(person).map(|it| at(it.leaf));
                ("enrolments", person.to_string(), row)
            }
            RowKey::Log
            | RowKey::Person(_)
            | RowKey::Task(_)
            | RowKey::Approval(_)
            | RowKey::Token(_)
            | RowKey::Delegation(_)
            | RowKey::Open(_)
            | RowKey::Revoked(_)
            | RowKey::Seen(..) => ("logins", String::new(), None),
        }
    }
}

pub(super) fn read_login(state: &mut State, row: &Row<'_>) -> Result<RowKey, RowError> {
    let leaf = row.number(&row.json()?, "leaf")?;
    let ProofFact::LoginOpened { login, .. } = fact(row, leaf)? else {
        return Err(row.wrong("its leaf opens no login"));
    };
    let id = login.id;
    state.logins.insert(id, LoginEntry { leaf, login });
    Ok(RowKey::Login(id))
}

pub(super) fn read_passkey(state: &mut State, row: &Row<'_>) -> Result<RowKey, RowError> {
    let value = row.json()?;
    let leaf = row.number(&value, "leaf")?;
    let ProofFact::PasskeyRegistered { mut passkey, .. } = fact(row, leaf)? else {
        return Err(row.wrong("its leaf registers no passkey"));
    };
    passkey.sign_count = row.count(&value, "sign_count")?;
    let id = passkey.id;
    state.passkeys.insert(id, PasskeyEntry { leaf, passkey });
    Ok(RowKey::Passkey(id))
}

pub(super) fn read_enrolment(state: &mut State, row: &Row<'_>) -> Result<RowKey, RowError> {
    let leaf = row.number(&row.json()?, "leaf")?;
    let ProofFact::EnrolmentOffered { enrolment, .. } = fact(row, leaf)? else {
        return Err(row.wrong("its leaf offers no enrolment"));
    };
    let person = enrolment.person;
    let entry = EnrolmentEntry { leaf, enrolment };
    state.enrolments.insert(person, entry);
    Ok(RowKey::Enrolment(person))
}

fn fact(row: &Row<'_>, leaf: u64) -> Result<ProofFact, RowError> {
    let Body::Proof(fact) = row.record(leaf)?.body else {
        return Err(row.wrong("its leaf says nothing of what a person proves with"));
    };
    Ok(*fact)
}
