//! The operations of a workload: each is a function of the seed and its number, whichever thread does it and when.

mod payload;
pub(crate) mod random;
mod zipf;

use std::borrow::Cow;

use annals::{Expected, Version};

use self::payload::Filling;
pub(crate) use self::payload::{Identity, identity_of};
use self::random::Random;
use self::zipf::Zipf;
use crate::store::{By, NewEvent, Question};
use crate::workload::{Kind, Logged, Skew, Workload};

/// The bit in the number of an operation of the load before.
pub(crate) const PRELOAD: u64 = 1 << 62;
/// The bit in the number of an operation of the probe afterwards.
pub(crate) const PROBE: u64 = 1 << 61;
/// The bit in the number of an operation of the warm-up. Its length depends on the store, and must not move the numbers of what is measured.
pub(crate) const WARMUP: u64 = 1 << 60;
/// The bits that say of which phase an operation is.
const PHASES: u64 = PRELOAD | PROBE | WARMUP;
/// Operations of a conversation.
const CONVERSATION: u64 = 5;
/// Events of one append of the load.
const PRELOAD_BATCH: u64 = 100;
/// 1 January 2026.
const FIRST_MICROS: i64 = 1_767_225_600_000_000;
const DAY_MICROS: i64 = 86_400_000_000;
/// The types of events, the first ones more often.
const TYPES: [&str; 8] = [
    "ItemAdded",
    "ItemRemoved",
    "OrderPlaced",
    "PaymentReceived",
    "OrderShipped",
    "AddressChanged",
    "OrderCancelled",
    "RefundIssued",
];

/// An operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Its number: with the seed, it decides everything else.
    pub number: u64,
    /// Its kind.
    pub kind: Kind,
    /// The stream that it reads or appends to; empty if it does neither.
    pub stream: String,
    /// The version that the stream must have, unless it is read first.
    pub expected: Expected,
    /// The number of events that it appends.
    pub batch: u32,
}

/// Makes the operations of a workload.
#[derive(Clone, Debug)]
pub struct Generator {
    workload: Workload,
    seed: u64,
    /// The kinds, each with the sum of the weights up to it.
    kinds: Vec<(Kind, f64)>,
    zipf: Option<Zipf>,
    filling: Filling,
}

impl Generator {
    /// A generator of the operations of `workload`.
    pub fn new(workload: &Workload, seed: u64) -> Self {
        let mut sum = 0.0;
        let weighted = workload.mix.iter().filter(|(_, weight)| **weight > 0.0);
        let kinds = weighted.map(|(kind, weight)| {
            sum += weight;
            (*kind, sum)
        });
        Self {
            kinds: kinds.collect(),
            zipf: match workload.skew {
                Skew::Zipf { theta } => Some(Zipf::new(workload.data.streams, theta)),
                Skew::Uniform | Skew::Hot { .. } => None,
            },
            filling: Filling::new(&workload.payload, seed),
            workload: workload.clone(),
            seed,
        }
    }

    /// The workload.
    pub fn workload(&self) -> &Workload {
        &self.workload
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The operation `number` of the measured time, or of the warm-up if it has the bit `WARMUP`.
    pub fn operation(&self, number: u64) -> Operation {
        if let Some(logged) = self.logged(number) {
            return Operation {
                number,
                kind: Kind::Append,
                stream: logged.stream.clone(),
                expected: Expected::Any,
                batch: 1,
            };
        }
        let mut random = Random::of(self.seed, number);
        let kind = self.kind(&mut random);
        let (stream, expected) = match kind {
            Kind::Create => (new_stream_name(number), Expected::NoStream),
            Kind::Append | Kind::Cycle | Kind::Load | Kind::LoadTail => {
                (stream_name(self.stream(&mut random)), Expected::Any)
            }
            Kind::CatchUp | Kind::ByType | Kind::ByCorrelation | Kind::ByDay => (String::new(), Expected::Any),
        };
        Operation {
            number,
            kind,
            stream,
            expected,
            batch: if kind.appends() { self.workload.data.batch } else { 0 },
        }
    }

    /// The event `number` of the log that is imported.
    fn logged(&self, number: u64) -> Option<&Logged> {
        let events = &self.workload.log.as_ref()?.events;
        events.get(usize::try_from(number).ok()?)
    }

    /// The number of operations of the load before.
    pub fn preloads(&self) -> u64 {
        let data = &self.workload.data;
        data.streams * data.events_per_stream.div_ceil(PRELOAD_BATCH)
    }

    /// The operation `index` of the preload, in which streams grow one by one.
    pub fn preload(&self, index: u64) -> Operation {
        let data = &self.workload.data;
        let appends = data.events_per_stream.div_ceil(PRELOAD_BATCH).max(1);
        let (stream, part) = (index / appends, index % appends);
        let before = part * PRELOAD_BATCH;
        Operation {
            number: PRELOAD | index,
            kind: Kind::Append,
            stream: stream_name(stream),
            expected: Expected::exactly(before),
            batch: PRELOAD_BATCH.min(data.events_per_stream - before) as u32,
        }
    }

    /// The operation `index` of the final probe: an append to a new stream, which is read at once.
    pub fn probe(&self, index: u64) -> Operation {
        Operation {
            number: PROBE | index,
            kind: Kind::Create,
            stream: format!("probe-{index:08}"),
            expected: Expected::NoStream,
            batch: 2,
        }
    }

    /// The operation that has `number`, of whichever phase.
    pub(crate) fn of_number(&self, number: u64) -> Operation {
        if number & PRELOAD != 0 {
            self.preload(number & !PRELOAD)
        } else if number & PROBE != 0 {
            self.probe(number & !PROBE)
        } else {
            self.operation(number)
        }
    }

    /// The event that caused the event `ordinal` of an append: the first one of the append, or for that the first one of the append before it in the
    /// conversation. The first of all has none, nor has an event of a log that is imported.
    pub(crate) fn cause(&self, number: u64, ordinal: u32) -> Option<Identity> {
        if self.logged(number).is_some() {
            return None;
        }
        if ordinal > 0 {
            return Some(Identity { number, ordinal: 0 });
        }
        let first = number - number % CONVERSATION;
        let is_append = |before: &u64| before & PHASES == number & PHASES && self.is_append(*before);
        let before = (first..number).rev().find(is_append)?;
        Some(Identity {
            number: before,
            ordinal: 0,
        })
    }

    /// Whether the operation `number` appends.
    fn is_append(&self, number: u64) -> bool {
        number & (PRELOAD | PROBE) != 0 || self.kind(&mut Random::of(self.seed, number)).appends()
    }

    /// The version after which `load_tail` reads.
    pub(crate) fn tail_after(&self) -> Version {
        Version(
            self.workload
                .data
                .events_per_stream
                .saturating_sub(self.workload.read.tail),
        )
    }

    /// The query of operation `number`.
    pub(crate) fn question(&self, kind: Kind, number: u64) -> Question {
        // Another sequence than the one that chose the kind.
        let mut random = Random::of(self.seed ^ 0x5bd1_e995, number);
        let by = match kind {
            Kind::ByCorrelation => By::Correlation(self.asked_correlation(number, &mut random)),
            Kind::ByDay => {
                let day = random.below(u64::from(self.workload.data.days)).cast_signed();
                let first = FIRST_MICROS + day * DAY_MICROS;
                By::Time(first, first + DAY_MICROS)
            }
            Kind::Append | Kind::Create | Kind::Cycle | Kind::Load | Kind::LoadTail | Kind::CatchUp | Kind::ByType => {
                By::Type(event_type(&mut random).to_owned())
            }
        };
        Question {
            by,
            limit: self.workload.read.limit,
            is_cached: self.workload.read.cache,
        }
    }

    /// The conversation of an operation that came before, or of the load.
    fn asked_correlation(&self, number: u64, random: &mut Random) -> String {
        let preloads = self.preloads();
        let asked = if preloads > 0 {
            PRELOAD | random.below(preloads)
        } else {
            let (phase, index) = (number & WARMUP, number & !WARMUP);
            phase | random.below(index.max(1))
        };
        correlation(asked)
    }

    fn kind(&self, random: &mut Random) -> Kind {
        let sum = self.kinds.last().map_or(0.0, |(_, sum)| *sum);
        let drawn = random.unit() * sum;
        let found = self.kinds.iter().find(|(_, up_to)| drawn < *up_to);
        found.or(self.kinds.last()).map_or(Kind::Append, |(kind, _)| *kind)
    }

    fn stream(&self, random: &mut Random) -> u64 {
        let streams = self.workload.data.streams;
        match (&self.workload.skew, &self.zipf) {
            (Skew::Hot { streams: hot, share }, _) if random.unit() < *share => random.below(*hot),
            (_, Some(zipf)) => zipf.draw(random),
            (_, None) => random.below(streams),
        }
    }
}

fn stream_name(stream: u64) -> String {
    format!("stream-{stream:07}")
}

/// The stream that operation `number` creates.
fn new_stream_name(number: u64) -> String {
    match number & WARMUP {
        0 => format!("new-{number:08}"),
        _ => format!("warm-up-{:08}", number & !WARMUP),
    }
}

/// A conversation is some operations in a row.
pub(crate) fn correlation(number: u64) -> String {
    format!("conversation-{:x}", number / CONVERSATION)
}

fn event_type(random: &mut Random) -> &'static str {
    let (one, other) = (random.below(8), random.below(8));
    TYPES.get(one.min(other) as usize).copied().unwrap_or_default()
}

/// The events of one append, in buffers that the next one uses again.
#[derive(Clone, Debug, Default)]
pub struct Events {
    bytes: Vec<u8>,
    correlation: String,
    /// The causes of the first event and of the others.
    causes: [String; 2],
    parts: Vec<Part>,
}

#[derive(Clone, Debug)]
struct Part {
    event_type: Cow<'static, str>,
    micros: i64,
    end: usize,
}

impl Events {
    /// Fills the buffers with the events of `operation`.
    pub fn fill(&mut self, generator: &Generator, operation: &Operation) {
        self.bytes.clear();
        self.parts.clear();
        self.correlation.clear();
        self.causes.iter_mut().for_each(String::clear);
        if let Some(logged) = generator.logged(operation.number) {
            self.fill_logged(operation.number, logged);
            return;
        }
        self.correlation.push_str(&correlation(operation.number));
        for (cause, ordinal) in self.causes.iter_mut().zip([0, 1]) {
            if let Some(identity) = generator.cause(operation.number, ordinal) {
                cause.push_str(&identity.text());
            }
        }
        let mut random = Random::of(generator.seed ^ 0x27d4_eb2f, operation.number);
        let days = u64::from(generator.workload.data.days);
        for ordinal in 0..operation.batch {
            let event_type = event_type(&mut random);
            let day = random.below(days).cast_signed();
            let micros = FIRST_MICROS + day * DAY_MICROS + (operation.number % 86_400_000_000).cast_signed();
            let identity = Identity {
                number: operation.number,
                ordinal,
            };
            generator.filling.write(&mut self.bytes, identity, &mut random);
            self.parts.push(Part {
                event_type: Cow::Borrowed(event_type),
                micros,
                end: self.bytes.len(),
            });
        }
    }

    /// Fills the buffers with an event of a log, and adds an identity to its payload.
    fn fill_logged(&mut self, number: u64, logged: &Logged) {
        self.correlation.push_str(&logged.correlation);
        payload::wrap(&mut self.bytes, Identity { number, ordinal: 0 }, &logged.data);
        self.parts.push(Part {
            event_type: Cow::Owned(logged.event_type.clone()),
            micros: logged.micros,
            end: self.bytes.len(),
        });
    }

    /// The number of events.
    pub fn len(&self) -> usize {
        self.parts.len()
    }

    /// The bytes of their payloads.
    pub fn bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Whether there is no event.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// The event `index`.
    pub fn get(&self, index: usize) -> Option<NewEvent<'_>> {
        let part = self.parts.get(index)?;
        let before = index.checked_sub(1).and_then(|before| self.parts.get(before));
        let start = before.map_or(0, |before| before.end);
        Some(NewEvent {
            event_type: &part.event_type,
            correlation: &self.correlation,
            causation: &self.causes[index.min(1)],
            micros: part.micros,
            data: self.bytes.get(start..part.end)?,
        })
    }

    /// The events, in order.
    pub fn list(&self) -> Vec<NewEvent<'_>> {
        (0..self.len()).filter_map(|index| self.get(index)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::{Log, built_in};

    fn generator(name: &str, seed: u64) -> Generator {
        Generator::new(&Workload::parse(built_in(name).unwrap()).unwrap(), seed)
    }

    #[test]
    fn the_same_seed_gave_other_operations() {
        for name in ["reference", "session-burst", "hot-stream"] {
            let (one, other) = (generator(name, 42), generator(name, 42));
            let another = generator(name, 43);
            let (mut events, mut again) = (Events::default(), Events::default());
            let mut differ = 0;
            // The order does not matter: the second one goes backwards.
            let backwards: Vec<_> = (0..500).rev().map(|number| other.operation(number)).collect();
            for number in 0..500 {
                let operation = one.operation(number);
                assert_eq!(operation, backwards[499 - usize::try_from(number).unwrap()]);
                assert_eq!(operation, one.of_number(number));
                events.fill(&one, &operation);
                again.fill(&other, &operation);
                assert_eq!(events.list(), again.list());
                assert_eq!(one.question(Kind::ByDay, number), other.question(Kind::ByDay, number));
                again.fill(&another, &operation);
                differ += usize::from(events.list() != again.list());
            }
            assert!(differ > 50 || name == "hot-stream" && differ > 0, "{name}: {differ}");
        }
    }

    #[test]
    fn every_event_is_caused_by_the_first_append_of_its_conversation_in_the_end() {
        let text = "name = \"x\"\n[data]\nstreams = 3\nevents_per_stream = 250\nbatch = 2\n[mix]\nappend = 1\nload = 1";
        let generator = Generator::new(&Workload::parse(text).unwrap(), 1);
        let mut events = Events::default();
        let (mut roots, mut caused) = (0, 0);
        for number in (0..200)
            .chain(WARMUP..WARMUP + 50)
            .chain(PRELOAD..PRELOAD + 9)
            .chain(PROBE..PROBE + 9)
        {
            let operation = generator.of_number(number);
            if !operation.kind.appends() {
                continue;
            }
            events.fill(&generator, &operation);
            let named = events
                .list()
                .iter()
                .map(|event| event.causation.to_owned())
                .collect::<Vec<_>>();
            let own = Identity { number, ordinal: 0 }.text();
            assert!(named[1..].iter().all(|cause| *cause == own), "{named:?}");
            let cause = generator.cause(number, 0);
            assert_eq!(named[0], cause.map(Identity::text).unwrap_or_default());
            if let Some(cause) = cause {
                assert!(cause.number < number && correlation(cause.number) == correlation(number));
                assert!(generator.of_number(cause.number).kind.appends());
                caused += 1;
            } else {
                roots += 1;
            }
        }
        assert!(roots > 40 && caused > roots, "{roots} {caused}");
    }

    #[test]
    fn the_load_gives_every_stream_its_events() {
        let text = "name = \"x\"\n[data]\nstreams = 3\nevents_per_stream = 250\n[mix]\nappend = 1";
        let generator = Generator::new(&Workload::parse(text).unwrap(), 1);
        assert_eq!(generator.preloads(), 9);
        let all: Vec<_> = (0..9).map(|index| generator.preload(index)).collect();
        assert_eq!(all.iter().map(|operation| operation.batch).sum::<u32>(), 750);
        assert_eq!(all[5].stream, "stream-0000001");
        assert_eq!((all[5].batch, all[5].expected), (50, Expected::exactly(200)));
        assert_eq!(generator.of_number(all[5].number), all[5]);
    }

    #[test]
    fn a_log_is_appended_in_its_order_with_identities() {
        let logged = |number: u8| Logged {
            stream: format!("order-{}", number % 2),
            event_type: "Placed".to_owned(),
            correlation: String::new(),
            micros: i64::from(number),
            data: format!("{{\"n\":{number}}}").into_bytes(),
        };
        let log = Log {
            path: "orders.jsonl".to_owned(),
            events: std::sync::Arc::new((0..4).map(logged).collect()),
        };
        let generator = Generator::new(&Workload::import(log).unwrap(), 1);
        let mut events = Events::default();
        let operation = generator.operation(3);
        events.fill(&generator, &operation);
        let list = events.list();
        assert_eq!(
            (operation.stream.as_str(), list[0].event_type, list[0].micros),
            ("order-1", "Placed", 3)
        );
        assert_eq!(identity_of(list[0].data).unwrap().number, 3);
        let value: serde_json::Value = serde_json::from_slice(list[0].data).unwrap();
        assert_eq!(value["data"]["n"], 3);
        assert!(Workload::import(Log::default()).is_err());
    }

    #[test]
    fn kinds_are_mixed_by_weight() {
        let generator = generator("reference", 7);
        let appends = (0..10_000)
            .filter(|number| generator.operation(*number).kind == Kind::Append)
            .count();
        assert!((5_800..6_200).contains(&appends), "{appends}");
    }
}
