//! What happens, in order, and whether anything failed that should not have.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::audience::{Audience, shares};
use crate::town::{CART_V1_B, INSTANCES, Instance, SHOP, Town};
use crate::traffic::{Failure, Traffic};

/// From a program's start until the shop must have answered.
const OPEN_MAX: Duration = Duration::from_secs(10);
/// After an instance was killed, what it was carrying has failed by then.
const CARRIED: Duration = Duration::from_secs(1);
/// A push must be in effect by then.
const EFFECT_MAX: Duration = Duration::from_secs(15);
/// How long the figures are shown between two steps, unattended.
const PAUSE: Duration = Duration::from_secs(4);
/// Between two looks at something that is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Over so long the split between versions is measured.
const SPLIT_OVER: Duration = Duration::from_millis(1500);
/// How many standard deviations it may be from what was asked for.
const SPLIT_DEVIATIONS: f64 = 4.0;

/// Failures that are in order: what happened, when, and which ones.
#[derive(Debug)]
struct Excuse {
    from: Instant,
    until: Instant,
    /// Only these; all in that time if empty.
    only: &'static [&'static str],
    because: &'static str,
}

/// Where the story is.
#[derive(Debug)]
struct Story {
    town: Town,
    audience: Audience,
    traffic: Arc<Traffic>,
    excuses: Vec<Excuse>,
}

/// Tells it to the end.
pub(super) async fn tell(mut town: Town, audience: Audience, rate: u32) -> Result<(), String> {
    open(&mut town, &audience).await?;
    let traffic = Traffic::start(town.entrance(), rate);
    let mut story = Story { town, audience, traffic, excuses: Vec::new() };
    story.pause("shift 10 % of the calls to cart to its second version").await?;
    story.shift(10).await?;
    story.pause("shift 50 %").await?;
    story.shift(50).await?;
    story.pause("kill one of the three instances of cart").await?;
    story.lose_an_instance().await?;
    story.pause("kill the control plane and delete the store").await?;
    story.lose_everything().await?;
    story.pause("bring them back").await?;
    story.recover().await?;
    story.pause("end it all").await?;
    story.sum_up().await
}

async fn open(town: &mut Town, audience: &Audience) -> Result<(), String> {
    let start = Instant::now();
    audience.say(
        "A control plane on a folder, a shop, a cart in two versions, and a sidecar beside each instance.",
    );
    town.start_control_plane().await?;
    town.apply(&["mesh.yaml", "canary-0.yaml"]).await?;
    town.published().await?;
    for instance in INSTANCES {
        town.start_instance(instance).await?;
    }
    loop {
        town.check()?;
        match Traffic::try_once(town.entrance()).await {
            Ok(()) => break,
            Err(error) if start.elapsed() > OPEN_MAX => {
                return Err(format!("the shop does not answer {OPEN_MAX:?} after the start: {error}"));
            }
            Err(_) => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
    let took = start.elapsed().as_secs_f64();
    audience.note(&format!("First request through the mesh {took:.2} s after the start."));
    audience.note(&format!("Files:   {}", town.folder().display()));
    audience.note(&format!("Metrics: http://{}/metrics (the shop's sidecar)", town.metrics(SHOP)));
    audience.note(&format!("Ask it:  outrigger status --server {}", town.server()));
    Ok(())
}

impl Story {
    async fn pause(&mut self, question: &str) -> Result<(), String> {
        self.audience.watch(&self.traffic, PAUSE, question).await;
        self.town.check()
    }

    async fn shift(&mut self, percent: u32) -> Result<(), String> {
        self.audience.say(&format!("A canary: {percent} % of the calls to cart go to its second version."));
        self.town.apply(&[&format!("canary-{percent}.yaml")]).await?;
        self.audience.during(&self.traffic, self.split_is(percent)).await
    }

    async fn lose_an_instance(&mut self) -> Result<(), String> {
        self.audience
            .say("The machine of cart-v1-b dies: kill -9 on application and sidecar. The others take over.");
        let from = Instant::now();
        self.town.kill_instance(CART_V1_B).await;
        let broken = &["upstream_reset", "connect_failed"];
        self.excuse(from, CARRIED, broken, "on its way through the killed instance");
        self.audience.watch(&self.traffic, PAUSE, "start it again").await;
        self.town.start_instance(CART_V1_B).await?;
        self.audience.note("cart-v1-b is back.");
        Ok(())
    }

    async fn lose_everything(&mut self) -> Result<(), String> {
        self.audience
            .say("The control plane is killed and the whole store deleted. Traffic does not notice.");
        self.town.kill_control_plane().await;
        self.town.delete_store()?;
        self.audience.watch(&self.traffic, PAUSE, "restart two sidecars, with nothing there to ask").await;
        self.audience.say(
            "Two sidecars are restarted, with no control plane and no store: they boot from their own disk.",
        );
        self.restart(CART_V1_B).await?;
        self.audience.note("cart-v1-b's: the other instances answered meanwhile.");
        let from = Instant::now();
        self.restart(SHOP).await?;
        let took = from.elapsed();
        self.excuse(
            from,
            took + CARRIED,
            &["refused"],
            "refused by a sidecar that was itself being restarted",
        );
        self.audience.note(
            "The shop's own: nobody else stands at that door, so connections were refused while it was away.",
        );
        Ok(())
    }

    async fn restart(&mut self, instance: Instance) -> Result<(), String> {
        let town = &mut self.town;
        let restarted = async {
            town.stop_sidecar(instance).await?;
            town.start_sidecar(instance).await
        };
        self.audience.during(&self.traffic, restarted).await
    }

    async fn recover(&mut self) -> Result<(), String> {
        self.audience.say(
            "The store is brought back from what the control plane remembers, and a push goes through again.",
        );
        self.town.recover_store().await?;
        self.town.start_control_plane().await?;
        self.town.apply(&["canary-0.yaml"]).await?;
        self.audience.during(&self.traffic, self.split_is(0)).await
    }

    /// Waits until the second version gets that share, twice in a row: once may be half before the push and half after.
    async fn split_is(&self, percent: u32) -> Result<(), String> {
        let pushed = Instant::now();
        let mut fits = 0;
        loop {
            let before = self.traffic.answers();
            tokio::time::sleep(SPLIT_OVER).await;
            let mut answers = self.traffic.answers();
            for (instance, count) in &before {
                *answers.entry(instance.clone()).or_default() -= count;
            }
            let share = shares(&answers).get("v2").copied().unwrap_or_default();
            let fit =
                (share - f64::from(percent) / 100.0).abs() <= tolerance(percent, answers.values().sum());
            fits = if fit { fits + 1 } else { 0 };
            if fits == 2 {
                self.audience
                    .note(&format!("In effect: {:.0} % of the answers come from v2.", share * 100.0));
                return Ok(());
            }
            if pushed.elapsed() > EFFECT_MAX {
                return Err(format!(
                    "{percent} % were asked for, {:.0} % it is after {EFFECT_MAX:?}",
                    share * 100.0
                ));
            }
        }
    }

    fn excuse(
        &mut self,
        from: Instant,
        lasts: Duration,
        only: &'static [&'static str],
        because: &'static str,
    ) {
        self.excuses.push(Excuse { from, until: from + lasts, only, because });
    }

    async fn sum_up(&self) -> Result<(), String> {
        let (total, failures) = self.traffic.so_far();
        let excused = |failure: &&Failure| self.excuses.iter().any(|excuse| excuse.covers(failure));
        let (in_order, not): (Vec<_>, Vec<_>) = failures.iter().partition(excused);
        self.audience.say(&format!("{total} requests, {} failed.", failures.len()));
        for excuse in &self.excuses {
            let count = in_order.iter().filter(|failure| excuse.covers(failure)).count();
            self.audience.note(&format!("{count} {}: in order.", excuse.because));
        }
        for failure in not.iter().take(10) {
            self.audience.note(&format!("{:?} ago: {}", failure.at.elapsed(), failure.why));
        }
        if self.traffic.in_flight() as u64 == total {
            return Err("no request was ever answered".to_owned());
        }
        match not.len() {
            0 => {
                self.audience.note("No request failed that should not have.");
                Ok(())
            }
            count => Err(format!("{count} requests failed that should not have")),
        }
    }
}

/// Of the share of `count` draws with a chance of `percent`.
fn tolerance(percent: u32, count: u64) -> f64 {
    let chance = f64::from(percent) / 100.0;
    SPLIT_DEVIATIONS * (chance * (1.0 - chance) / count.max(1) as f64).sqrt()
}

impl Excuse {
    fn covers(&self, failure: &Failure) -> bool {
        let named = self.only.is_empty() || self.only.iter().any(|only| failure.why.contains(only));
        named && (self.from..=self.until).contains(&failure.at)
    }
}
