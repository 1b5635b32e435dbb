//! Checking an estate: files, policies and decision tables, in one go. The same check gates `apply`.

use std::{error::Error, path::Path, sync::Arc};

use ambit_core::{
    Digest, Timestamp,
    estate::{Admits, Agent, BearerTokens, Estate, LeastBinding, Person, Template, Workload},
};
use ambit_policy::{Alone, PolicyBook, PolicyProblem, Prospect, Separation, Tried, TryOut};

use crate::estate::{DecisionCase, DecisionTable, EstateFiles, EstateProblem, Expected, Loaded};

/// An estate that may come into force: its files are sound, its policies compile, its tables hold.
///
/// Made only by [`check`] and its kin.
#[derive(Debug)]
pub struct Checked {
    book: Arc<PolicyBook>,
    archive: Vec<u8>,
    cases: usize,
}

/// By which proofs people are known: what it takes to say whether somebody could come at all.
#[derive(Clone, Copy, Debug)]
pub enum KnownBy<'a> {
    /// Files alone don't say at which server they will be: a local user counts, and a name at any provider.
    Files,
    /// At a server: local users, whom its provider names, and who holds a passkey.
    Server {
        /// The provider, where there is one.
        issuer: Option<&'a str>,
        /// The aliases of those who hold a passkey that is taken there.
        holders: &'a [String],
    },
}

/// Checks the estate in the directory `dir`.
///
/// # Errors
/// Every problem that could be found, in the order of path, line and column. Policies are compiled when the
/// files are sound, and tables are tried when the policies compile.
pub fn check(dir: &Path) -> Result<Checked, Vec<EstateProblem>> {
    check_files(&EstateFiles::collect(dir)?)
}

/// Checks the estate in an archive, as `apply` sends it.
///
/// # Errors
/// As [`check`].
pub fn check_archive(archive: &[u8]) -> Result<Checked, Vec<EstateProblem>> {
    check_files(&EstateFiles::from_archive(archive)?)
}

/// Checks the estate that these files declare.
///
/// # Errors
/// As [`check`].
pub fn check_files(files: &EstateFiles) -> Result<Checked, Vec<EstateProblem>> {
    let Loaded {
        estate,
        archive,
        tables,
    } = files.load()?;
    let book = PolicyBook::compile(Arc::new(estate)).map_err(|it| sorted(problems_of(it)))?;
    let failed: Vec<EstateProblem> = tables
        .iter()
        .flat_map(|table| table.cases.iter().filter_map(|it| fails(&book, table, it)))
        .collect();
    if !failed.is_empty() {
        return Err(sorted(failed));
    }
    Ok(Checked {
        book: Arc::new(book),
        archive,
        cases: tables.iter().map(|it| it.cases.len()).sum(),
    })
}

impl Checked {
    /// Returns the compiled policies with their estate.
    pub const fn book(&self) -> &Arc<PolicyBook> {
        &self.book
    }

    /// Returns the estate.
    pub fn estate(&self) -> &Estate {
        self.book.estate()
    }

    /// Returns the digest that names this version.
    pub fn digest(&self) -> Digest {
        self.estate().digest
    }

    /// Says whether somebody could apply the next version: a person whom the policies would let do it, and who can prove who
    /// they are, in any way.
    ///
    /// `apply` asks for it and [`check`] does not: `ambit dev` and `ambit demo` add whoever runs them.
    ///
    /// # Errors
    /// The problem that nobody could, and what to write.
    pub fn is_governed(&self, known: KnownBy<'_>) -> Result<(), EstateProblem> {
        let mut people = self.estate().people.iter();
        let governs = |(alias, it): (&String, &Person)| {
            known.has(alias, it) && self.book.would_apply(alias) == Prospect::Open
        };
        if people.any(governs) {
            return Ok(());
        }
        Err(EstateProblem {
            path: "estate.toml".to_owned(),
            line: 1,
            column: 1,
            message: format!(
                "nobody could apply another version; write the role `administrator` for one person{}, with `unix_uid`, \
                      or with `oidc` as the server's `[sign_in]` has it",
                if self.estate().people_policies.is_empty() {
                    ""
                } else {
                    " whom no policy in policies/people/ keeps from it"
                }
            ),
        })
    }

    /// Returns warnings: registrations by which any local user is an agent, templates for tokens that the estate does not take,
    /// and people who are alone in what several should do.
    pub fn warnings(&self) -> Vec<String> {
        let agents = self.estate().agents.values();
        let mut all: Vec<_> = agents.flat_map(admits_everybody).collect();
        let templates = self.estate().templates.values();
        let bearer = self.estate().bearer_tokens;
        all.extend(templates.filter_map(|it| takes_nothing(it, bearer)));
        let Separation { alone, unseen } = self.book.separation();
        all.extend(alone.iter().map(is_alone));
        if unseen > 0 {
            all.push(format!(
                "policies: of {unseen} pairs of a person and a template nobody looked whether that person alone applies, starts \
                 and approves: there are too many"
            ));
        }
        all
    }

    /// Returns how many cases of decision tables hold.
    pub const fn cases(&self) -> usize {
        self.cases
    }

    /// Returns the canonical archive, which names the version by its digest.
    pub fn archive(&self) -> &[u8] {
        &self.archive
    }

    /// Gives up the compiled policies and the archive, to be put in force together.
    pub fn into_parts(self) -> (Arc<PolicyBook>, Vec<u8>) {
        (self.book, self.archive)
    }
}

impl KnownBy<'_> {
    fn has(self, alias: &str, person: &Person) -> bool {
        let named = person.oidc.as_ref().map(|it| it.issuer.as_str());
        let elsewhere = match self {
            Self::Files => named.is_some(),
            Self::Server { issuer, holders } => {
                (named.is_some() && named == issuer) || holders.iter().any(|it| it == alias)
            }
        };
        person.unix_uid.is_some() || elsewhere
    }
}

fn admits_everybody(agent: &Agent) -> Vec<String> {
    let workloads = agent.workloads.iter();
    let everybody = workloads.filter(|it| it.admits() == Admits::Everybody);
    let name = &agent.name;
    let warning = |it: &Workload| {
        format!(
            "agents/{name}.toml: any local user who can run what `[[workload]]` names ({it}) is this agent; add `uid` or `unit`"
        )
    };
    everybody.map(warning).collect()
}

/// Warns of a template that lets bearer tokens do something in an estate that takes none.
fn takes_nothing(template: &Template, taken: BearerTokens) -> Option<String> {
    match (taken, template.binding) {
        (BearerTokens::Taken, _) | (_, LeastBinding::Mtls | LeastBinding::Dpop) => None,
        (BearerTokens::Refused, LeastBinding::BearerToRead | LeastBinding::BearerToAct) => {
            Some(format!(
                "templates/{}.toml: `binding = \"bearer\"` lets nobody in, since the estate takes no bearer tokens; write \
                 `bearer = true` under `[tokens]` of estate.toml, or another binding",
                template.name
            ))
        }
    }
}

fn is_alone(Alone { person, template }: &Alone) -> String {
    format!(
        "templates/{template}.toml: `{person}` alone can apply what it says, start it, and approve what it holds; write \
         `approver = \"another_person\"`, or forbid one of the three in policies/people/"
    )
}

/// Says how the answer differs from what the case expects, when it does.
fn fails(book: &PolicyBook, table: &DecisionTable, case: &DecisionCase) -> Option<EstateProblem> {
    let problem = |message: String| {
        Some(EstateProblem {
            path: table.path.clone(),
            line: case.line,
            column: case.column,
            message: format!("case `{}`: {message}", case.name),
        })
    };
    let tried = book.try_out(TryOut {
        template: case.template.clone(),
        agent: case.agent.clone(),
        parameters: case.parameters.clone(),
        labels: case.labels.clone(),
        contained: case.contained,
        binding: case.binding,
        // What is tried must not depend on the day.
        at: Timestamp::from_millis(0),
        act: case.act.clone(),
    });
    let tried = match tried {
        Ok(tried) => tried,
        Err(error) => return problem(chain(&error)),
    };
    let (answer, reason) = match tried.answer {
        Tried::Allow => (Expected::Allow, None),
        Tried::Hold(reason) => (Expected::Hold, Some(reason)),
        Tried::Deny(reason) => (Expected::Deny, Some(reason)),
    };
    if answer == case.expect && (case.reason.is_none() || case.reason == reason) {
        return None;
    }
    let words = |answer: Expected, reason: Option<ambit_core::Reason>| match reason {
        Some(reason) => format!("{} ({reason})", answer.as_str()),
        None => answer.as_str().to_owned(),
    };
    let mut message = format!(
        "expected {}, and the answer is {}",
        words(case.expect, case.reason),
        words(answer, reason)
    );
    if !tried.explanation.is_empty() {
        message.push_str(": ");
        message.push_str(&tried.explanation);
    }
    problem(message)
}

/// Returns an error with its causes on one line; a cause that was said already is not said again.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = error.source();
    }
    text
}

fn problems_of(found: Vec<PolicyProblem>) -> Vec<EstateProblem> {
    let clamp = |it: usize| u32::try_from(it).unwrap_or(u32::MAX);
    let problem = |it: PolicyProblem| EstateProblem {
        path: it.path,
        line: clamp(it.line),
        column: clamp(it.column),
        message: it.message,
    };
    found.into_iter().map(problem).collect()
}

fn sorted(mut problems: Vec<EstateProblem>) -> Vec<EstateProblem> {
    problems.sort();
    problems
}

#[cfg(test)]
mod tests {
    use ambit_core::estate::PersonRole;

    use super::*;

    fn demo() -> EstateFiles {
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../../estates/demo");
        EstateFiles::collect(Path::new(dir)).unwrap()
    }

    /// Checks the demo estate with one replacement, and expects these problems, each by how it begins.
    #[track_caller]
    fn check_with(path: &str, from: &str, to: &str, expected: &[&str]) {
        let files = demo();
        let text = files.text(path).unwrap_or("").replacen(from, to, 1);
        let problems = check_files(&files.with_file(path, &text))
            .err()
            .unwrap_or_default();
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(problems.len(), expected.len(), "{problems:#?}");
        for (problem, expected) in problems.iter().zip(expected) {
            assert!(problem.starts_with(expected), "{problem}\n{expected}");
        }
    }

    #[test]
    fn the_demo_estate_holds() {
        let checked = check_files(&demo()).unwrap();
        assert_eq!(checked.cases(), 8);
        assert_eq!(checked.digest(), Digest::of(checked.archive()));
        assert_eq!(
            check_archive(checked.archive()).unwrap().digest(),
            checked.digest()
        );
    }

    #[test]
    fn somebody_must_be_able_to_apply_the_next_version() {
        let check = |uid: Option<u32>, roles: &[PersonRole], governed: bool| {
            let files = uid.map_or_else(demo, |uid| demo().with_person("you", uid, roles));
            let nobody = KnownBy::Server {
                issuer: None,
                holders: &[],
            };
            for known in [KnownBy::Files, nobody] {
                let found = check_files(&files).unwrap().is_governed(known);
                assert_eq!(found.is_ok(), governed, "{uid:?} {roles:?} {found:?}");
            }
        };
        check(None, &[], false);
        check(
            Some(1000),
            &[PersonRole::Starter, PersonRole::Operator],
            false,
        );
        check(Some(1000), &[PersonRole::Administrator], true);
    }

    /// Whoever comes by a provider or by a passkey alone governs as well as a local user.
    #[test]
    fn every_proof_of_an_administrator_counts() {
        let (here, other) = ("https://id.example.org", "https://other.example");
        let estate = |proof: &str, role: &str| {
            let own = demo().text("estate.toml").unwrap().to_owned();
            let text = format!("{own}\n[people.zoe]\n{proof}\nroles = [\"{role}\"]\n");
            check_files(&demo().with_file("estate.toml", &text)).unwrap()
        };
        let oidc = format!("oidc = {{ issuer = \"{here}\", subject = \"1\" }}");
        let check = |proof: &str, known: KnownBy<'_>, governed: bool| {
            let found = estate(proof, "administrator").is_governed(known);
            assert_eq!(found.is_ok(), governed, "{proof} {known:?}");
            assert!(estate(proof, "operator").is_governed(known).is_err());
        };
        let at = |issuer, holders| KnownBy::Server { issuer, holders };
        let (zoe, ben) = ([String::from("zoe")], [String::from("ben")]);
        for (proof, known, governed) in [
            ("unix_uid = 1000", KnownBy::Files, true),
            ("unix_uid = 1000", at(None, &[]), true),
            (&oidc, KnownBy::Files, true),
            (&oidc, at(Some(here), &[]), true),
            (&oidc, at(Some(other), &[]), false),
            (&oidc, at(None, &[]), false),
            ("", KnownBy::Files, false),
            ("", at(None, &zoe), true),
            ("", at(None, &ben), false),
            ("", at(Some(here), &[]), false),
        ] {
            check(proof, known, governed);
        }
    }

    #[test]
    fn the_workshop_estate_holds() {
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../../estates/workshop");
        let problems = check(Path::new(dir))
            .map(|it| it.cases())
            .map_err(|problems| {
                let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
                lines.join("\n")
            });
        assert_eq!(problems, Ok(8));
    }

    #[test]
    fn tables_gate() {
        check_with(
            "templates/answer-ticket.toml",
            "approval = \"held\"",
            "approval = \"free\"",
            &[
                "tests/answer-ticket.toml:46:1: case `a refund waits for a person`: expected hold (approval_required), and the answer is allow",
            ],
        );
        check_with(
            "tests/answer-ticket.toml",
            "ticket = 1042, ",
            "",
            &[
                "tests/answer-ticket.toml:1:1: case `any ticket may be read`: the parameters do not fit: ",
            ],
        );
    }

    const ANSWER: &str = "templates/answer-ticket.toml";
    const DUTIES: &str = "policies/people/duties.cedar";

    /// A policy on people that does not fit, or would lock everybody out, is told where it stands.
    #[test]
    fn policies_on_people_gate() {
        let with = |policy: &str, expected: &str| check_with(DUTIES, "", policy, &[expected]);
        let inspect =
            "\n@id(\"x\") forbid (principal, action == Ambit::Action::\"inspect\", resource);";
        with(
            inspect,
            "policies/people/duties.cedar:2:1: no policy may forbid `inspect`; ",
        );
        with(
            "@id(\"x\") forbid (principal, action == Ambit::Action::\"start_tasks\", resource);",
            "policies/people/duties.cedar:1:39: unrecognized action `Ambit::Action::\"start_tasks\"`; did you mean",
        );
        with(
            "\n\n@id(\"x\") forbid (principal, action == Ambit::Action::\"apply_estate\", resource);",
            "policies/people/duties.cedar:3:1: nobody could put another estate in force: the policies stop every \
             administrator, `ada` by this one; ",
        );
        check_with(
            "policies/people/more/a.cedar",
            "",
            "",
            &["policies/people/more/a.cedar:1:1: nothing reads this; "],
        );
    }

    /// The demo is one person's: that is told, until a policy keeps the duties apart. Who is left then governs as before.
    #[test]
    fn who_is_alone_in_everything_is_told() {
        let warned = |policy: &str| {
            let files = demo().with_file(DUTIES, policy);
            check_files(&files).unwrap().warnings()
        };
        let told = warned("");
        assert_eq!(told.len(), 1, "{told:?}");
        let expected = "templates/answer-ticket.toml: `ada` alone can apply what it says, start it, and approve what it holds; ";
        assert!(told[0].starts_with(expected), "{told:?}");
        let apart = "@id(\"apart\") forbid (principal, action == Ambit::Action::\"decide_approval\", resource) \
                     when { context.roles.contains(\"administrator\") };";
        assert_eq!(warned(apart), Vec::<String>::new());
        let other = apart.replace("administrator", "nobody");
        assert_eq!(warned(&other), told);
    }

    /// A template for tokens that the estate does not take is no mistake that stops anything, and is told.
    #[test]
    fn a_binding_that_lets_nobody_in_is_told() {
        let template = demo().text(ANSWER).unwrap().to_owned();
        let root = demo().text("estate.toml").unwrap().to_owned();
        let warned = |tokens: &str, binding: &str| {
            let text = format!("binding = \"{binding}\"\n{template}");
            let files = demo().with_file(ANSWER, &text);
            let files = files.with_file("estate.toml", &format!("{root}\n{tokens}"));
            let told = check_files(&files).unwrap().warnings();
            told.into_iter()
                .filter(|it| it.contains("bearer"))
                .collect::<Vec<_>>()
        };
        let taken = "[tokens]\nbearer = true\n";
        for (tokens, binding) in [
            (taken, "bearer"),
            (taken, "dpop"),
            ("", "dpop"),
            ("", "mtls"),
        ] {
            assert_eq!(
                warned(tokens, binding),
                Vec::<String>::new(),
                "{tokens} {binding}"
            );
        }
        for tokens in ["", "[tokens]\nbearer = false\n"] {
            let told = warned(tokens, "bearer");
            let expected = "templates/answer-ticket.toml: `binding = \"bearer\"` lets nobody in, ";
            assert!(told.len() == 1 && told[0].starts_with(expected), "{told:?}");
        }
    }

    /// Of two administrators, one whom a policy keeps from applying does not govern, however well known.
    #[test]
    fn asi03_who_may_not_apply_does_not_govern() {
        let governed = |zoe: &str| {
            let own = demo().text("estate.toml").unwrap().to_owned();
            let text = format!(
                "{own}\n[people.zoe]\nunix_uid = 1000\nroles = [\"administrator\"]\ngroups = [\"{zoe}\"]\n\
                 [people.ben]\nroles = []\ngroups = [\"night\", \"day\"]\n"
            );
            let policy = "@id(\"x\") forbid (principal in Ambit::Group::\"night\", action == Ambit::Action::\"apply_estate\", resource);";
            let files = demo()
                .with_file("estate.toml", &text)
                .with_file(DUTIES, policy);
            check_files(&files)
                .unwrap()
                .is_governed(KnownBy::Files)
                .is_ok()
        };
        assert!(governed("day"));
        assert!(!governed("night"));
    }

    #[test]
    fn policies_gate() {
        check_with(
            "policies/guard.cedar",
            "",
            "permit(principal, action, resource",
            &["policies/guard.cedar:1:"],
        );
    }
}
