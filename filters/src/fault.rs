//! Faults on purpose: users drill for those that come by themselves.

use http::StatusCode;
use outrigger_snapshot::policy;

use crate::chain::FilterError;
use crate::context::{Context, Refused};

/// Holds some requests up, and answers others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    delay: Option<policy::Delay>,
    abort: Option<(u32, Refused)>,
}

impl Fault {
    pub(crate) fn build(fault: &policy::Fault) -> Result<Self, FilterError> {
        let abort = fault.abort.map(|abort| {
            let status =
                StatusCode::from_u16(abort.status).map_err(|_| FilterError::FaultStatus(abort.status))?;
            Ok((abort.percent, Refused::Fault { status, grpc_status: abort.grpc_status }))
        });
        Ok(Self { delay: fault.delay, abort: abort.transpose()? })
    }

    pub(crate) fn on_request(&self, context: &mut Context) -> Result<(), Refused> {
        if let Some((percent, refused)) = &self.abort
            && context.percent() < *percent
        {
            return Err(refused.clone());
        }
        if let Some(delay) = &self.delay
            && context.percent() < delay.percent
        {
            context.delay_ms = context.delay_ms.saturating_add(delay.delay_ms);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use outrigger_snapshot::policy::{Abort, Delay};

    use super::*;

    #[test]
    fn faults_hit_their_share() {
        for (delayed, aborted) in [(0, 0), (30, 0), (0, 30), (20, 40), (100, 0), (100, 100)] {
            let fault = Fault::build(&policy::Fault {
                delay: Some(Delay { percent: delayed, delay_ms: 7 }),
                abort: Some(Abort { percent: aborted, status: 418, grpc_status: 14 }),
            })
            .unwrap();
            let mut context = Context { random: 3, ..Context::default() };
            let (mut held, mut answered) = (0, 0);
            for _ in 0..10_000 {
                context.delay_ms = 0;
                answered += u32::from(fault.on_request(&mut context).is_err());
                held += u32::from(context.delay_ms == 7);
            }
            // Who is answered is not held up.
            let expected = (100 - aborted) * delayed;
            for (found, expected) in [(held, expected), (answered, 100 * aborted)] {
                // None and all are exact.
                let spread = if expected % 10_000 == 0 { 0 } else { 150 };
                assert!(found.abs_diff(expected) <= spread, "{found}, expected {expected}");
            }
        }
    }
}
