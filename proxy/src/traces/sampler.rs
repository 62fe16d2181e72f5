//! Which traces are told of: the samplers that OpenTelemetry names.

use outrigger_snapshot::policy::SHARE_WHOLE;

/// What a draw is below.
const DRAWS: u64 = 1 << 56;
/// The largest draw.
pub const DRAW_MAX: u64 = DRAWS - 1;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampler {
    /// Whether what those before have decided counts.
    by_parent: bool,
    /// Draws from this on are told of.
    from: u64,
}

impl Sampler {
    /// The share of traces, from 0 to 1; where those before have decided, as they have, unless `by_parent` is false.
    pub fn ratio(share: f64, by_parent: bool) -> Self {
        let share = share.clamp(0.0, 1.0);
        Self { by_parent, from: ((1.0 - share) * DRAWS as f64) as u64 }
    }

    /// The same, of another share of [`SHARE_WHOLE`] traces about which nobody has decided.
    pub fn of(self, share: u32) -> Self {
        let untold = u128::from(SHARE_WHOLE.saturating_sub(share));
        Self { from: (u128::from(DRAWS) * untold / u128::from(SHARE_WHOLE)) as u64, ..self }
    }

    /// As `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG` name it.
    pub fn read(name: &str, argument: Option<&str>) -> Result<Self, String> {
        let (by_parent, kind) = match name.strip_prefix("parentbased_") {
            Some(kind) => (true, kind),
            None => (false, name),
        };
        match kind {
            "always_on" => Ok(Self::ratio(1.0, by_parent)),
            "always_off" => Ok(Self::ratio(0.0, by_parent)),
            "traceidratio" => {
                let share = argument.map_or(Ok(1.0), str::parse);
                let share = share.ok().filter(|share| (0.0..=1.0).contains(share));
                share.map(|share| Self::ratio(share, by_parent)).ok_or_else(|| {
                    format!(
                        "OTEL_TRACES_SAMPLER_ARG is {:?}, expected a share from 0 to 1, such as 0.01",
                        argument.unwrap_or_default()
                    )
                })
            }
            _ => Err(format!(
                "OTEL_TRACES_SAMPLER is {name:?}, expected always_on, always_off or traceidratio, or one of these after parentbased_"
            )),
        }
    }

    /// Whether a trace is told of that others have decided about or not, and whose draw is this.
    pub fn draws(&self, sampled: Option<bool>, draw: u64) -> bool {
        sampled.filter(|_| self.by_parent).unwrap_or(draw >= self.from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samplers_are_those_that_opentelemetry_names() {
        let (low, high) = (0, DRAW_MAX);
        for (name, argument, undecided_low, undecided_high, told, untold) in [
            ("always_on", None, true, true, true, true),
            ("always_off", None, false, false, false, false),
            ("parentbased_always_on", None, true, true, true, false),
            ("parentbased_always_off", None, false, false, true, false),
            ("traceidratio", Some("0.5"), false, true, true, true),
            ("parentbased_traceidratio", Some("0.5"), false, true, true, false),
            ("parentbased_traceidratio", None, true, true, true, false),
            ("parentbased_traceidratio", Some("0"), false, false, true, false),
        ] {
            let sampler = Sampler::read(name, argument).unwrap();
            assert_eq!(
                (sampler.draws(None, low), sampler.draws(None, high)),
                (undecided_low, undecided_high),
                "{name} {argument:?}"
            );
            assert_eq!(
                (sampler.draws(Some(true), high), sampler.draws(Some(false), high)),
                (told, untold),
                "{name} {argument:?}"
            );
        }
        for (name, argument) in
            [("jaeger_remote", None), ("traceidratio", Some("2")), ("traceidratio", Some("x")), ("", None)]
        {
            assert!(Sampler::read(name, argument).is_err(), "{name} {argument:?}");
        }
    }

    #[test]
    fn a_share_is_that_share() {
        let sampler = Sampler::ratio(0.01, true);
        // Evenly over all draws.
        let drawn = (0..100_000).filter(|nth| sampler.draws(None, nth * (DRAWS / 100_000))).count();
        assert!((999..=1_001).contains(&drawn), "{drawn}");
        let of = |share| sampler.of(share);
        assert!(of(SHARE_WHOLE).draws(None, 0) && !of(0).draws(None, DRAW_MAX));
        let drawn = (0..100_000).filter(|nth| of(50).draws(None, nth * (DRAWS / 100_000))).count();
        assert!((499..=501).contains(&drawn), "{drawn}");
    }
}
