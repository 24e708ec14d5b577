//! Commands and queries without their types: JSON in, JSON out.

use std::sync::Arc;

use annals::cqrs::{Bus, BusError, BusKind, Context, Message, Sender};
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::Failure;
use crate::problem::{Kind, Problem};

/// A message that clients send.
#[derive(Clone)]
pub(crate) struct Route {
    send: Arc<Send>,
    /// Whether the message gets an id, by which its handler recognizes a repetition.
    pub(crate) takes_id: bool,
}

type Send = dyn Fn(&[u8], Option<Uuid>, &Context) -> Result<Vec<u8>, Problem> + std::marker::Send + Sync;

impl Route {
    /// The route of messages of type `M`. `with_id` gives a message its id.
    ///
    /// # Errors
    ///
    /// [`BusError`] if the message has no handler.
    pub(super) fn new<K: BusKind, M>(
        bus: &Bus<K>,
        takes_id: bool,
        with_id: impl Fn(&mut M, Uuid) + std::marker::Send + Sync + 'static,
    ) -> Result<Self, BusError>
    where
        M: Message<Bus = Bus<K>, Reply: Serialize, Error: Into<Failure>> + DeserializeOwned,
    {
        let sender = bus.sender::<M>()?;
        let send = move |body: &[u8], id: Option<Uuid>, context: &Context| {
            let mut message = parse::<M>(body)?;
            if let Some(id) = id {
                with_id(&mut message, id);
            }
            dispatch(&sender, &message, context)
        };
        Ok(Self {
            send: Arc::new(send),
            takes_id,
        })
    }

    /// Sends the message of a body, and returns the reply as JSON.
    ///
    /// # Errors
    ///
    /// A [`Problem`] if the body is no such message, or its handler fails.
    pub(crate) fn send(&self, body: &[u8], id: Option<Uuid>, context: &Context) -> Result<Vec<u8>, Problem> {
        (self.send)(body, id, context)
    }
}

fn parse<M: DeserializeOwned>(body: &[u8]) -> Result<M, Problem> {
    serde_json::from_slice(body).map_err(|error| Problem::invalid(format!("the body is invalid: {error}")))
}

fn dispatch<K: BusKind, M>(sender: &Sender<M>, message: &M, context: &Context) -> Result<Vec<u8>, Problem>
where
    M: Message<Bus = Bus<K>, Reply: Serialize, Error: Into<Failure>>,
{
    let reply = sender.send(message, context).map_err(|error| Failure::from(error).0)?;
    serde_json::to_vec(&reply).map_err(|_| {
        let detail = format!(
            "the reply to '{}' cannot be written as JSON: the handler has run",
            M::NAME
        );
        Problem::new(Kind::Internal, detail)
    })
}
