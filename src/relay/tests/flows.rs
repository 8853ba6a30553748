//! Bounds of flows over all bundles.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;

use super::{Ends, in_time};
use crate::bundle::record::FailureClass;
use crate::bundle_driver::OpenFlowError;
use crate::relay::bundle_task::serve_flows;
use crate::relay::bundles::{Bundles, MAX_FLOWS};
use crate::relay::{RelayOptions, Rules};

fn bundles() -> Arc<Bundles> {
    let options = RelayOptions {
        listen: ([127, 0, 0, 1], 0).into(),
        http: None,
        rules: Rules::new(vec!["127.0.0.1:*".parse().unwrap()]),
        max_bundles: 1,
        keep: Duration::from_secs(60),
        connect_timeout: Duration::from_secs(60),
        drain_timeout: Duration::from_secs(60),
    };
    Bundles::new(options).0
}

#[tokio::test]
async fn flows_beyond_the_limit_of_all_bundles_fail_until_another_ends() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (ends, bundles) = (Ends::new().await, bundles());
    let open = || in_time(ends.daemon.open("127.0.0.1", port));
    let all = u32::try_from(MAX_FLOWS).unwrap();

    let daemon = async {
        let others = bundles.flow_slots.try_acquire_many(all).unwrap();
        assert!(bundles.flow_slots.try_acquire().is_err());
        let refused = open().await.unwrap_err();
        drop(others);
        let others = bundles.flow_slots.try_acquire_many(all - 1).unwrap();
        let flow = open().await.unwrap();
        let beyond = open().await.unwrap_err();
        drop(flow);
        // The task of the flow returns its slot.
        let slot = in_time(bundles.flow_slots.acquire()).await;
        drop((others, slot));
        open().await.unwrap();
        [refused, beyond]
    };
    let refusals = tokio::select! {
        refusals = daemon => refusals,
        () = serve_flows(&bundles, &ends.relay) => panic!("the bundle has ended"),
    };

    assert_eq!(MAX_FLOWS, 16_384);
    for refusal in refusals {
        let is_limit = matches!(refusal, OpenFlowError::Failed(FailureClass::Limit, _));
        assert!(is_limit, "{refusal}");
    }
}
