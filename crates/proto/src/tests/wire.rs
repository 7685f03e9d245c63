//! The messages around the resources.

use crate::*;
use prost::Message;

#[test]
fn a_push_is_a_delta_discovery_response() {
    let resource = ads::encode_resource("n", vec!["a".into()], "v1", ADDRESS_TYPE, vec![1, 2, 3]);
    let push = ads::Push {
        system_version_info: "7".into(),
        resources: vec![resource],
        type_url: ADDRESS_TYPE.into(),
        nonce: "1".into(),
        removed_resources: vec!["gone".into()],
    };
    let read = ads::DeltaDiscoveryResponse::decode(&*push.encode_to_vec()).unwrap();
    assert_eq!((read.nonce.as_str(), read.type_url.as_str()), ("1", ADDRESS_TYPE));
    assert_eq!(read.removed_resources, ["gone"]);
    let resource = &read.resources[0];
    assert_eq!((resource.name.as_str(), resource.version.as_str()), ("n", "v1"));
    assert_eq!(resource.aliases, ["a"]);
    assert_eq!(resource.resource.as_ref().unwrap().value, [1, 2, 3]);
}

#[test]
fn a_state_file_comes_back_or_is_refused() {
    let saved = state::Saved {
        name: "n".into(),
        version: "v".into(),
        type_url: ADDRESS_TYPE.into(),
        body: bytes::Bytes::from_static(b"body"),
    };
    let file = bytes::Bytes::from(state::encode_state("0.1.0", [saved.clone()]));
    let want = state::State { writer: "0.1.0".into(), resources: vec![saved] };
    assert_eq!(state::decode_state(&file), Ok(want));
    for cut in 0..file.len() {
        assert!(state::decode_state(&file.slice(..cut)).is_err(), "cut at {cut}");
    }
    for at in 0..file.len() {
        let mut rotten = file.to_vec();
        rotten[at] ^= 0x10;
        assert!(state::decode_state(&rotten.into()).is_err(), "rotten at {at}");
    }
}

#[test]
fn impersonation_is_read_as_it_is_written() {
    let request = |metadata| ca::IstioCertificateRequest { metadata, ..Default::default() };
    assert_eq!(ca::impersonated(&request(None)), None);
    assert_eq!(ca::impersonated(&request(Some(ca::impersonate("spiffe://x".into())))), Some("spiffe://x"));
}
