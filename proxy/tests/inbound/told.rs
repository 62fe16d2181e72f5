//! What is counted of requests that fail, and of those that don't.

use http::{HeaderMap, StatusCode};
use outrigger_proxy::telemetry::exposition::{Exposition, Format};
use outrigger_proxy::telemetry::requests::{Instants, write_requests};
use outrigger_snapshot::head::ResponseHead;

use super::*;

const FAMILY: &str = "outrigger_request_failures_total";

impl Rig {
    /// The lines of a family.
    fn lines(&self, family: &str) -> Vec<String> {
        let mut exposition = Exposition::of(Format::Text);
        let at = Instants { now_ns: clock::now_ns(), now_ms: 0 };
        write_requests(&self.registry.all_requests(), at, &mut exposition);
        let text = exposition.finish();
        text.lines().filter(|line| line.starts_with(family)).map(str::to_owned).collect()
    }

    /// A request whose client leaves after so much of an answer with `status`; how many failures are kept then.
    fn leaves(&self, status: Option<u16>) -> u64 {
        let now_ns = clock::now_ns();
        let activity = Rc::new(Activity::new(now_ns));
        let mut record = Record::start(self.worker.clone(), activity, Direction::Outbound, now_ns);
        if let Some(status) = status {
            let status = StatusCode::from_u16(status).unwrap();
            record.answered(&ResponseHead::new(status, HeaderMap::new()), false);
            record.streams();
        }
        drop(record);
        self.worker.stats.failures.count()
    }
}

#[tokio::test]
async fn a_call_that_fails_is_counted_as_one_whatever_its_status() {
    let test = async {
        let rig = Rig::new(&policy(None, Vec::new()));
        assert_eq!(rig.lines(FAMILY), [""; 0]);
        for grpc in [true, false] {
            assert_eq!(rig.ask(Direction::Inbound, "ann", grpc).await.reason, "connect_failed");
        }
        let [line] = &rig.lines(FAMILY)[..] else { panic!("{:?}", rig.lines(FAMILY)) };
        assert!(line.contains("reason=\"connect_failed\",fault=\"upstream\"} 2"), "{line}");
        assert_eq!(rig.lines("outrigger_requests_total{").len(), 2, "200 and 503");
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn who_leaves_a_stream_has_had_what_was_wanted() {
    let test = async {
        let rig = Rig::new(&policy(None, Vec::new()));
        for (status, kept) in [(Some(200), 0), (Some(302), 0), (Some(404), 1), (None, 2), (Some(206), 2)] {
            assert_eq!(rig.leaves(status), kept, "{status:?}");
        }
    };
    LocalSet::new().run_until(test).await;
}
