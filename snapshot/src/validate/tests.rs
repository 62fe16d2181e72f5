use super::*;
use crate::policy::{HashKey, Protocol, ShuffleShard, ZonePreference};

fn check(balance: Balance, zones: bool) -> Result<(), String> {
    let zone_preference = zones.then_some(ZonePreference { endpoints_min: 6 });
    let backend = Backend { balance, zone_preference, ..Backend::defaults_for(Protocol::Http) };
    check_backend("default/cart:80", &backend).map_err(|invalid| invalid.to_string())
}

#[test]
fn shards_have_a_size_and_a_key_leaves_no_choice_of_zone() {
    let shards = |size| Balance::ShuffleShard(ShuffleShard { size, key: HashKey::Source });
    for size in [1, SHARD_ENDPOINTS_MAX] {
        assert_eq!(check(shards(size), false), Ok(()));
    }
    for size in [0, SHARD_ENDPOINTS_MAX + 1, u32::MAX] {
        let said = format!("default/cart:80: a shard of {size} endpoints, expected 1 to 16");
        assert_eq!(check(shards(size), false), Err(said));
    }
    assert_eq!(check(Balance::PeakEwma, true), Ok(()));
    for keyed in [shards(2), Balance::ConsistentHash(HashKey::Source)] {
        let said = "default/cart:80: a key decides on the endpoint, and so cannot the zone";
        assert_eq!(check(keyed, true), Err(said.to_owned()));
    }
}
