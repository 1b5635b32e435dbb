//! Listings: tools from what their owners accepted, the rest from the servers, each decided.

use std::collections::BTreeMap;

use ambit_core::{
    Reason, ServerName,
    act::{Act, Listing},
    estate::Estate,
    json::{self, Value},
};
use ambit_engine::{EngineError, Offer, Offers};
use tokio::task::JoinSet;

use super::{
    acts::Door,
    bridge,
    downstream::{Visit, listing_method},
    era::Era,
    local,
    perform::{Conclusion, Wishes, perform},
    refusal::Refusal,
    wire::{INVALID_PARAMS, Request, RpcError},
};

/// Answers `tools/list`: the accepted definitions of the tools that the task could call.
///
/// An agent whose task is over sees what it saw before, so that its model is told so by the next call.
///
/// # Errors
/// The task is not live and showed nothing before, or it was not given the door's server.
pub(super) async fn tools(visit: &Visit, era: Era, request: &Request) -> Result<Value, RpcError> {
    if request.params.keys().any(|it| it != "_meta") {
        return Err(RpcError::new(
            INVALID_PARAMS,
            "the list is whole; it takes no cursor",
        ));
    }
    let offers = match live(visit, request).await {
        Ok(offers) => offers,
        Err(error) => last_shown(visit, &error).ok_or(error)?,
    };
    let Ok(book) = visit.doors.handle.book() else {
        return Err(Refusal::engine(&EngineError::NoEstate).to_error(&visit.doors.links));
    };
    let mut members = BTreeMap::from([(
        "tools".to_owned(),
        Value::Array(definitions(visit, book.estate(), &offers)),
    )]);
    if era == Era::Modern {
        bridge::complete(&mut members, true);
    }
    Ok(Value::Object(members))
}

async fn live(visit: &Visit, request: &Request) -> Result<Vec<Offer>, RpcError> {
    let offers = local::offers(visit, &request.method).await?;
    // A tool that changed is no longer shown once its server was asked.
    local::warm(visit, &offers).await;
    let offers = local::offers(visit, &request.method).await?;
    let instance = visit.caller.instance();
    visit.doors.last_shown.keep(instance, &offers.servers);
    Ok(offers.servers)
}

/// Returns what an agent saw before its task ended. That it asked again is recorded as refused.
fn last_shown(visit: &Visit, error: &RpcError) -> Option<Vec<Offer>> {
    let code = error.data.as_ref().and_then(|it| it.get("code")?.as_str());
    if code != Some(Reason::TaskEnded.code()) {
        return None;
    }
    visit.doors.last_shown.of(visit.caller.instance())
}

/// Returns the names of the tools that the door shows, so that a stream can tell when they change.
pub(super) fn shown(visit: &Visit, offers: &Offers) -> Vec<String> {
    let through = offers
        .servers
        .iter()
        .filter(|it| leads_to(&visit.door, &it.server));
    through
        .flat_map(|it| {
            it.tools
                .iter()
                .map(|tool| bridge::joined(&it.server, tool.as_str()))
        })
        .collect()
}

/// Answers a listing at the door with many servers: each server's is decided for itself.
///
/// # Errors
/// No server gave any, and this is the first one's reason.
pub(super) async fn of_all(
    visit: &Visit,
    what: Listing,
    wishes: &Wishes,
) -> Result<Value, RpcError> {
    let offers = local::offers(visit, "resources/list").await?;
    let mut running = JoinSet::new();
    for (place, offer) in offers.servers.iter().enumerate() {
        let (visit, act) = (
            visit.clone(),
            Act::List {
                server: offer.server.clone(),
                what,
            },
        );
        let wishes = Wishes {
            notices: None,
            method: listing_method(what),
            ..*wishes
        };
        running.spawn(async move {
            let never = std::future::pending();
            (
                place,
                perform(&visit.doors, &visit.caller, act, &wishes, never).await,
            )
        });
    }
    let mut found = BTreeMap::new();
    let mut first_error = None;
    while let Some(joined) = running.join_next().await {
        let Ok((place, conclusion)) = joined else {
            continue;
        };
        match conclusion {
            Conclusion::Done(text) => {
                found.insert(place, text);
            }
            Conclusion::Error(error) => first_error = first_error.or(Some(error)),
            Conclusion::Refused(refusal) => {
                first_error = first_error.or_else(|| Some(refusal.to_error(&visit.doors.links)))
            }
        }
    }
    match (found.is_empty(), first_error) {
        (true, Some(error)) => Err(error),
        _ => Ok(joined(found.into_values(), what, wishes.era)),
    }
}

fn joined(texts: impl Iterator<Item = String>, what: Listing, era: Era) -> Value {
    let member = match what {
        Listing::Resources => "resources",
        Listing::ResourceTemplates => "resourceTemplates",
        Listing::Prompts => "prompts",
    };
    let mut items = Vec::new();
    for text in texts {
        if let Ok(Value::Object(mut members)) = json::parse(text.as_bytes())
            && let Some(Value::Array(more)) = members.remove(member)
        {
            items.extend(more);
        }
    }
    let mut members = BTreeMap::from([(member.to_owned(), Value::Array(items))]);
    if era == Era::Modern {
        bridge::complete(&mut members, true);
    }
    Value::Object(members)
}

fn definitions(visit: &Visit, estate: &Estate, offers: &[Offer]) -> Vec<Value> {
    let mut definitions = Vec::new();
    for offer in offers.iter().filter(|it| leads_to(&visit.door, &it.server)) {
        for name in &offer.tools {
            let Some(tool) = estate.tool(&offer.server, name) else {
                continue;
            };
            let mut definition = tool.definition.clone();
            if visit.door == Door::All {
                bridge::rename_name(&mut definition, &offer.server);
            }
            definitions.push(definition);
        }
    }
    definitions
}

fn leads_to(door: &Door, server: &ServerName) -> bool {
    match door {
        Door::One(only) => only == server,
        Door::All => true,
    }
}
