//! The entities that policies see. A task's store is built once and read at every act.
//!
//! A store is a function of the estate in force and of [`Who`], both of which the record names, so that
//! a decision can be derived again without the task.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use ambit_core::{
    AgentName, PersonId, TaskId, TemplateName,
    estate::{Agent, Estate, Server, Template, Tool},
};
use cedar_policy::{
    Entities, Entity, EntityAttrEvaluationError, EntityUid, RestrictedExpression, Schema,
    entities_errors::EntitiesError,
};

use crate::vocabulary::{Vocabulary, uid};

/// Who acts, as far as policies see it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Who {
    pub(crate) task: TaskId,
    pub(crate) agent: AgentName,
    pub(crate) template: TemplateName,
    pub(crate) subject: PersonId,
    pub(crate) contained: String,
}

/// The entities that all tasks of one template share, by template.
#[derive(Debug)]
pub(crate) struct SharedEntities {
    by_template: BTreeMap<TemplateName, Entities>,
    /// For a template that the estate lacks.
    nothing: Entities,
}

/// The entities of a task could not be built.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EntityError {
    #[error("an attribute of an entity can't be evaluated")]
    Attribute(#[source] Box<EntityAttrEvaluationError>),
    #[error("the entities do not fit the schema")]
    Store(#[source] Box<EntitiesError>),
}

impl From<EntityAttrEvaluationError> for EntityError {
    fn from(cause: EntityAttrEvaluationError) -> Self {
        Self::Attribute(Box::new(cause))
    }
}

impl From<EntitiesError> for EntityError {
    fn from(cause: EntitiesError) -> Self {
        Self::Store(Box::new(cause))
    }
}

impl SharedEntities {
    pub(crate) fn build(
        estate: &Estate,
        schema: &Schema,
        vocabulary: &Vocabulary,
    ) -> Result<Self, EntityError> {
        let mut by_template = BTreeMap::new();
        for template in estate.templates.values() {
            let entities = of_template(estate, template, vocabulary)?;
            let store = Entities::from_entities(entities, Some(schema))?;
            by_template.insert(template.name.clone(), store);
        }
        let nothing = Entities::from_entities([], Some(schema))?;
        Ok(Self {
            by_template,
            nothing,
        })
    }

    /// Returns the store of one task. The shared entities in it are shared, not copied.
    pub(crate) fn with_task(
        &self,
        who: &Who,
        schema: &Schema,
        vocabulary: &Vocabulary,
    ) -> Result<Entities, EntityError> {
        let shared = self.by_template.get(&who.template).unwrap_or(&self.nothing);
        let agent = uid(&vocabulary.agent, who.agent.as_str());
        let template = uid(&vocabulary.template, who.template.as_str());
        let person = uid(&vocabulary.person, &who.subject.to_string());
        let attributes = [
            ("agent", RestrictedExpression::new_entity_uid(agent.clone())),
            (
                "template",
                RestrictedExpression::new_entity_uid(template.clone()),
            ),
            (
                "on_behalf_of",
                RestrictedExpression::new_entity_uid(person.clone()),
            ),
            ("containment", text(&who.contained)),
        ];
        let task = entity(
            uid(&vocabulary.task, &who.task.to_string()),
            attributes,
            HashSet::from([agent, template]),
        )?;
        let person = Entity::new_no_attrs(person, HashSet::new());
        Ok(shared.clone().add_entities([task, person], Some(schema))?)
    }
}

fn of_template(
    estate: &Estate,
    template: &Template,
    vocabulary: &Vocabulary,
) -> Result<Vec<Entity>, EntityError> {
    let own = [
        ("owner", text(&template.owner)),
        (
            "version",
            RestrictedExpression::new_long(template.version.into()),
        ),
    ];
    let name = uid(&vocabulary.template, template.name.as_str());
    let mut entities = vec![entity(name, own, HashSet::new())?];
    let mut endpoints = BTreeSet::new();
    for agent in estate.agents.values() {
        if agent.templates.contains(&template.name) || agent.parts_of.contains(&template.name) {
            entities.push(of_agent(agent, vocabulary)?);
            endpoints.extend(&agent.model_endpoints);
        }
    }
    for endpoint in endpoints {
        let attributes = [
            ("host", text(&endpoint.host)),
            ("port", RestrictedExpression::new_long(endpoint.port.into())),
        ];
        let name = uid(&vocabulary.endpoint, &endpoint.to_string());
        entities.push(entity(name, attributes, HashSet::new())?);
    }
    let named = template.tools.keys().map(|(server, _)| server);
    let touched: BTreeSet<_> = template.reads.iter().chain(named).collect();
    for server in touched.into_iter().filter_map(|it| estate.servers.get(it)) {
        entities.push(of_server(server, vocabulary)?);
        for tool in server.tools.values() {
            entities.push(of_tool(server, tool, vocabulary)?);
        }
    }
    Ok(entities)
}

fn of_agent(agent: &Agent, vocabulary: &Vocabulary) -> Result<Entity, EntityError> {
    let attributes = [
        ("owner", text(&agent.owner)),
        ("risk", text(agent.risk.as_str())),
        ("environment", text(&agent.environment)),
    ];
    entity(
        uid(&vocabulary.agent, agent.name.as_str()),
        attributes,
        HashSet::new(),
    )
}

fn of_server(server: &Server, vocabulary: &Vocabulary) -> Result<Entity, EntityError> {
    let attributes = [
        ("owner", text(&server.owner)),
        ("environment", text(&server.environment)),
    ];
    entity(
        uid(&vocabulary.server, server.name.as_str()),
        attributes,
        HashSet::new(),
    )
}

fn of_tool(server: &Server, tool: &Tool, vocabulary: &Vocabulary) -> Result<Entity, EntityError> {
    let parent = uid(&vocabulary.server, server.name.as_str());
    let labels = tool.result_labels.iter().map(|it| text(it.as_str()));
    let attributes = [
        (
            "server",
            RestrictedExpression::new_entity_uid(parent.clone()),
        ),
        ("mode", text(tool.mode.as_str())),
        ("effect", text(tool.effect.as_str())),
        ("result_labels", RestrictedExpression::new_set(labels)),
        ("result_trust", text(tool.result_trust.as_str())),
    ];
    let name = format!("{}/{}", server.name, tool.name);
    entity(
        uid(&vocabulary.tool, &name),
        attributes,
        HashSet::from([parent]),
    )
}

fn entity<const N: usize>(
    name: EntityUid,
    attributes: [(&str, RestrictedExpression); N],
    parents: HashSet<EntityUid>,
) -> Result<Entity, EntityError> {
    let attributes: HashMap<_, _> = attributes
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect();
    Ok(Entity::new(name, attributes, parents)?)
}

/// Returns a text as policies see it.
pub(crate) fn text(value: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(value.to_owned())
}
