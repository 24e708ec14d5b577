//! The context of a command: user, organization, correlation and causation.

use std::borrow::Cow;

use crate::{Event, Name, NewEvent};

/// The user, organization, correlation and causation of a command; its events carry them.
///
/// The store validates the names when a command appends events: an empty or too long name is an [`Error::Invalid`](crate::Error::Invalid).
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
    /// The user that acts.
    pub user: Option<Name>,
    /// The organization that the user acts for.
    pub organization: Option<Name>,
    /// The correlation id: the conversation that the events belong to.
    pub correlation: Option<Name>,
    /// The causation id: the event or command that caused the events.
    pub causation: Option<Name>,
}

impl Context {
    /// An empty context.
    pub fn new() -> Self {
        Self::default()
    }

    /// The context for reactions to an event: its user, organization and correlation, with the event's id as the causation.
    ///
    /// If the event has no correlation, its id becomes the correlation.
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

    /// Sets the correlation id.
    #[must_use]
    pub fn correlation(mut self, id: impl Into<Name>) -> Self {
        self.correlation = Some(id.into());
        self
    }

    /// Sets the causation id.
    #[must_use]
    pub fn causation(mut self, id: impl Into<Name>) -> Self {
        self.causation = Some(id.into());
        self
    }

    /// Writes the context to an event, and replaces the context that it has.
    pub(super) fn apply(&self, event: &mut NewEvent<'_>) {
        copy(self.user.as_deref(), &mut event.user_id);
        copy(self.organization.as_deref(), &mut event.organization_id);
        copy(self.correlation.as_deref(), &mut event.correlation_id);
        copy(self.causation.as_deref(), &mut event.causation_id);
    }
}

#[inline]
fn copy(name: Option<&str>, to: &mut Option<Cow<'_, str>>) {
    if name.is_some() || to.is_some() {
        *to = name.map(|name| name.to_owned().into());
    }
}
