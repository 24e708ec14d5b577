//! What happens in a cloud that sends bills: runs of workflows, invoices and payments, sessions, contracts.

use annals::{Name, StreamId};

use crate::demo::World;
use crate::demo::random::Random;
use crate::demo::story::{Moment, Step, Story};

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const REGIONS: [&str; 4] = ["eu-west", "eu-north", "us-east", "ap-south"];
const RESOURCE_KINDS: [&str; 4] = ["vm.small", "vm.large", "gpu.a", "volume"];
const FAILURES: [&str; 4] = [
    "quota exceeded",
    "image not found",
    "out of capacity",
    "health check failed",
];
const DECLINES: [&str; 3] = ["card expired", "insufficient funds", "bank unreachable"];
const PLANS: [&str; 3] = ["team", "business", "enterprise"];
const SETTINGS: [&str; 4] = ["budget alert", "default region", "two-factor login", "billing address"];

fn organization_name(organization: u64) -> Name {
    format!("org-{organization:03}").into()
}

/// An organization joins, with its first user.
pub(crate) fn onboarding(world: &mut World, random: &mut Random, at: Moment, organization: u64) -> Story {
    let mut story = world.story(random, "onboarding", organization, "console");
    let account = StreamId::new("Organization", organization_name(organization));
    let user = world.user_of(organization, 0);
    let plan = random.pick(&PLANS);
    let name = format!(r#"{{"name":"Organization {organization}","plan":"{plan}"}}"#);
    let at = story.tell(random, at, Step::new(&account, "OrganizationCreated", name).by(&user));
    let at = at.later(random, 1, 20);
    register(&mut story, random, at, &user);
    story
}

fn register(story: &mut Story, random: &mut Random, at: Moment, user: &str) -> Moment {
    let stream = StreamId::new("User", user);
    let data = format!(r#"{{"email":"{user}@example.com"}}"#);
    let at = story.tell(random, at, Step::new(&stream, "UserRegistered", data).by(user));
    let at = at.later(random, 20, 10 * MINUTE);
    story.tell(
        random,
        at,
        Step::new(&stream, "EmailConfirmed", "{}".to_owned()).by(user),
    )
}

/// A workflow runs: resources come, are used, sometimes fail, and go.
pub(crate) fn run(world: &mut World, random: &mut Random, at: Moment, organization: u64) -> Story {
    let source = random.pick(&["api", "console", "scheduler"]);
    let mut story = world.story(random, "run", organization, source);
    let workflow = StreamId::new("Workflow", format!("workflow-{organization:03}-{}", random.skewed(12)));
    let user = world.user(random, organization);
    let region = random.pick(&REGIONS);
    let resources = random.between(1, 3);
    let data = format!(
        r#"{{"region":"{region}","resources":{resources},"priority":{}}}"#,
        random.between(1, 5)
    );
    let started = story.tell(
        random,
        at,
        Step::new(&workflow, "WorkflowStarted", data).by(&user).tag(region),
    );
    let (mut end, mut cost, mut failed) = (started, 0, false);
    for _ in 0..resources {
        let stream = StreamId::new("Resource", world.serial("resource"));
        let usage = use_resource(&mut story, random, started, &stream, region);
        cost += usage.cost;
        failed |= usage.failed;
        if usage.end.time > end.time {
            end = usage.end;
        }
    }
    let end = end.later(random, 1, 30);
    let (event_type, tag) = if failed {
        ("WorkflowFailed", "failure")
    } else {
        ("WorkflowCompleted", region)
    };
    let data = format!(r#"{{"costCents":{cost},"region":"{region}"}}"#);
    let end = story.tell(random, end, Step::new(&workflow, event_type, data).tag(tag));
    if failed && random.chance(60) {
        let retry = end.later(random, MINUTE, 40 * MINUTE);
        let data = r#"{"reason":"retry after failure"}"#.to_owned();
        story.tell(
            random,
            retry,
            Step::new(&workflow, "WorkflowRetried", data).by(&user).tag("retry"),
        );
    }
    story
}

struct Usage {
    end: Moment,
    cost: u64,
    failed: bool,
}

fn use_resource(story: &mut Story, random: &mut Random, at: Moment, stream: &StreamId, region: &str) -> Usage {
    let kind = random.pick(&RESOURCE_KINDS);
    let at = at.later(random, 2, 90);
    let data = format!(r#"{{"kind":"{kind}","region":"{region}"}}"#);
    let provisioned = story.tell(random, at, Step::new(stream, "ResourceProvisioned", data).tag(region));
    if random.chance(4) {
        let data = format!(r#"{{"kind":"{kind}","reason":"{}"}}"#, random.pick(&FAILURES));
        let at = provisioned.later(random, 1, 10 * MINUTE);
        let end = story.tell(random, at, Step::new(stream, "ResourceFailed", data).tag("failure"));
        return Usage {
            end,
            cost: 0,
            failed: true,
        };
    }
    let (mut last, mut cost) = (provisioned, 0);
    for _ in 0..random.between(1, 3) {
        let seconds = random.between(30, 1_800);
        let cents = seconds * random.between(1, 9) / 60 + 1;
        let data = format!(r#"{{"kind":"{kind}","seconds":{seconds},"costCents":{cents}}}"#);
        let at = Moment {
            cause: provisioned.cause,
            ..last.later(random, MINUTE, 30 * MINUTE)
        };
        last = story.tell(random, at, Step::new(stream, "UsageRecorded", data).tag(region));
        cost += cents;
    }
    let at = Moment {
        cause: provisioned.cause,
        ..last.later(random, 1, 5 * MINUTE)
    };
    let data = format!(r#"{{"kind":"{kind}","costCents":{cost}}}"#);
    let end = story.tell(random, at, Step::new(stream, "ResourceReleased", data).tag(region));
    Usage {
        end,
        cost,
        failed: false,
    }
}

/// An invoice is written, sent and, mostly, paid.
pub(crate) fn billing(world: &mut World, random: &mut Random, at: Moment, organization: u64) -> Story {
    let mut story = world.story(random, "billing", organization, "scheduler");
    let invoice = StreamId::new("Invoice", world.serial("invoice"));
    let amount = random.between(1_900, 990_000);
    let data = format!(
        r#"{{"amountCents":{amount},"currency":"EUR","lines":{}}}"#,
        random.between(1, 40)
    );
    let drafted = story.tell(random, at, Step::new(&invoice, "InvoiceDrafted", data));
    let at = drafted.later(random, 5, 5 * MINUTE);
    let data = format!(r#"{{"amountCents":{amount},"currency":"EUR","dueDays":14}}"#);
    let issued = story.tell(random, at, Step::new(&invoice, "InvoiceIssued", data));
    let payment = StreamId::new("Payment", world.serial("payment"));
    let user = world.user(random, organization);
    if let Some(paid) = pay(&mut story, random, issued, &payment, (&user, amount)) {
        let at = paid.later(random, 1, 30);
        let data = format!(r#"{{"amountCents":{amount},"payment":"{}"}}"#, payment.aggregate_id);
        story.tell(random, at, Step::new(&invoice, "InvoicePaid", data).tag("settled"));
    } else {
        let at = issued.later(random, 3 * DAY, 5 * DAY);
        let data = format!(r#"{{"amountCents":{amount},"reminder":1}}"#);
        story.tell(random, at, Step::new(&invoice, "InvoiceOverdue", data).tag("overdue"));
    }
    story
}

/// Tries to pay up to three times.
fn pay(
    story: &mut Story,
    random: &mut Random,
    issued: Moment,
    payment: &StreamId,
    (user, amount): (&str, u64),
) -> Option<Moment> {
    let method = random.pick(&["card", "transfer", "wallet"]);
    let data = format!(r#"{{"amountCents":{amount},"method":"{method}"}}"#);
    let at = issued.later(random, MINUTE, 2 * DAY);
    let mut last = story.tell(
        random,
        at,
        Step::new(payment, "PaymentRequested", data).by(user).tag(method),
    );
    for attempt in 1..=3 {
        let at = last.later(random, 1, HOUR);
        if random.chance(88) {
            let data = format!(r#"{{"amountCents":{amount},"method":"{method}","attempt":{attempt}}}"#);
            return Some(story.tell(random, at, Step::new(payment, "PaymentReceived", data).tag(method)));
        }
        let data = format!(r#"{{"reason":"{}","attempt":{attempt}}}"#, random.pick(&DECLINES));
        last = story.tell(random, at, Step::new(payment, "PaymentFailed", data).tag("failure"));
        last = last.later(random, HOUR, 8 * HOUR);
    }
    None
}

/// Somebody looks around, and may change something.
pub(crate) fn session(world: &mut World, random: &mut Random, at: Moment, organization: u64) -> Story {
    let mut story = world.story(random, "session", organization, "console");
    let user = world.user(random, organization);
    let stream = StreamId::new("User", user.clone());
    let first = random.chance(6);
    let at = if first {
        register(&mut story, random, at, &user).later(random, 1, MINUTE)
    } else {
        at
    };
    let mut last = story.tell(
        random,
        at,
        Step::new(&stream, "UserLoggedIn", "{}".to_owned()).by(&user),
    );
    for _ in 0..random.below(3) {
        let at = last.later(random, 10, 15 * MINUTE);
        let data = format!(r#"{{"setting":"{}"}}"#, random.pick(&SETTINGS));
        last = story.tell(random, at, Step::new(&stream, "SettingChanged", data).by(&user));
    }
    let at = last.later(random, MINUTE, HOUR);
    story.tell(
        random,
        at,
        Step::new(&stream, "UserLoggedOut", "{}".to_owned()).by(&user),
    );
    story
}

/// A contract changes.
pub(crate) fn contract(world: &mut World, random: &mut Random, at: Moment, organization: u64) -> Story {
    let mut story = world.story(random, "contract", organization, "console");
    let account = StreamId::new("Organization", organization_name(organization));
    let user = world.user_of(organization, 0);
    let data = format!(r#"{{"plan":"{}"}}"#, random.pick(&PLANS));
    let at = story.tell(random, at, Step::new(&account, "PlanChanged", data).by(&user));
    let at = at.later(random, 5, 5 * MINUTE);
    let data = format!(r#"{{"cores":{}}}"#, random.between(2, 64) * 8);
    story.tell(random, at, Step::new(&account, "QuotaRaised", data));
    story
}

/// The prices of a region change: nobody's conversation.
pub(crate) fn prices(random: &mut Random, at: Moment) -> Story {
    let region = random.pick(&REGIONS);
    let mut story = Story {
        correlation: None,
        organization: None,
        metadata: r#"{"source":"scheduler"}"#.to_owned(),
        entries: Vec::new(),
    };
    let list = StreamId::new("PriceList", format!("prices-{region}"));
    let data = format!(
        r#"{{"kind":"{}","centsPerMinute":{}}}"#,
        random.pick(&RESOURCE_KINDS),
        random.between(1, 9)
    );
    story.tell(random, at, Step::new(&list, "PriceChanged", data).tag(region));
    story
}

/// The names of things.
impl World {
    fn story(&mut self, random: &mut Random, kind: &'static str, organization: u64, source: &str) -> Story {
        let metadata = if source == "console" {
            let address = [random.below(256), random.below(256), random.between(1, 254)];
            format!(
                r#"{{"source":"{source}","ip":"10.{}.{}.{}"}}"#,
                address[0], address[1], address[2]
            )
        } else {
            format!(r#"{{"source":"{source}"}}"#)
        };
        Story {
            correlation: Some(self.serial(kind)),
            organization: Some(organization_name(organization)),
            metadata,
            entries: Vec::new(),
        }
    }

    fn user(&self, random: &mut Random, organization: u64) -> Name {
        self.user_of(organization, random.skewed(self.users_per_organization))
    }

    #[expect(clippy::unused_self, reason = "names are the world's to give")]
    fn user_of(&self, organization: u64, index: u64) -> Name {
        format!("user-{organization:03}-{index}").into()
    }
}
