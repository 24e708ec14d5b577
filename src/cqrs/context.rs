//! Who acts, and why: what events carry beside their data.

use crate::{Event, Name, NewEvent};

/// Who acts, for which organization, in which conversation, and because of what. Events that are appended with a context carry it.
///
/// The store checks the names when a command appends events: a name that is empty or too long is [`Error::Invalid`](crate::Error::Invalid) then.
///
/// ```
/// use annals::cqrs::Context;
///
/// let context = Context::new().user("anna").correlation("checkout-9");
/// assert_eq!(context.user.as_deref(), Some("anna"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Context {
    /// Who acts.
    pub user: Option<Name>,
    /// For which organization.
    pub organization: Option<Name>,
    /// The conversation.
    pub correlation: Option<Name>,
    /// The event or command that is the cause.
    pub causation: Option<Name>,
}

impl Context {
    /// An empty context.
    pub fn new() -> Self {
        Self::default()
    }

    /// The context of what follows from an event: its user, organization and conversation, with the event as the cause.
    ///
    /// An event without a correlation begins a conversation, which is named after the event's id.
    pub fn caused_by(event: &Event) -> Self {
        let id = || Name::from(event.id().hyphenated().to_string());
        Self {
            user: event.user_id().map(Name::from),
            organization: event.organization_id().map(Name::from),
            correlation: Some(event.correlation_id().map_or_else(id, Name::from)),
            causation: Some(id()),
        }
    }

    /// Sets the user.
    #[must_use]
    pub fn user(mut self, id: impl Into<Name>) -> Self {
        self.user = Some(id.into());
        self
    }

    /// Sets the organization.
    #[must_use]
    pub fn organization(mut self, id: impl Into<Name>) -> Self {
        self.organization = Some(id.into());
        self
    }

    /// Sets the conversation.
    #[must_use]
    pub fn correlation(mut self, id: impl Into<Name>) -> Self {
        self.correlation = Some(id.into());
        self
    }

    /// Sets the cause.
    #[must_use]
    pub fn causation(mut self, id: impl Into<Name>) -> Self {
        self.causation = Some(id.into());
        self
    }

    /// Writes the context to an event.
    pub(super) fn apply(&self, event: &mut NewEvent<'_>) {
        let copy = |name: &Option<Name>| name.as_deref().map(|name| name.to_owned().into());
        event.user_id = copy(&self.user);
        event.organization_id = copy(&self.organization);
        event.correlation_id = copy(&self.correlation);
        event.causation_id = copy(&self.causation);
    }
}
