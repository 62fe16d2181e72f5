use proptest::prelude::*;
use serde_json::json;

use super::*;

#[test]
fn keys_are_sorted_at_every_depth_and_nothing_is_padded() {
    let value = json!({"b": [1, {"z": null, "a": true}], "a": "x\u{e9}\n"});
    assert_eq!(
        String::from_utf8(encode(&value).unwrap()).unwrap(),
        r#"{"a":"xé\n","b":[1,{"a":true,"z":null}]}"#
    );
}

#[test]
fn floats_have_no_canonical_form() {
    for value in [json!(1.5), json!([1e300]), json!({"a": 2.0})] {
        assert!(matches!(encode(&value), Err(EncodeError::Float(_))), "{value}");
    }
}

#[test]
fn a_bomb_is_refused_by_what_it_claims() {
    let bomb = compress(&vec![0; 64 << 20]).unwrap();
    assert!(bomb.len() < 16 << 10);
    assert!(matches!(
        decompress(&bomb, 1 << 20),
        Err(DecodeError::TooLarge { found: 67_108_864, max: 1_048_576 })
    ));
}

#[test]
fn a_frame_that_claims_less_than_it_holds_is_damaged() {
    let mut two = compress(b"first").unwrap();
    two.extend(compress(&vec![7; 1 << 20]).unwrap());
    assert!(matches!(decompress(&two, 1 << 20), Err(DecodeError::Damaged(_))));
}

#[test]
fn a_frame_without_a_size_is_refused() {
    let streamed = zstd::stream::encode_all(&b"content of unknown size"[..], 3).unwrap();
    assert!(matches!(decompress(&streamed, 1 << 20), Err(DecodeError::NoFrame)));
    assert!(matches!(decompress(b"{}", 1 << 20), Err(DecodeError::NoFrame)));
}

proptest! {
    #[test]
    fn what_is_compressed_comes_back(content in proptest::collection::vec(any::<u8>(), 0..4096)) {
        prop_assert_eq!(decompress(&compress(&content).unwrap(), 4096).unwrap(), content);
    }

    #[test]
    fn no_prefix_of_a_frame_is_accepted(content in proptest::collection::vec(any::<u8>(), 1..512), cut in 0.0..1.0f64) {
        let stored = compress(&content).unwrap();
        let kept = (stored.len() as f64 * cut) as usize;
        prop_assert!(decompress(&stored[..kept], 512).is_err());
    }
}
