//! Streams of other programs, and messages of other programs in a stream of ours.

use annals::{Error, Expected, NewEvent};
use async_nats::jetstream::{self, stream};

use crate::{new_url, open, order, server};

/// Runs `act` with a client of its own.
fn with_client<F: Future<Output = ()>>(act: impl FnOnce(jetstream::Context) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let client = async_nats::connect(server()).await.unwrap();
        act(jetstream::new(client)).await;
    });
}

fn name(url: &str) -> String {
    url.rsplit('/').next().unwrap().to_owned()
}

#[test]
fn a_message_of_another_program_was_an_event() {
    let url = new_url();
    let store = open(&url);
    store
        .append(&order("a"), Expected::Any, vec![NewEvent::new("Placed")])
        .unwrap();
    store.close().unwrap();
    let subject = format!("{}.a", name(&url));
    with_client(|context| async move {
        let sent = context.publish(subject, "hello".into()).await.unwrap();
        sent.await.unwrap();
    });
    let error = annals_jetstream::open(&url).expect_err("it is no event");
    let text = error.to_string();
    assert!(
        text.contains("message 2") && text.contains("is not an append of Annals"),
        "{error:?}"
    );
}

#[test]
fn a_stream_that_loses_events_was_a_store() {
    type Change = fn(&mut stream::Config);
    let changes: [(&str, Change); 8] = [
        ("max_age", |config| {
            config.max_age = std::time::Duration::from_secs(3600);
        }),
        ("storage", |config| config.storage = stream::StorageType::Memory),
        ("max_msgs", |config| config.max_messages = 10),
        ("max_msgs_per_subject", |config| config.max_messages_per_subject = 1),
        ("discard", |config| {
            config.max_bytes = 1 << 20;
            config.discard = stream::DiscardPolicy::Old;
        }),
        ("allow_rollup_hdrs", |config| {
            config.allow_rollup = true;
            config.deny_purge = false;
        }),
        ("deny_delete", |config| config.deny_delete = false),
        ("other subjects", |config| {
            config.subjects = vec![format!("{}.>", config.name)];
        }),
    ];
    for (what, change) in changes {
        let url = new_url();
        let mut config = stream::Config {
            name: name(&url),
            subjects: vec![format!("{}.*", name(&url))],
            deny_delete: true,
            deny_purge: true,
            ..stream::Config::default()
        };
        change(&mut config);
        with_client(|context| async move {
            context.create_stream(config).await.unwrap();
        });
        let error = annals_jetstream::open(&url).expect_err(what);
        assert!(matches!(error, Error::Unreadable { .. }), "{what}: {error:?}");
        assert!(error.to_string().contains(what), "{what}: {error}");
    }
}
