//! What a coordinator offers beside its services proper.

use landfall_proto::v1::{
    catalog_server, fleet_server, mirrors_server, promotion_server, routing_server,
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use super::running::{Folders, Running};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_service_says_that_it_is_served() {
    let folders = Folders::new();
    let coordinator = Running::start(folders.config(Vec::new())).await;
    let mut health = HealthClient::new(coordinator.channel.clone());
    for service in [
        "",
        catalog_server::SERVICE_NAME,
        fleet_server::SERVICE_NAME,
        mirrors_server::SERVICE_NAME,
        promotion_server::SERVICE_NAME,
        routing_server::SERVICE_NAME,
    ] {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let answer = health.check(request).await;
        let status = answer.map(|answer| answer.into_inner().status().as_str_name());
        assert_eq!(status.ok(), Some("SERVING"), "{service}");
    }
    coordinator.stop().await;
}
