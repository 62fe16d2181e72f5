use prost::Message as _;

use super::*;

fn written(write: impl FnOnce(&mut Message<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut Message(&mut out));
    out
}

#[test]
fn what_is_written_is_read_by_the_generated_types() {
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
    use opentelemetry_proto::tonic::common::v1::any_value::Value as Read;

    let long = "long ".repeat(10_000);
    for count in [0, 1, 500] {
        let envelope =
            Envelope::new([("service.name", "cart".into()), ("long", (&*long).into())], "scope", "1");
        let items = written(|items| {
            for number in 0..count {
                items.message(Envelope::ITEM, |record| {
                    record.fixed64(1, u64::MAX);
                    record.number(2, 9);
                    record.value(5, Value::Text(&long[..number]));
                    record.attribute(6, "negative", Value::Number(-1));
                    record.attribute(6, "real", Value::Real(0.25));
                    record.attribute(6, "truth", Value::Truth(false));
                    record.fixed32(8, 1);
                });
            }
        });
        let read = ExportLogsServiceRequest::decode(&*envelope.around(&items)).unwrap();
        let [of_resource] = &read.resource_logs[..] else { panic!("{read:?}") };
        let named: Vec<_> =
            of_resource.resource.as_ref().unwrap().attributes.iter().map(|pair| &*pair.key).collect();
        assert_eq!(named, ["service.name", "long"]);
        let [of_scope] = &of_resource.scope_logs[..] else { panic!("{of_resource:?}") };
        assert_eq!(
            of_scope.scope.as_ref().map(|scope| (&*scope.name, &*scope.version)),
            Some(("scope", "1"))
        );
        assert_eq!(of_scope.log_records.len(), count);
        for (number, record) in of_scope.log_records.iter().enumerate() {
            assert_eq!((record.time_unix_nano, record.severity_number, record.flags), (u64::MAX, 9, 1));
            let body = record.body.clone().and_then(|body| body.value);
            assert_eq!(body, Some(Read::StringValue(long[..number].to_owned())));
            let values: Vec<_> =
                record.attributes.iter().filter_map(|pair| pair.value.clone()?.value).collect();
            assert_eq!(values, [Read::IntValue(-1), Read::DoubleValue(0.25), Read::BoolValue(false)]);
        }
    }
}
